# SPDX-License-Identifier: Apache-2.0
"""The soak's preset ``cell``: what a robot cell does to the node, all at once, for as long as is asked for.

Three cameras at 30 Hz (two raw, one of JPEGs), of whose images one in twenty is damaged; hints at 20 Hz, every other of
them wrong; a reader that takes half a second for each mask and wants all of them; one that comes and goes.  Whatever
the node says is held against what was sent.
"""

from __future__ import annotations

import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import cv2

from robotseg_ros.tools.soaking.rows import ROW_S

CAMERAS = ("left", "right", "wrist")
COMPRESSED = "wrist"
DAMAGED = 0.05
KEPT = 400
"""Stamps that are remembered of each camera: ten seconds and more."""
COMING_S, GOING_S = 3.0, 2.0
"""How long the reader that comes and goes is there, and is not."""
TURNS = 10
"""Answers of one camera in a row of the table from which on the others must have some, too."""
MOST_WORDS = 20


class Cell:
    """Cameras, hints and listeners in one ROS node; looks at everything that is said.

    Attributes:
        latencies: ms from the stamp of each image answered to the arrival of what is said of it.
        answered: by camera.
        wrong: what breaks the contract, in words.

    Args:
        context: of rclpy.
        width, height: of the images, pixels.
        seed: of what is damaged.
    """

    def __init__(self, context: Any, width: int, height: int, seed: int = 1) -> None:
        from rclpy.node import Node
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CompressedImage, Image

        from robotseg_ros.common.executor import SteadyExecutor
        from robotseg_ros.msg import PartMasks, Prompt
        from robotseg_ros.tools.measuring_camera import moving_picture

        self.latencies: list[float] = []
        self.answered = dict.fromkeys(CAMERAS, 0)
        self.wrong: list[str] = []
        self.sent = self.faults = 0
        self._draw = random.Random(seed)
        self._size = (height, width)
        self._node = Node("cell", context=context)
        self._executor = SteadyExecutor(context=context)
        self._executor.add_node(self._node)
        self._frames = moving_picture(width, height)
        self._files = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in self._frames]
        # By camera: whether each of the last images was good, by its stamp.
        self._open: dict[str, OrderedDict[int, bool]] = {camera: OrderedDict() for camera in CAMERAS}
        self._last = dict.fromkeys(CAMERAS, -1)
        driver = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._images, self._hints = {}, {}
        for camera in CAMERAS:
            kind, topic = (CompressedImage, "/image_raw/compressed") if camera == COMPRESSED else (Image, "/image_raw")
            self._images[camera] = self._node.create_publisher(kind, f"/{camera}{topic}", driver)
            self._hints[camera] = self._node.create_publisher(Prompt, f"/robotseg/{camera}/prompt", 10)
            parts, mask = (self._listener(camera, look) for look in (self._on_parts, self._on_mask))
            self._node.create_subscription(PartMasks, f"/robotseg/{camera}/parts", parts, 20)
            self._node.create_subscription(Image, f"/robotseg/{camera}/robot_mask", mask, 5)
        self._visitor: Any = None
        self._changed = 0.0

    @property
    def connected(self) -> bool:
        """Whether the node listens to all cameras and hints."""
        publishers = (*self._images.values(), *self._hints.values())
        return all(publisher.get_subscription_count() for publisher in publishers)

    def listen(self, seconds: float) -> None:
        """Wait for one message, up to this time."""
        self._executor.spin_once(timeout_sec=seconds)

    def visit(self, now: float) -> None:
        """Be the reader that comes and goes."""
        from sensor_msgs.msg import Image

        if now - self._changed < (COMING_S if self._visitor is not None else GOING_S):
            return
        self._changed = now
        if self._visitor is None:
            self._visitor = self._node.create_subscription(Image, "/robotseg/right/overlay", lambda message: None, 5)
        else:
            self._node.destroy_subscription(self._visitor)
            self._visitor = None

    def shoot(self, camera: str) -> None:
        """Publish the next image of a camera, stamped now; some are damaged."""
        from std_msgs.msg import Header

        from robotseg_ros.common.messages import to_compressed, to_image

        stamp = self._node.get_clock().now()
        header = Header(stamp=stamp.to_msg(), frame_id=f"{camera}_optical")
        number = self.sent % len(self._frames)
        good = self._draw.random() >= DAMAGED
        if camera == COMPRESSED:
            file = self._files[number]
            message = to_compressed(header, file if good else self._damage(file), "jpeg")
        else:
            message = to_image(header, self._frames[number], "rgb8")
            if not good:
                self._draw.choice(_DAMAGES)(message)
        stamps = self._open[camera]
        stamps[stamp.nanoseconds] = good
        while len(stamps) > KEPT:
            stamps.popitem(last=False)
        self._images[camera].publish(message)
        self.sent += 1

    def hint(self) -> None:
        """Publish a hint; every other one is wrong in some way."""
        from robotseg_ros.msg import Prompt

        camera, draw = self._draw.choice(CAMERAS), self._draw
        message = Prompt(part=draw.choice(("arm", "gripper", "robot")), kind=Prompt.POINT, label=1)
        message.coordinates = [draw.uniform(0, self._size[1] - 1), draw.uniform(0, self._size[0] - 1)]
        if self._open[camera] and draw.random() < 0.5:
            stamp = next(reversed(self._open[camera]))
            message.stamp.sec, message.stamp.nanosec = divmod(stamp, 1_000_000_000)
        if draw.random() < 0.5:
            draw.choice(_WRONG_HINTS)(message)
        self._hints[camera].publish(message)

    def compare(self, before: dict[str, int]) -> None:
        """See that no camera was left out while another had answers: they take turns, however slow the machine is.

        Args:
            before: :attr:`answered` of :data:`ROW_S` ago.
        """
        new = {camera: count - before[camera] for camera, count in self.answered.items()}
        for camera in [camera for camera, count in new.items() if not count and max(new.values()) >= TURNS]:
            self._break(f"{camera}: no answer for {ROW_S:.0f} s, another camera has {max(new.values())}")

    def close(self) -> None:
        """Take the node down."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _damage(self, file: bytes) -> bytes:
        cut = self._draw.randrange(1, len(file))
        return self._draw.choice((file[:cut], file[cut:], b"", file[:cut] + b"\xff\xda" * 4000 + file[cut:]))

    def _listener(self, camera: str, look: Callable[[str, Any], None]) -> Callable[[Any], None]:
        return lambda message: look(camera, message)

    def _on_parts(self, camera: str, message: Any) -> None:
        from robotseg_ros.common.messages import stamp_ns
        from robotseg_ros.msg import PartMasks

        if message.state == PartMasks.FAULT:
            self.faults += 1
        if message.state in (PartMasks.STALE, PartMasks.FAULT):
            if message.parts:
                self._break(f"{camera}: parts in state {message.state}")
            return
        stamp = stamp_ns(message.header)
        if not self._open[camera].get(stamp, False):
            self._break(f"{camera}: an answer to an image of stamp {stamp}, which was not sent or is damaged")
        if message.header.frame_id != f"{camera}_optical" or message.camera != camera:
            self._break(f"{camera}: an answer of frame {message.header.frame_id!r}, camera {message.camera!r}")
        if stamp <= self._last[camera]:
            self._break(f"{camera}: answers to {self._last[camera]} and then to {stamp}")
        self._last[camera] = stamp
        areas = {part.name: part.area for part in message.parts}
        if list(areas) != ["arm", "gripper", "robot"] or areas["arm"] + areas["gripper"] != areas["robot"]:
            self._break(f"{camera}: areas are {areas}")
        if not all(math.isfinite(part.score) and 0 <= part.score <= 1 for part in message.parts):
            self._break(f"{camera}: scores are {[part.score for part in message.parts]}")
        self.answered[camera] += 1
        self.latencies.append((time.time_ns() - stamp) / 1e6)

    def _on_mask(self, camera: str, message: Any) -> None:
        from robotseg_ros.common.messages import stamp_ns

        if not self._open[camera].get(stamp_ns(message.header), False):
            self._break(f"{camera}: a mask of stamp {stamp_ns(message.header)}, which was not sent or is damaged")
        if (message.height, message.width) != self._size or len(message.data) != self._size[0] * self._size[1]:
            self._break(f"{camera}: a mask of {message.width} x {message.height}")

    def _break(self, words: str) -> None:
        if len(self.wrong) < MOST_WORDS:
            self.wrong.append(words)


def _no_data(message: Any) -> None:
    message.data = message.data[: len(message.data) // 2]


_DAMAGES: tuple[Callable[[Any], None], ...] = (
    _no_data,
    lambda message: setattr(message, "step", 1),
    lambda message: setattr(message, "encoding", "no such encoding"),
    lambda message: setattr(message, "height", 0),
    lambda message: setattr(message, "width", 60_000),
)
_WRONG_HINTS: tuple[Callable[[Any], None], ...] = (
    lambda message: setattr(message, "part", "elbow" * 200),
    lambda message: setattr(message, "kind", 77),
    lambda message: setattr(message, "coordinates", [math.nan, math.inf]),
    lambda message: setattr(message, "coordinates", [1.0]),
    lambda message: setattr(message.stamp, "sec", 5),
)
