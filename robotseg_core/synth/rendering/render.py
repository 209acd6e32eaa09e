# SPDX-License-Identifier: Apache-2.0
"""Draw a compiled scene: colour and part labels, smoothed by rendering larger and shrinking."""

from __future__ import annotations

import atexit
from dataclasses import dataclass, replace

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
        ids: [H, W] uint16, the leaf each pixel shows, 0 for none; None when it was not asked for.  Where label is not
            BACKGROUND it is a leaf of that part.
        depth: [H, W] uint16, millimetres along the optical axis, 0 where the scene holds nothing; None when it was not
            asked for.
    """

    rgb: NDArray[np.uint8]
    label: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    ids: NDArray[np.uint16] | None = None
    depth: NDArray[np.uint16] | None = None


LEAST_SIDE, MOST_SIDE = 64, 4096
"""Of pictures that commands are asked for, pixels."""


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

    def _geoms(self, data: mujoco.MjData, camera: int, size: tuple[int, int], update: bool) -> NDArray[np.int32]:
        """[h, w] int32: the geom each pixel shows, -1 where there is none."""
        raw = self._draw(data, camera, size, segment=True, update=update).astype(np.int32)
        assert self._scene is not None
        table = np.full(self._scene.ngeom + 2, -1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                table[geom.segid + 1] = geom.objid
        index = raw[..., 0] + (raw[..., 1] << 8) + (raw[..., 2] << 16)
        return np.asarray(np.where(index == 0, -1, table[np.minimum(index, len(table) - 1)]), np.int32)

    def distances(self, data: mujoco.MjData, camera: int) -> NDArray[np.float32]:
        """Distance along the optical axis, [H, W] float32 metres; 0 where the scene holds nothing."""
        if self._context is None:
            raise RuntimeError("call set_model before drawing")
        # Reversed z is finer far away.  For this drawing only: it would change which of two surfaces in one place wins.
        usual, self._context.readDepthMap = self._context.readDepthMap, mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._draw(data, camera, self.size, segment=True, update=True)
        raw = np.empty((self.size[1], self.size[0]), np.float32)
        mujoco.mjr_readPixels(None, raw, mujoco.MjrRect(0, 0, *self.size), self._context)
        self._context.readDepthMap = usual
        raw = raw[::-1]
        extent, planes = self._model.stat.extent, self._model.vis.map
        near, far = planes.znear * extent, planes.zfar * extent
        return np.where(raw > 0, near * far / (near + raw.astype(np.float64) * (far - near)), 0).astype(np.float32)

    def preview(self, data: mujoco.MjData, camera: int, part: NDArray[np.uint8], shrink: int = 4) -> NDArray[np.uint8]:
        """Labels only, at 1/shrink of the size: [H / shrink, W / shrink] uint8.  ``part``: [ngeom] label of a geom."""
        small = (self.size[0] // shrink, self.size[1] // shrink)
        return np.asarray(_look_up(part, self._geoms(data, camera, small, update=True)), np.uint8)

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
        leaf: NDArray[np.uint16] | None = None,
        depth: bool = False,
    ) -> Picture:
        """Colour and labels, with ``leaf`` ids, with ``depth`` distances.

        Args:
            camera: id of the camera.
            part: [ngeom] label of each geom.
            shadow: draw shadows.
            cutout: the scene has no surroundings: keep the background out of the colour of the robot's edge.
            backdrop: [h, w, 3] uint8 at the large size (``self.big``), shown where the scene holds nothing.
            rgb: [h, w, 3] uint8 at the large size, to be used instead of drawing the colour again.
            leaf: [ngeom] id of the leaf each geom belongs to, 0 for none.
            depth: measure distances as well.
        """
        update = rgb is not None
        rgb = self.colour(data, camera, shadow) if rgb is None else rgb
        geoms = self._geoms(data, camera, self.big, update=update)
        label, sky = np.asarray(_look_up(part, geoms), np.uint8), geoms < 0
        if backdrop is not None:
            rgb = np.where(sky[..., None], backdrop, rgb)
        picture = shrink_picture(rgb, label, self.size, cutout, solid=~sky if cutout else None)
        if depth:
            far = self.distances(data, camera)
            picture = replace(picture, depth=np.where(far < 65.535, np.rint(far * 1e3), 0).astype(np.uint16))
        if leaf is None:
            return picture
        part_of = np.zeros(int(leaf.max()) + 1, np.uint8)
        part_of[leaf] = np.where(leaf > 0, part, BACKGROUND)
        return replace(picture, ids=shrink_ids(np.asarray(_look_up(leaf, geoms), np.uint16), part_of, picture.label))


def _look_up(table: NDArray, geoms: NDArray[np.int32]) -> NDArray:
    """``table`` [ngeom] read at ``geoms`` [h, w]; 0 where there is no geom."""
    return np.concatenate([np.zeros(1, table.dtype), table])[geoms + 1]


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


def shrink_ids(big: NDArray[np.uint16], part_of: NDArray[np.uint8], label: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Leaves at the size of ``label``, such that each pixel holds a leaf of its own part.

    Args:
        big: [h, w] leaf of each pixel of the large rendering.
        part_of: [n] BACKGROUND, ARM or GRIPPER of each leaf, BACKGROUND for leaf 0.
        label: [H, W] part of each pixel wanted.

    Returns:
        [H, W]: the leaf in the middle of the pixel where its part is right, else the nearest that is.  Where no leaf of
        the part is in the picture at all, 0.
    """
    height, width = label.shape
    out: NDArray[np.uint16] = np.asarray(cv2.resize(big, (width, height), interpolation=cv2.INTER_NEAREST), np.uint16)
    wrong = part_of[out] != label
    for part in (BACKGROUND, ARM, GRIPPER):
        lost = wrong & (label == part)
        if not lost.any():
            continue
        right = ~wrong & (label == part)
        if not right.any():  # too little of it to be hit: its largest leaf
            count = np.bincount(big.ravel(), minlength=len(part_of)) * (part_of == part)
            out[lost] = int(count.argmax()) if count.any() else 0
            continue
        _, nearest = cv2.distanceTransformWithLabels(
            np.where(right, np.uint8(0), np.uint8(1)), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
        )
        leaf = np.zeros(int(nearest.max()) + 1, np.uint16)
        leaf[nearest[right]] = out[right]
        out[lost] = leaf[nearest[lost]]
    return out
