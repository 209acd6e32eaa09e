# SPDX-License-Identifier: Apache-2.0
"""A thing between camera and robot, which may pass by; the first frame always shows most of the robot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.rendering.motion import Motion, Mover
from robotseg_core.synth.rendering.render import Renderer
from robotseg_core.synth.rendering.track import CameraTrack, check_view
from robotseg_core.synth.scenes.room import HIDDEN_Z, Thing
from robotseg_core.synth.scenes.scene import Scene, update


def place_occluder(
    scene: Scene,
    renderer: Renderer,
    thing: Thing,
    track: CameraTrack,
    motion: Motion,
    target: NDArray[np.float64],
    rng: np.random.Generator,
    tries: int = 5,
) -> Mover | None:
    """Put ``thing`` somewhere between a camera that stands still in the world and ``target`` [3].

    One in five may hide all of the robot after the first frame, half of these pass by and are gone in the end.

    Returns:
        None when each of ``tries`` places hides too much; the thing is then out of sight.
    """
    body = scene.model.body(thing.body).id
    area, hand = check_view(scene, renderer, track, motion)
    camera, frames = track.pose.pos, len(motion)
    heavy = rng.random() < 0.2
    for _ in range(tries):
        part = rng.uniform(0.35, 0.7)
        far = float(np.linalg.norm(target - camera))
        start = camera + part * (target - camera) + rng.normal(0, 0.16 * part * far, 3)
        end = start + (rng.normal(0, 0.12 * part * far, 3) if rng.random() < 0.6 else 0.0)
        stops = [start, end]
        if heavy:
            middle = camera + part * (target - camera)
            stops = [start, middle] if rng.random() < 0.5 else [start, middle, 2 * middle - start]
        turn = rng.normal(size=4)
        turn /= np.linalg.norm(turn)
        at = np.linspace(0, len(stops) - 1, frames)
        pos = np.stack([np.interp(at, np.arange(len(stops)), np.array(stops)[:, k]) for k in range(3)], axis=1)
        fine = True
        for frame in (0,) if heavy else (0, frames // 2, frames - 1):
            still = Mover(body, pos[[frame]], turn[None])
            left, left_hand = check_view(scene, renderer, track, replace(motion, movers=(*motion.movers, still)))
            fine = fine and left >= 0.6 * area and left_hand >= 0.5 * hand
        if fine:
            return Mover(body, pos, np.repeat(turn[None], frames, axis=0))
    scene.model.body_pos[body] = (0, 0, HIDDEN_Z)
    update(scene)
    return None
