# SPDX-License-Identifier: Apache-2.0
"""A thing between camera and robot, which may pass by; the first frame always shows most of the robot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.rendering.render import Renderer
from robotseg_core.synth.rendering.track import CameraTrack, check_view
from robotseg_core.synth.scenes.room import HIDDEN_Z, Thing
from robotseg_core.synth.scenes.scene import Scene, update


@dataclass(frozen=True)
class Occluder:
    """Where the thing is.

    Attributes:
        body: id of its body.
        pos: [frames, 3] metres in the world.
    """

    body: int
    pos: NDArray[np.float64]

    def apply(self, scene: Scene, frame: int) -> None:
        """Put it where it is in ``frame``; update the scene afterwards."""
        scene.model.body_pos[self.body] = self.pos[frame]


def place_occluder(
    scene: Scene,
    renderer: Renderer,
    thing: Thing,
    track: CameraTrack,
    path: NDArray[np.float64],
    target: NDArray[np.float64],
    rng: np.random.Generator,
    tries: int = 5,
) -> Occluder | None:
    """Put ``thing`` somewhere between a camera that stands still in the world and ``target`` [3].

    One in five may hide all of the robot after the first frame.

    Returns:
        None when each of ``tries`` places hides too much; the thing is then out of sight.
    """
    body = scene.model.body(thing.body).id
    area, hand = check_view(scene, renderer, track, path)
    camera = track.pose.pos
    heavy = rng.random() < 0.2
    for _ in range(tries):
        part = rng.uniform(0.35, 0.7)
        far = float(np.linalg.norm(target - camera))
        start = camera + part * (target - camera) + rng.normal(0, 0.16 * part * far, 3)
        end = start + (rng.normal(0, 0.12 * part * far, 3) if rng.random() < 0.6 else 0.0)
        if heavy:
            end = camera + part * (target - camera)
        turn = rng.normal(size=4)
        scene.model.body_quat[body] = turn / np.linalg.norm(turn)
        steps = np.linspace(0, 1, len(path))[:, None]
        occluder = Occluder(body, start + steps * (end - start))
        fine = True
        for frame in (0,) if heavy else (0, len(path) // 2, len(path) - 1):
            occluder.apply(scene, frame)
            left, left_hand = check_view(scene, renderer, track, path)
            fine = fine and left >= 0.6 * area and left_hand >= 0.5 * hand
        if fine:
            return occluder
    scene.model.body_pos[body] = (0, 0, HIDDEN_Z)
    update(scene)
    return None
