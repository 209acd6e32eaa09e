# SPDX-License-Identifier: Apache-2.0
"""A clip or camera as a camera driver would publish it: its own rate, stamps of the moment of publishing."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import IO, Any

from robotseg_core.files.frames import Frames, InputError, open_frames
from robotseg_core.lifetime import end_in_order
from robotseg_core.option_limits import check_option
from robotseg_ros.common.allocator import keep_image_memory

SUBSCRIBER_TIMEOUT_S = 60.0
MOST_SUBSCRIBERS = 1000
LINGER_S = 0.5
"""The last image is on its way when it has been published; its shared memory must outlive that."""


@dataclass(frozen=True)
class Played:
    """What was played: number of frames, wall time from the first to the last, rate of the source."""

    frames: int
    seconds: float
    rate_hz: float


def main(arguments: list[str] | None = None) -> int:
    """Play to the end; the last line on standard output is a JSON object with the fields of :class:`Played`.

    Returns:
        Exit status: 0, or 1 when the input cannot be played or nobody subscribes.
    """
    keep_image_memory()
    # Only now: the allocator must be set before rclpy is loaded.
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    parser = argparse.ArgumentParser(prog="player", description=__doc__)
    parser.add_argument("input", help="video file, folder of images or /dev/videoN")
    parser.add_argument("--topic", default="/camera/image_raw", help="default /camera/image_raw")
    parser.add_argument("--frame-id", default="camera", help="of the images (default camera)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--stamps", help="file for the stamps of the images published, ns, one a line")
    parser.add_argument("--wait-for", type=int, default=0, help="number of subscribers to wait for, up to a minute")
    options = parser.parse_args(remove_ros_args(sys.argv)[1:] if arguments is None else arguments)
    try:
        check_option("--seconds", options.seconds, 0, float("inf"))
        check_option("--wait-for", options.wait_for, 0, MOST_SUBSCRIBERS)
    except ValueError as error:
        parser.error(str(error))
    end_in_order()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        with open(options.stamps, "w") if options.stamps else nullcontext() as stamps:
            played = _play(open_frames(options.input), options, stamps)
        print(json.dumps(asdict(played)), flush=True)
        return 0
    except (InputError, OSError) as error:
        print(f"player: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        rclpy.try_shutdown()


def _play(source: Frames, options: Any, stamps: IO[str] | None) -> Played:
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from robotseg_ros.common.messages import stamp_ns, to_image

    node = rclpy.create_node("player")
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera = node.create_publisher(Image, options.topic, qos)
    waiting_since = time.monotonic()
    while camera.get_subscription_count() < options.wait_for:
        if time.monotonic() - waiting_since > SUBSCRIBER_TIMEOUT_S:
            raise TimeoutError(
                f"{camera.get_subscription_count()} of {options.wait_for} subscribers of {options.topic} "
                f"after {SUBSCRIBER_TIMEOUT_S:.0f} s"
            )
        time.sleep(0.02)
    start = time.monotonic()
    count = 0
    for _, frame in source.frames:
        if not rclpy.ok():
            break
        if not source.live:
            time.sleep(max(0.0, start + count / source.rate_hz - time.monotonic()))
        header = Header(frame_id=options.frame_id, stamp=node.get_clock().now().to_msg())
        camera.publish(to_image(header, frame, "bgr8"))
        count += 1
        if stamps is not None:
            print(stamp_ns(header), file=stamps)
        if time.monotonic() - start >= options.seconds:
            break
    seconds = time.monotonic() - start
    time.sleep(LINGER_S)
    node.destroy_node()
    return Played(count, seconds, source.rate_hz)


if __name__ == "__main__":
    sys.exit(main())
