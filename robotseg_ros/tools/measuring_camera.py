# SPDX-License-Identifier: Apache-2.0
"""A camera that takes the time until what the segmenter makes of its images has come back, for bench and soak."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from robotseg_ros.common.executor import SteadyExecutor
from robotseg_ros.common.messages import stamp_ns, to_image

CAMERA = "/camera/image_raw"
MASKS = ("arm_mask", "gripper_mask", "robot_mask")
OUTPUTS = (*MASKS, "overlay")
PERIOD = 16
"""Frames after which the picture is the same again."""
GIVEN_UP_S = 5.0
"""An image without an answer for this long has been dropped, or lost on its way."""
START_TIMEOUT_S = 60.0
LINGER_S = 1.0
"""How long the answers to the last images may take."""


def moving_picture(width: int, height: int) -> list[NDArray[np.uint8]]:
    """Smooth noise that moves to the left, :data:`PERIOD` frames, each [height, width, 3] uint8."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    noise = np.asarray(cv2.resize(coarse, (width + 8 * PERIOD, height)), np.uint8)
    return [np.ascontiguousarray(noise[:, 8 * i : 8 * i + width]) for i in range(PERIOD)]


class MeasuringCamera:
    """Publishes a moving picture and subscribes to the segmenter's masks and overlay.

    Attributes:
        sent: images so far.
        given_up: images without an answer.

    Args:
        context: of rclpy.
        width, height: of the images, pixels.
        on_answer: called with the milliseconds from the stamp of an image to the arrival of its last mask, once the
            masks and the overlay are here.
    """

    def __init__(self, context: Any, *, width: int, height: int, on_answer: Callable[[float], None]) -> None:
        self._node = Node("measuring_camera", context=context)
        self._executor = SteadyExecutor(context=context)
        self._executor.add_node(self._node)
        self._frames = moving_picture(width, height)
        self._on_answer = on_answer
        # By stamp: the arrival of each output, ns.
        self._open: dict[int, dict[str, int]] = {}
        self._images = self._node.create_publisher(
            Image, CAMERA, QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        for output in OUTPUTS:
            self._node.create_subscription(
                Image, f"/robotseg/{output}", lambda m, o=output: self._on_output(o, m), QoSProfile(depth=10)
            )
        self.sent = 0
        self.given_up = 0

    @property
    def waiting(self) -> int:
        """Images on whose answer we wait."""
        return len(self._open)

    @property
    def connected(self) -> bool:
        """Whether the segmenter listens and publishes."""
        masks = (self._node.count_publishers(f"/robotseg/{output}") for output in OUTPUTS)
        return self._images.get_subscription_count() > 0 and all(masks)

    def send(self, frame_id: str = "camera") -> None:
        """Publish the next image, stamped now."""
        stamp = self._node.get_clock().now()
        header = Header(stamp=stamp.to_msg(), frame_id=frame_id)
        self._open[stamp.nanoseconds] = {}
        self._images.publish(to_image(header, self._frames[self.sent % PERIOD], "rgb8"))
        self.sent += 1

    def listen(self, seconds: float) -> None:
        """Wait for one message, up to this time, and give up images that nobody answers."""
        self._executor.spin_once(timeout_sec=seconds)
        late = time.time_ns() - int(GIVEN_UP_S * 1e9)
        for stamp in [stamp for stamp in self._open if stamp < late]:
            del self._open[stamp]
            self.given_up += 1

    def close(self) -> None:
        """Take the node down."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _on_output(self, output: str, message: Image) -> None:
        now = time.time_ns()
        stamp = stamp_ns(message.header)
        arrivals = self._open.get(stamp)
        if arrivals is None:
            return
        arrivals[output] = now
        if len(arrivals) == len(OUTPUTS):
            # Answers come in order: what is open and older was replaced by a newer image, or lost.
            for older in [other for other in self._open if other < stamp]:
                del self._open[older]
                self.given_up += 1
            del self._open[stamp]
            self._on_answer((max(arrivals[mask] for mask in MASKS) - stamp) / 1e6)


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th and 99th percentile."""
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return float(p50), float(p95), float(p99)


def play(camera: MeasuringCamera, latencies: list[float], frames: int, rate_hz: float) -> float:
    """Send images; returns the seconds that it took.

    Args:
        camera: that sends them.
        latencies: where its answers are put.
        frames: answers to get, or, at a rate, images to send.
        rate_hz: 0: each image is sent when the one before it has been answered.

    Raises:
        TimeoutError: nobody listens.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while not camera.connected:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no segmenter within {START_TIMEOUT_S:.0f} s")
        camera.listen(0.1)
    began = time.monotonic()
    if rate_hz:
        while camera.sent < frames or (camera.waiting and time.monotonic() < began + frames / rate_hz + LINGER_S):
            left = began + camera.sent / rate_hz - time.monotonic()
            if camera.sent < frames and left <= 0:
                camera.send()
            camera.listen(max(0.0, min(left, 0.05)))
    else:
        while len(latencies) < frames:
            if not camera.waiting:
                camera.send()
            camera.listen(0.05)
    return time.monotonic() - began


def main(arguments: list[str] | None = None) -> int:
    """Send images; the last line on standard output is a JSON object with what was measured."""
    from robotseg_ros.common.allocator import keep_image_memory

    keep_image_memory()
    parser = argparse.ArgumentParser(prog="measuring_camera", description=__doc__)
    parser.add_argument("--size", required=True, help="of the images, WxH")
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="images a second; 0: wait for each answer")
    options = parser.parse_args(arguments)
    width, height = (int(side) for side in options.size.split("x"))
    context = rclpy.Context()
    rclpy.init(context=context)
    latencies: list[float] = []
    camera = MeasuringCamera(context, width=width, height=height, on_answer=latencies.append)
    try:
        seconds = play(camera, latencies, options.frames, options.rate)
    except TimeoutError as error:
        print(f"measuring_camera: {error}", file=sys.stderr)
        return 1
    finally:
        sent = camera.sent
        camera.close()
        context.try_shutdown()
    print(json.dumps({"latencies_ms": latencies, "sent": sent, "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
