# SPDX-License-Identifier: Apache-2.0
"""Draw a compiled scene: colour and part labels, smoothed by rendering larger and shrinking."""

from __future__ import annotations

import atexit
from dataclasses import dataclass

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.robot import ARM, BACKGROUND, GRIPPER


@dataclass(frozen=True)
class Picture:
    """One rendered image.

    Attributes:
        rgb: [H, W, 3] uint8.  Of a scene without surroundings, the robot's own colour also where alpha is small.
        label: [H, W] uint8, BACKGROUND, ARM or GRIPPER.
        alpha: [H, W] uint8, how much of the pixel is covered, 0 to 255: by the robot, or of a scene without
            surroundings by anything in it.
    """

    rgb: NDArray[np.uint8]
    label: NDArray[np.uint8]
    alpha: NDArray[np.uint8]


class Renderer:
    """Draws scenes off screen.  One OpenGL context, kept while models change.

    Args:
        width, height: of the pictures, pixels.
        scale: colour and labels are rendered this much larger and shrunk.
    """

    def __init__(self, width: int, height: int, scale: float = 1.25) -> None:
        self.size = (width, height)
        self.big = (round(width * scale), round(height * scale))
        try:
            self._gl = mujoco.GLContext(*self.big)
        except Exception as e:
            raise RuntimeError(f"no OpenGL context ({e}): set MUJOCO_GL=egl or osmesa and install its driver") from e
        self._gl.make_current()
        atexit.register(self.close)
        self._context: mujoco.MjrContext | None = None
        self._scene: mujoco.MjvScene | None = None
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED

    def set_model(self, model: mujoco.MjModel) -> None:
        """Upload the meshes and textures of ``model``; its off-screen size is set here."""
        self._gl.make_current()  # another renderer may have been used meanwhile
        self._model = model
        model.vis.global_.offwidth, model.vis.global_.offheight = self.big
        if self._context is not None:
            self._context.free()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)

    def close(self) -> None:
        """Free the graphics memory; done at exit as well."""
        atexit.unregister(self.close)
        if self._context is not None:
            self._context.free()
            self._context = None
        if self._gl is not None:
            self._gl.free()
            self._gl = None

    def _draw(
        self, data: mujoco.MjData, camera: int, size: tuple[int, int], segment: bool, update: bool, shadow: bool = True
    ) -> NDArray[np.uint8]:
        if self._context is None or self._scene is None:
            raise RuntimeError("call set_model before drawing")
        scene = self._scene
        if update:
            self._camera.fixedcamid = camera
            mask = mujoco.mjtCatBit.mjCAT_ALL.value
            mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, mask, scene)
        scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = segment
        scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = segment
        scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = not segment and bool(self._model.mat_reflectance.any())
        scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadow and not segment
        rect = mujoco.MjrRect(0, 0, *size)
        mujoco.mjr_render(rect, scene, self._context)
        out = np.empty((size[1], size[0], 3), np.uint8)
        mujoco.mjr_readPixels(out, None, rect, self._context)
        return np.ascontiguousarray(out[::-1])

    def _labels(
        self, data: mujoco.MjData, camera: int, part: NDArray[np.uint8], size: tuple[int, int], update: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        raw = self._draw(data, camera, size, segment=True, update=update).astype(np.int32)
        assert self._scene is not None
        table = np.zeros(self._scene.ngeom + 2, np.uint8)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                table[geom.segid + 1] = part[geom.objid]
        index = raw[..., 0] + (raw[..., 1] << 8) + (raw[..., 2] << 16)
        return table[np.minimum(index, len(table) - 1)], index == 0

    def preview(self, data: mujoco.MjData, camera: int, part: NDArray[np.uint8], shrink: int = 4) -> NDArray[np.uint8]:
        """Labels only, at 1/shrink of the size: [H / shrink, W / shrink] uint8.  ``part``: [ngeom] label of a geom."""
        return self._labels(data, camera, part, (self.size[0] // shrink, self.size[1] // shrink), update=True)[0]

    def colour(self, data: mujoco.MjData, camera: int, shadow: bool = True) -> NDArray[np.uint8]:
        """Colour only, at the large size: [h, w, 3] uint8."""
        return self._draw(data, camera, self.big, segment=False, update=True, shadow=shadow)

    def picture(
        self,
        data: mujoco.MjData,
        camera: int,
        part: NDArray[np.uint8],
        shadow: bool = True,
        cutout: bool = False,
        backdrop: NDArray[np.uint8] | None = None,
        rgb: NDArray[np.uint8] | None = None,
    ) -> Picture:
        """Colour and labels.

        Args:
            camera: id of the camera.
            part: [ngeom] label of each geom.
            shadow: draw shadows.
            cutout: the scene has no surroundings: keep the background out of the colour of the robot's edge.
            backdrop: [h, w, 3] uint8 at the large size (``self.big``), shown where the scene holds nothing.
            rgb: [h, w, 3] uint8 at the large size, to be used instead of drawing the colour again.
        """
        update = rgb is not None
        rgb = self.colour(data, camera, shadow) if rgb is None else rgb
        label, sky = self._labels(data, camera, part, self.big, update=update)
        if backdrop is not None:
            rgb = np.where(sky[..., None], backdrop, rgb)
        return shrink_picture(rgb, label, self.size, cutout, solid=~sky if cutout else None)


def shrink_picture(
    rgb: NDArray[np.uint8],
    label: NDArray[np.uint8],
    size: tuple[int, int],
    cutout: bool,
    speck: int = 12,
    solid: NDArray[np.bool_] | None = None,
) -> Picture:
    """Shrink a large rendering, and fill holes of fewer than ``speck`` pixels inside the robot.

    Args:
        rgb: [h, w, 3] uint8.
        label: [h, w] uint8.
        size: (width, height) wanted.
        cutout: divide the colour by the coverage, so that the edge holds no background.
        solid: [h, w] bool, what is covered; None for the robot only.
    """
    area = cv2.INTER_AREA
    gripper = cv2.resize(np.where(label == GRIPPER, np.uint8(255), np.uint8(0)), size, interpolation=area)
    robot: NDArray = cv2.resize(np.where(label != BACKGROUND, np.uint8(255), np.uint8(0)), size, interpolation=area)
    covered = label != BACKGROUND if solid is None else solid
    alpha: NDArray = cv2.resize(np.where(covered, np.uint8(255), np.uint8(0)), size, interpolation=area)
    out = np.where(robot >= 128, np.where(gripper * 2.0 > robot, GRIPPER, ARM), BACKGROUND).astype(np.uint8)
    if cutout:
        own = np.where(covered[..., None], rgb, np.uint8(0)).astype(np.float32)
        small = cv2.resize(own, size, interpolation=area)
        cover = cv2.resize(covered.astype(np.float32), size, interpolation=area)[..., None]
        small = np.where(alpha[..., None] > 0, small / np.maximum(cover, 1e-3), 0)
        colour: NDArray = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    else:
        colour = cv2.resize(rgb, size, interpolation=area)
    alpha = np.where(cv2.erode(out, np.ones((3, 3), np.uint8)) > 0, np.uint8(255), alpha)
    hole = find_specks(out, speck)
    if hole.any():
        wide = cv2.dilate(out, np.ones((3, 3), np.uint8))
        out = np.where(hole, np.maximum(wide, ARM), out).astype(np.uint8)
        alpha = np.where(hole, np.uint8(255), alpha)
        colour = cv2.inpaint(colour, hole.astype(np.uint8), 2, cv2.INPAINT_TELEA)
    return Picture(rgb=colour.astype(np.uint8), label=out, alpha=alpha.astype(np.uint8))


def find_specks(label: NDArray[np.uint8], below: int) -> NDArray[np.bool_]:
    """Background pieces of fewer than ``below`` pixels that do not touch the border: [H, W] bool."""
    free = (label == BACKGROUND).astype(np.uint8)
    count, ids, stats, _ = cv2.connectedComponentsWithStats(free, connectivity=4)
    height, width = label.shape
    x, y, w, h, area = (stats[:, i] for i in range(5))
    small = (area < below) & (x > 0) & (y > 0) & (x + w < width) & (y + h < height)
    small[0] = False
    if count < 2 or not small.any():
        return np.zeros(label.shape, bool)
    return small[ids]
