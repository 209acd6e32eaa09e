# SPDX-License-Identifier: Apache-2.0
"""Does a camera's pose agree with what it sees of the robot?  Agreement, verdict, refined pose."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.geometry.camera import Camera
from robotseg_core.posed.fit import COARSE, FINE, Fit, MaskEdges, difference, edge_points, fit_pose, moved
from robotseg_core.posed.robot import Pose, PosedRobot
from robotseg_core.posed.silhouette import Silhouette, SilhouetteRenderer, scaled

COARSE_WIDTH, FINE_WIDTH = 240, 480
"""Widths of the pictures of both rounds, pixels; masks that are smaller stay as they are."""
TRUSTED = 0.35
"""Below this share of matched edges no verdict is given."""
SETTLED = 0.55
"""Below this share the search starts from other poses as well."""
JUMP_M, JUMP_RAD = 0.1, 0.14
"""How far off those are, along and about each axis."""
TRY_FRAMES = 6
"""Frames that they are tried on."""
HOLE = 2e-4
"""Holes of masks below this share of the picture are filled."""


@dataclass(frozen=True)
class PosedFrame:
    """A frame: what the robot did, and where it was seen.

    Attributes:
        name: of the frame.
        positions: [njnt] joint positions in the model's order.
        mask: [H, W] bool of the robot, of the rectified picture.
    """

    name: str
    positions: NDArray[np.float64]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """How well silhouette and mask of one frame agree; NaN where the robot should not be in view.

    Attributes:
        name: of the frame.
        iou: of silhouette and mask; low also where the mask has more than this robot.
        covered: share of the silhouette that the mask covers.
        edge_px: median distance of the silhouette's edge to the mask's, pixels of the picture.
    """

    name: str
    iou: float
    covered: float
    edge_px: float


@dataclass(frozen=True)
class Check:
    """What is to be said of one camera.

    Attributes:
        before, after: of each frame, with the pose given and with the refined one.
        given, fit: the pose given, and the refined one.
        off_m, off_deg: how far they are apart.
        verdict: ``good``, ``off`` or ``unknown``.
        why: the verdict in one line.
    """

    before: tuple[Agreement, ...]
    after: tuple[Agreement, ...]
    given: Pose
    fit: Fit
    off_m: float
    off_deg: float
    verdict: str
    why: str


def check_camera(
    robot: PosedRobot,
    camera: Camera,
    pose: Pose,
    frames: Sequence[PosedFrame],
    *,
    ignored: NDArray[np.bool_] | None = None,
    tolerance_m: float = 0.01,
    tolerance_deg: float = 1.0,
    progress: Callable[[], object] = lambda: None,
) -> Check:
    """Compare a camera's pose with the masks of a robot whose joints are known, and refine it.

    Args:
        robot: its model.
        camera: of the rectified pictures.
        pose: of its optical frame in the robot's base link, to be checked.
        frames: the more different the poses of the robot, the better.
        ignored: [ngeom] bool, geoms that do not count, for example a gripper that the real robot does not have.
        tolerance_m, tolerance_deg: a pose that is off by no more is good.
        progress: called after each step of the search (:data:`STEPS` at least).

    Raises:
        ValueError: there are no frames, a mask has another size than the camera, or the robot is never in view.
        RuntimeError: there is no OpenGL for off-screen drawing here.
    """
    if not frames:
        raise ValueError("there are no frames with joints and a mask")
    for frame in frames:
        if frame.mask.shape != (camera.height, camera.width):
            raise ValueError(
                f"mask of {frame.name} is {frame.mask.shape[1]} x {frame.mask.shape[0]}, "
                f"the camera is {camera.width} x {camera.height}"
            )
    small, fine = (scaled(camera, min(width, camera.width)) for width in (COARSE_WIDTH, FINE_WIDTH))
    renderer = SilhouetteRenderer(robot, small, ignored)
    rough = _search(renderer, [(f.positions, MaskEdges.of(shrunk(f.mask, small))) for f in frames], pose, progress)
    renderer.close()
    renderer = SilhouetteRenderer(robot, fine, ignored)
    masks = [shrunk(f.mask, fine) for f in frames]
    edges = [MaskEdges.of(mask) for mask in masks]
    fit = fit_pose(renderer, [(f.positions, e) for f, e in zip(frames, edges, strict=True)], rough.pose, FINE, progress)
    before, after = (
        tuple(
            _agreement(f.name, renderer.silhouette(f.positions, p), mask, edge, renderer)
            for f, mask, edge in zip(frames, masks, edges, strict=True)
        )
        for p in (pose, fit.pose)
    )
    renderer.close()
    off_m, off_deg = difference(pose, fit.pose)
    verdict, why = _verdict(fit, off_m, off_deg, tolerance_m, tolerance_deg)
    return Check(before, after, pose, fit, off_m, off_deg, verdict, why)


STEPS = len(COARSE) + len(FINE)
"""Steps of a search that is content with its start."""


def shrunk(mask: NDArray[np.bool_], camera: Camera) -> NDArray[np.bool_]:
    """A mask at the size of a camera's pictures, its small holes filled."""
    out = mask.astype(np.uint8) * np.uint8(255)
    if mask.shape != (camera.height, camera.width):
        out = np.asarray(cv2.resize(out, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.uint8)
    inside = out > 127
    count, ids, stats, _ = cv2.connectedComponentsWithStats((~inside).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < HOLE * inside.size
    small[0] = False
    return np.asarray(inside | small[ids]) if count > 1 else inside


def _search(
    renderer: SilhouetteRenderer,
    frames: Sequence[tuple[NDArray[np.float64], MaskEdges]],
    pose: Pose,
    progress: Callable[[], object],
) -> Fit:
    """The coarse round: from the pose given, and where that finds few edges from others around it as well."""
    some = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, TRY_FRAMES).astype(int))]
    tried: list[Fit] = []
    start, lost = pose, None
    try:
        best = fit_pose(renderer, frames, pose, COARSE, progress)
        if best.matched >= SETTLED:
            return best
        start = best.pose
        tried.append(fit_pose(renderer, some, start, COARSE[-2:], progress))
    except ValueError as error:  # The robot is not in view from there.
        lost = error
    for axis in range(6):
        for sign in (-1, 1):
            jump = np.zeros(6)
            jump[axis] = sign * (JUMP_M if axis < 3 else JUMP_RAD)
            try:
                tried.append(fit_pose(renderer, some, moved(pose, jump), COARSE, progress))
            except ValueError:
                continue
    if not tried:
        assert lost is not None
        raise lost
    found = max(tried, key=lambda fit: fit.matched)
    return fit_pose(renderer, frames, found.pose, COARSE[-4:], progress)


def _agreement(
    name: str, drawn: Silhouette, mask: NDArray[np.bool_], edges: MaskEdges, renderer: SilhouetteRenderer
) -> Agreement:
    counts = ~drawn.ignored
    own, seen = drawn.mask & counts, mask & counts
    if not own.any():
        return Agreement(name, math.nan, math.nan, math.nan)
    both = float((own & seen).sum())
    points = edge_points(drawn, edges, renderer)
    larger = mask.shape[1] / renderer.camera.width
    edge = float(np.median(np.abs(points.off))) * larger if len(points.off) else math.nan
    return Agreement(name, both / float((own | seen).sum()), both / float(own.sum()), edge)


def _verdict(fit: Fit, off_m: float, off_deg: float, most_m: float, most_deg: float) -> tuple[str, str]:
    off = f"{100 * off_m:.1f} cm and {off_deg:.2f} degrees"
    if fit.matched < TRUSTED:
        return "unknown", (
            f"only {fit.matched:.0%} of the silhouettes' edges lie at an edge of the masks ({TRUSTED:.0%} are needed): "
            "masks, model, joints or pose are too far from each other"
        )
    if fit.spread_m > most_m or fit.spread_deg > most_deg:
        return "unknown", (
            f"the frames do not agree: leaving one out moves the pose by {100 * fit.spread_m:.1f} cm and "
            f"{fit.spread_deg:.2f} degrees; give more frames, in more different poses"
        )
    if off_m <= most_m and off_deg <= most_deg:
        return "good", f"the pose given agrees within {off}"
    # NaN, of one or two frames, doubts nothing.
    doubt_m, doubt_deg = (np.nan_to_num(2 * spread) for spread in (fit.spread_m, fit.spread_deg))
    if off_m - doubt_m > most_m or off_deg - doubt_deg > most_deg:
        return "off", f"the pose given is off by about {off}"
    return "unknown", (
        f"the pose given seems off by {off}, but by chance alone it could be {100 * doubt_m:.1f} cm and "
        f"{doubt_deg:.2f} degrees less: give more frames, or better masks"
    )
