# SPDX-License-Identifier: Apache-2.0
"""Visual servoing closed over ROS: a simulated camera in an arm's hand goes to where it has seen a gripper before.

    python -m robotseg_ros.tools.servo_example --masks model --out out/servo

Segmenter and servo node run as processes; this one simulates the camera, publishes its images, waits for the gripper
of each image and moves the camera.  ``--masks truth`` publishes the simulator's masks in the segmenter's stead.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from subprocess import Popen

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from robotseg_core.geometry.gripper_pose import ImagePose
from robotseg_core.geometry.servoing import STANDSTILL, Goal, Law, camera_velocity
from robotseg_core.lifetime import end_in_order, uninterrupted
from robotseg_core.option_limits import check_option
from robotseg_ros.common import processes
from robotseg_ros.common.executor import SteadyExecutor
from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.companions.depth_codec import decode_mask, to_depth_image
from robotseg_ros.msg import GripperPose

try:
    from robotseg_ros.tools.servo_plot import Record, Step, write_pictures, write_plot
    from robotseg_ros.tools.servo_scene import ServoScene, Shot, Target
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"servo_example: this needs {error.name}, which is not installed here (pip install mujoco matplotlib)")

CAMERA = "/camera/image_raw"
DEPTH = "/camera/depth"
INFO = "/camera/camera_info"
MASK = "/robotseg/gripper_mask"
DISTANCE_M = 0.45
"""Of the goal view."""
START_OFFSET = (-0.16, 0.07, 0.05)
"""Start of the servoing from the goal, metres in the world, and by how much the camera is rolled, radians."""
START_ROLL = 0.35
FRAME_S = 0.1
"""Simulated time of a frame; how long its answer takes has no part in it."""
TEACH_FRAMES, TRAVEL_FRAMES = 6, 15
MOST_FRAMES = 100_000
START_TIMEOUT_S, ANSWER_TIMEOUT_S, TRIES = 180.0, 5.0, 6


class ExampleError(RuntimeError):
    """The loop could not be closed; the message says why."""


class Loop(Node):
    """Publishes images of the simulated camera and waits for what is said of each."""

    def __init__(self, scene: ServoScene, truth: bool) -> None:
        super().__init__("servo_example")
        self.scene, self.truth = scene, truth
        self._poses: dict[int, GripperPose] = {}
        self._masks: dict[int, NDArray[np.uint8]] = {}
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self._camera = self.create_publisher(Image, CAMERA, reliable)
        self._depth = self.create_publisher(Image, DEPTH, reliable)
        self._info = self.create_publisher(CameraInfo, INFO, reliable)
        self._truth = self.create_publisher(Image, MASK, reliable) if truth else None
        self.create_subscription(GripperPose, "/servo/gripper", self._on_pose, reliable)
        self.create_subscription(Image, MASK, self._on_mask, reliable)
        self._executor = SteadyExecutor()
        self._executor.add_node(self)

    def wait_for(self, commands: list[Popen[str]]) -> None:
        """Wait until the nodes listen.

        Raises:
            ExampleError: one of them has ended, or it takes too long.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        listened = MASK if self.truth else CAMERA
        # Our own subscription of the masks is one of them.
        while self.count_subscribers(listened) < (2 if self.truth else 1) or not self.count_publishers(
            "/servo/gripper"
        ):
            for process in commands:
                if processes.ended(process):
                    raise ExampleError(f"{process.args!r} ended with status {process.returncode}")
            if time.monotonic() > deadline:
                raise ExampleError(f"the nodes do not listen to {listened} after {START_TIMEOUT_S:.0f} s")
            self._executor.spin_once(timeout_sec=0.1)

    def see(self) -> tuple[Shot, ImagePose, NDArray[np.uint8]]:
        """Take a picture, publish it, and wait for the gripper's pose and mask in it.

        Raises:
            ExampleError: no answer came, also not when the picture was sent again.
        """
        shot = self.scene.look()
        for _ in range(TRIES):
            header = Header(frame_id="eye_optical", stamp=self.get_clock().now().to_msg())
            self._publish(header, shot)
            stamp, deadline = stamp_ns(header), time.monotonic() + ANSWER_TIMEOUT_S
            while time.monotonic() < deadline:
                self._executor.spin_once(timeout_sec=0.1)
                if stamp in self._poses and stamp in self._masks:
                    pose, mask = self._poses[stamp], self._masks[stamp]
                    self._poses.clear()
                    self._masks.clear()
                    return shot, from_message(pose), mask
        raise ExampleError(f"no answer to {TRIES} images within {ANSWER_TIMEOUT_S:.0f} s each")

    def _publish(self, header: Header, shot: Shot) -> None:
        camera = self.scene.camera
        k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
        self._info.publish(CameraInfo(header=header, width=camera.width, height=camera.height, k=k))
        self._depth.publish(to_depth_image(header, shot.depth))
        self._camera.publish(to_image(header, shot.rgb, "rgb8"))
        if self._truth is not None:
            self._truth.publish(to_image(header, shot.gripper, "mono8"))

    def _on_pose(self, message: GripperPose) -> None:
        self._poses[stamp_ns(message.header)] = message

    def _on_mask(self, message: Image) -> None:
        self._masks[stamp_ns(message.header)] = decode_mask(message)


def from_message(message: GripperPose) -> ImagePose:
    """The pose that a message holds."""
    roi = message.roi
    return ImagePose(
        area=int(message.area),
        centroid=(message.centroid.x, message.centroid.y),
        roi=(roi.x_offset, roi.y_offset, roi.width, roi.height),
        axis_angle=message.axis_angle,
        elongation=message.elongation,
        contour=np.array([(p.x, p.y) for p in message.contour], np.int32).reshape(-1, 2),
    )


def servo(loop: Loop, law: Law, frames: int) -> Record:
    """Teach the goal by showing it, take the camera away, and let the masks bring it back.

    Raises:
        ExampleError: the goal view shows nothing of the gripper, or no answer came.
    """
    scene = loop.scene
    goal_position, goal_rotation = scene.goal_pose(DISTANCE_M)
    scene.place_eye(goal_position, goal_rotation)
    for _ in range(TEACH_FRAMES):
        shot, pose, mask = loop.see()
    if not pose.present:
        raise ExampleError("the goal view shows nothing of the gripper to the masks: there is nothing to go to")
    goal = Goal(pose, DISTANCE_M)
    record = Record(goal, scene.camera, [], [("goal view", shot, mask)])
    for share in np.linspace(0, 1, TRAVEL_FRAMES + 1)[1:]:
        c, s = math.cos(share * START_ROLL), math.sin(share * START_ROLL)
        roll = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        scene.place_eye(goal_position + share * np.array(START_OFFSET), goal_rotation @ roll)
        loop.see()
    for frame in range(frames):
        shot, pose, mask = loop.see()
        position, rotation = scene.eye_pose()
        turn = math.acos(float(np.clip((np.trace(rotation @ goal_rotation.T) - 1) / 2, -1, 1)))
        overlap = iou(mask, shot.gripper)
        step = Step.of(frame * FRAME_S, pose, goal, float(np.linalg.norm(position - goal_position)), turn, overlap)
        record.steps.append(step)
        if frame in (0, frames // 8, frames // 4, frames - 1):
            record.pictures.append((f"{step.seconds:.1f} s", shot, mask))
        scene.move(camera_velocity(pose, goal, scene.camera, law) if pose.present else STANDSTILL, FRAME_S)
    return record


def iou(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    union = np.count_nonzero((a > 0) | (b > 0))
    return np.count_nonzero((a > 0) & (b > 0)) / union if union else 1.0


def main(arguments: list[str] | None = None) -> int:
    """Run the example.

    Returns:
        Exit status: 0, or 1 when the loop could not be closed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m robotseg_ros.tools.servo_example", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--masks", choices=("model", "truth"), default="model", help="whose masks (default: model)")
    parser.add_argument("--frames", type=int, default=100, help="of 0.1 s each (default: 100)")
    parser.add_argument("--out", type=Path, default=Path("out/servo"), help="folder for plot, pictures and figures")
    parser.add_argument("--robots", type=Path, help="folder of robot models; without it the built-in target")
    parser.add_argument("--arm", default="lite6", help="arm of that folder to look at")
    parser.add_argument("--gripper", help="its gripper; left out for one that is built in")
    options = parser.parse_args(arguments)
    try:
        check_option("--frames", options.frames, 1, MOST_FRAMES)
    except ValueError as error:
        parser.error(str(error))
    target = Target(options.robots, options.arm, options.gripper) if options.robots else None
    processes.use_private_domain()
    running: list[Popen[str]] = []
    scene = None
    end_in_order()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        scene = ServoScene(target=target)
        nodes = [
            ["robotseg_ros.run_node", "servo", "--ros-args", "-p", f"depth:={DEPTH}", "-p", f"camera_info:={INFO}"]
        ]
        if options.masks == "model":
            # However long the model takes here: simulated time waits for it.
            segmenter = ["robotseg_ros.run_segmenter", "--ros-args"]
            for value in (f"camera:={CAMERA}", "autostart:=true", "max_age:=0.0", "stale_after:=60.0"):
                segmenter += ["-p", value]
            nodes.append(segmenter)
        with uninterrupted():
            running += [processes.start([sys.executable, "-m", *node]) for node in nodes]
            loop = Loop(scene, truth=options.masks == "truth")
        loop.wait_for(running)
        record = servo(loop, Law(), options.frames)
    except (ExampleError, RuntimeError, ValueError, OSError) as error:
        print(f"servo_example: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        with uninterrupted():
            for process in running:
                processes.stop(process)
            if scene is not None:
                scene.close()
            rclpy.try_shutdown()
    options.out.mkdir(parents=True, exist_ok=True)
    write_plot(record, options.out / "convergence.png", f"masks of the {options.masks}")
    write_pictures(record, options.out / "views.png")
    figures = record.summary()
    (options.out / "summary.json").write_text(json.dumps(asdict(figures), indent=2) + "\n")
    print(figures.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
