# SPDX-License-Identifier: Apache-2.0
"""The camera pose that brings a robot's silhouettes onto its masks: Gauss-Newton on the distances of their edges.

A point on the edge of the drawn silhouette is a point in space, for the drawing tells its distance.  Where it falls in
the mask's map of signed distances to its own edge is how far it is off, and the map's slope says which way.  Points
whose mask edge faces another way, or is too far off, do not count (Tukey's weight, of a radius that shrinks): what is
mask and not this robot, another robot in view for example, has edges elsewhere.  All frames are solved together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.posed.robot import Pose
from robotseg_core.posed.silhouette import Silhouette, SilhouetteRenderer

COARSE = (0.06, 0.06, 0.05, 0.04, 0.03, 0.025)
"""Radii of the first round, shares of the picture's width: one step each."""
FINE = (0.015, 0.012, 0.01, 0.008, 0.008, 0.008)
"""Radii of the last round."""
FACING = 0.5
"""Cosine between the outward normals of silhouette and mask, from which on they are taken for the same edge."""
MOST_STEP = 0.1
"""Metres, or radians, of one step: from far away the first ones may be wild."""
LEAST_POINTS = 30
"""Edge points that a frame must have to count."""
EDGE = 1.5
"""Pixels inside the silhouette that are its edge."""
BORDER = 2
"""Pixels at the picture's border where edges are those of the picture."""


@dataclass(frozen=True)
class MaskEdges:
    """A mask [h, w] as a map of distances.

    Attributes:
        distance: [h, w] float32, pixels to the mask's edge, negative inside.
        across, down: [h, w] float32, its slopes.
    """

    distance: NDArray[np.float32]
    across: NDArray[np.float32]
    down: NDArray[np.float32]

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> MaskEdges:
        """Measure a mask."""
        distance = signed_distance(mask)
        return cls(distance, *slopes(distance))


@dataclass(frozen=True)
class EdgePoints:
    """Points of a silhouette's edge in one frame.

    Attributes:
        points: [n, 3] metres, in the camera's optical frame.
        off: [n] pixels to the mask's edge: positive where it must come in, negative where it must go out.
        facing: [n] cosine of the normals of silhouette and mask.
        slope: [n, 2] of the mask's distance there.
    """

    points: NDArray[np.float64]
    off: NDArray[np.float64]
    facing: NDArray[np.float64]
    slope: NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """A camera pose and how well it is supported.

    Attributes:
        pose: of the optical frame in the base link.
        matched: share of the silhouettes' edges that lies at an edge of the masks which faces the same way.
        spread_m, spread_deg: standard deviation of the pose by leaving out one frame after the other (jackknife): what
            chance does, not what a steady fault of masks or model does; NaN for fewer than three frames.
        frames: that could be used.
    """

    pose: Pose
    matched: float
    spread_m: float
    spread_deg: float
    frames: int


def signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[h, w] float32: pixels to the edge of a mask, negative inside."""
    inside = mask.astype(np.uint8)
    out = cv2.distanceTransform(np.uint8(1) - inside, cv2.DIST_L2, 5)
    return np.asarray(out - cv2.distanceTransform(inside, cv2.DIST_L2, 5), np.float32)


def slopes(distance: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Slopes of a map of distances to the right and downwards, per pixel."""
    across, down = (cv2.Sobel(distance, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    return np.asarray(across, np.float32), np.asarray(down, np.float32)


def edge_points(drawn: Silhouette, edges: MaskEdges, renderer: SilhouetteRenderer) -> EdgePoints:
    """The points of a silhouette's edge; those at the picture's border and beside ignored links are left out."""
    own = signed_distance(drawn.mask)
    edge = drawn.mask & (own > -EDGE)
    if drawn.ignored.any():
        edge &= cv2.dilate(drawn.ignored.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    inside = np.zeros_like(edge)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    y, x = np.nonzero(edge & inside)
    z = drawn.distance[y, x].astype(np.float64)
    camera = renderer.camera
    points = np.stack([(x - camera.cx) / camera.fx * z, (y - camera.cy) / camera.fy * z, z], axis=1)
    slope = np.stack([edges.across[y, x], edges.down[y, x]], axis=1).astype(np.float64)
    normal = np.stack([part[y, x] for part in slopes(own)], axis=1).astype(np.float64)
    size = np.linalg.norm(slope, axis=1) * np.linalg.norm(normal, axis=1)
    facing = (slope * normal).sum(1) / np.maximum(size, 1e-6)
    # The edge lies between pixels: what its own pixels are off is subtracted.
    off = (edges.distance[y, x] - own[y, x]).astype(np.float64)
    return EdgePoints(points, off, facing, slope)


def moved(pose: Pose, step: NDArray[np.float64]) -> Pose:
    """The camera's pose after the robot has moved by ``step`` [6] (metres, radians) in the camera's frame."""
    turn, _ = cv2.Rodrigues(np.asarray(step[3:], np.float64).reshape(3, 1))
    change = np.eye(4)
    change[:3, :3], change[:3, 3] = turn, step[:3]
    return np.asarray(pose @ np.linalg.inv(change))


def difference(first: Pose, second: Pose) -> tuple[float, float]:
    """How far two poses are apart: metres between their origins, degrees of the turn from one to the other."""
    turn, _ = cv2.Rodrigues(first[:3, :3].T @ second[:3, :3])
    return float(np.linalg.norm(first[:3, 3] - second[:3, 3])), float(np.rad2deg(np.linalg.norm(turn)))


def fit_pose(
    renderer: SilhouetteRenderer,
    frames: Sequence[tuple[NDArray[np.float64], MaskEdges]],
    pose: Pose,
    radii: Sequence[float],
    progress: Callable[[], object] = lambda: None,
) -> Fit:
    """Refine a pose, one Gauss-Newton step for each of ``radii``.

    Args:
        renderer: of pictures of the masks' size.
        frames: joint positions [njnt] and the mask of each.
        pose: to start from.
        radii: shares of the picture's width; what is farther off does not count.
        progress: called after each step.

    Raises:
        ValueError: the robot is in view in no frame from the pose given.
    """
    width = renderer.camera.width
    each: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    matched = seen = 0.0
    before: Pose | None = None
    for share in radii:
        each, matched, seen = [], 0.0, 0.0
        for positions, edges in frames:
            points = edge_points(renderer.silhouette(positions, pose), edges, renderer)
            if len(points.off) < LEAST_POINTS:
                continue
            a, b, weight = _equations(points, renderer, share * width)
            each.append((a, b))
            matched, seen = matched + weight, seen + len(points.off)
        if not each and before is None:
            raise ValueError("the robot is not in view in any frame: the pose, its frame or its direction may be wrong")
        if not each:  # The search has left it: the masks lead nowhere.
            assert before is not None
            return Fit(before, 0.0, float("nan"), float("nan"), 0)
        before, pose = pose, moved(pose, _solve(*_total(each)))
        progress()
    metres, degrees = _jackknife(each)
    return Fit(pose, matched / seen, metres, degrees, len(each))


def _equations(
    points: EdgePoints, renderer: SilhouetteRenderer, radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Normal equations of a frame: [6, 6], [6], and the number of points that count (by weight)."""
    camera, x = renderer.camera, points.points
    sx, sy = points.slope[:, 0] * camera.fx / x[:, 2], points.slope[:, 1] * camera.fy / x[:, 2]
    towards = np.stack([sx, sy, -(sx * x[:, 0] + sy * x[:, 1]) / x[:, 2]], axis=1)
    jacobian = np.concatenate([towards, np.cross(x, towards)], axis=1)
    weight = np.clip(1 - (points.off / radius) ** 2, 0, None) ** 2 * (points.facing > FACING)
    heavy = jacobian * weight[:, None]
    return heavy.T @ jacobian, heavy.T @ points.off, float(weight.sum())


def _total(
    each: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.sum([a for a, _ in each], axis=0), np.sum([b for _, b in each], axis=0)


def _solve(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    # A little damping: a single frame of a straight arm does not fix all six.
    step = -np.linalg.solve(a + np.eye(6) * (1e-5 * np.trace(a) / 6 + 1e-9), b)
    longest = max(float(np.linalg.norm(step[:3])), float(np.linalg.norm(step[3:])))
    return np.asarray(step * min(1.0, MOST_STEP / max(longest, 1e-12)))


def _jackknife(each: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> tuple[float, float]:
    """Standard deviations, metres and degrees, of the linear solution when one frame after the other is left out."""
    n = len(each)
    if n < 3:
        return float("nan"), float("nan")
    a, b = _total(each)
    steps = np.stack([_solve(a - ai, b - bi) for ai, bi in each])
    variance = (n - 1) / n * ((steps - steps.mean(0)) ** 2).sum(0)
    return float(np.sqrt(variance[:3].sum())), float(np.rad2deg(np.sqrt(variance[3:].sum())))
