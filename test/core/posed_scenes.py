# SPDX-License-Identifier: Apache-2.0
"""A small arm with known joints before a camera with a known pose, drawn in the tests themselves."""

import json

import cv2
import numpy as np

from robotseg_core.geometry.camera import Camera
from robotseg_core.posed.robot import PosedRobot
from robotseg_core.posed.silhouette import SilhouetteRenderer

ARM = """<mujoco model="arm">
  <worldbody>
    <body name="base" pos="0 0 0.3">
      <geom type="box" size="0.07 0.07 0.05" pos="0 0 0.05"/>
      <body name="shoulder" pos="0 0 0.1">
        <joint name="turn" axis="0 0 1"/>
        <geom type="capsule" fromto="0 0 0 0 0 0.25" size="0.045"/>
        <body name="upper" pos="0 0 0.25">
          <joint name="lift" axis="0 1 0"/>
          <geom type="capsule" fromto="0 0 0 0.28 0 0" size="0.04"/>
          <body name="fore" pos="0.28 0 0">
            <joint name="bend" axis="0 1 0"/>
            <geom type="capsule" fromto="0 0 0 0.22 0 0" size="0.03"/>
            HAND
          </body>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>"""
HAND = '<body name="hand" pos="0.22 0 0"><geom type="box" size="0.07 0.09 0.03" pos="0.07 0 0"/></body>'
CAMERA = Camera(320, 240, 300.0, 302.0, 150.0, 128.0)
# Optical frame in the base link: 1.3 m before the robot, looking at it, a little from above and turned.
JOINTS = [(-0.6, -0.7, 0.9), (0.5, -1.1, 1.6), (1.2, 0.1, -0.8), (-1.4, -0.3, 1.9), (0.1, -1.5, 0.4), (2.2, -0.6, 0.9)]


def look_at(eye, target, roll=0.1):
    z = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1) @ cv2.Rodrigues(np.array([0, 0, roll]))[0]
    pose[:3, 3] = eye
    return pose


POSE = look_at((1.2, -0.7, 0.5), (0, 0, 0.25))


def write_arm(folder, hand=True):
    path = folder / ("arm.xml" if hand else "bare.xml")
    path.write_text(ARM.replace("HAND", HAND if hand else ""))
    return path


def drawn(robot, pose=POSE, camera=CAMERA):
    """Of each of JOINTS: mask [H, W] bool and distance [H, W] float32 metres."""
    renderer = SilhouetteRenderer(robot, camera)
    out = [renderer.silhouette(robot.positions(q), pose) for q in JOINTS]
    renderer.close()
    return [s.mask for s in out], [s.distance for s in out]


def write_camera(folder, hand=True, wall=2.5):
    """The files of a camera: the arm before a chequered wall, its masks, depth, joints and pose."""
    robot = PosedRobot.load(write_arm(folder, hand))
    masks, distances = drawn(robot)
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width]
    chequered = np.where((rows // 20 + columns // 20) % 2, 180, 90).astype(np.uint8)
    for name in ("image", "masks", "depth"):
        (folder / name).mkdir()
    for i, (mask, distance) in enumerate(zip(masks, distances, strict=True)):
        picture = np.dstack([chequered, chequered, np.full_like(chequered, 40)])
        picture[mask] = (30, 60, 220)
        cv2.imwrite(str(folder / "image" / f"{i:05d}.png"), picture)
        cv2.imwrite(str(folder / "masks" / f"{i:05d}.png"), mask.astype(np.uint8) * 255)
        depth = np.rint(np.where(mask, distance, wall) * 1e3).astype(np.uint16)
        cv2.imwrite(str(folder / "depth" / f"{i:05d}.png"), depth)
    joints = {f"{i:05d}": list(q) for i, q in enumerate(JOINTS)}
    (folder / "joints.json").write_text(json.dumps({"joint_names": ["turn", "lift", "bend"], "joints": joints}))
    (folder / "pose.json").write_text(json.dumps(POSE.tolist()))
    c = CAMERA
    k = [c.fx, 0.0, c.cx, 0.0, c.fy, c.cy, 0.0, 0.0, 1.0]
    info = {"width": c.width, "height": c.height, "k": k, "d": [0.0] * 5, "distortion_model": "plumb_bob"}
    (folder / "camera_info.yaml").write_text(json.dumps(info))
    return folder
