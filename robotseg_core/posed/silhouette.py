# SPDX-License-Identifier: Apache-2.0
"""The silhouette of a posed robot in a calibrated camera, with the distance of every pixel of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotseg_core.geometry.camera import Camera
from robotseg_core.posed.robot import Pose, PosedRobot, set_intrinsics
from robotseg_core.synth.rendering.render import Renderer


@dataclass(frozen=True)
class Silhouette:
    """A robot as a camera should see it.

    Attributes:
        distance: [H, W] float32, metres along the optical axis, 0 beside the robot.
        ignored: [H, W] bool, where it shows links that do not count.
    """

    distance: NDArray[np.float32]
    ignored: NDArray[np.bool_]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[H, W] bool: the robot, links that do not count included."""
        return np.asarray(self.distance > 0)


class SilhouetteRenderer:
    """Draws a robot as a camera of a given size sees it.

    Args:
        robot: what is drawn.
        camera: whose pictures are ``width`` x ``height``; its distortion is left out, pictures must be rectified.
        ignored: [ngeom] bool, geoms that do not count; None for none.

    Raises:
        RuntimeError: there is no OpenGL for off-screen drawing here.
    """

    def __init__(self, robot: PosedRobot, camera: Camera, ignored: NDArray[np.bool_] | None = None) -> None:
        self.robot, self.camera = robot, camera
        self._renderer = Renderer(camera.width, camera.height, scale=1.0)
        self._renderer.set_model(robot.model)
        self._parts: NDArray[np.uint8] | None = None
        if ignored is not None and ignored.any():
            self._parts = np.where(ignored, 2, 1).astype(np.uint8)

    def silhouette(self, positions: NDArray[np.float64], pose: Pose) -> Silhouette:
        """Draw one frame.

        Args:
            positions: [njnt] joint positions in the model's order.
            pose: of the camera's optical frame in the base link.
        """
        self._place(positions, pose)
        distance = self._renderer.distances(self.robot.data, 0)
        ignored = np.zeros(distance.shape, bool)
        if self._parts is not None:
            ignored = self._renderer.preview(self.robot.data, 0, self._parts, shrink=1) == 2
        return Silhouette(distance, ignored)

    def colour(self, positions: NDArray[np.float64], pose: Pose) -> NDArray[np.uint8]:
        """The robot in its colours, [H, W, 3] uint8 RGB; black beside it."""
        self._place(positions, pose)
        return self._renderer.colour(self.robot.data, 0)

    def close(self) -> None:
        """Free the graphics memory."""
        self._renderer.close()

    def _place(self, positions: NDArray[np.float64], pose: Pose) -> None:
        set_intrinsics(self.robot.model, self.camera)
        self.robot.pose(positions)
        self.robot.look(pose)


def scaled(camera: Camera, width: int) -> Camera:
    """The same rectified camera with pictures ``width`` pixels wide; heights are rounded."""
    height = max(1, round(camera.height * width / camera.width))
    across, down = width / camera.width, height / camera.height
    return Camera(
        width,
        height,
        camera.fx * across,
        camera.fy * down,
        # (0, 0) is the centre of the first pixel, not its corner.
        (camera.cx + 0.5) * across - 0.5,
        (camera.cy + 0.5) * down - 0.5,
    )
