# SPDX-License-Identifier: Apache-2.0
"""What happens to one image: decode, apply prompts, step the stream, publish.  Runs in the inference thread."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from robotseg_core.types import Prompt, State
from robotseg_ros.codec import CodecError, decode_rgb
from robotseg_ros.messages import stamp_ns
from robotseg_ros.model import Stream
from robotseg_ros.publishers import Publishers

LOG_PERIOD_S = 5.0
"""A camera that sends garbage at 30 Hz is reported this often."""
MAX_WAITING_PROMPTS = 32


@dataclass(frozen=True)
class LastImage:
    """The last image that was read: its header (None before the first), and when by ``time.monotonic``."""

    header: Header | None
    when: float


class Inference:
    """One stream on one camera.

    Attributes:
        refused: images refused so far, by reason.
        faults: images that the model failed on.
        busy: whether the model works on an image now.
        last: the last image that the model was given, also when it failed on it; before the first one, the start.
    """

    def __init__(self, node: LifecycleNode, stream: Stream, publishers: Publishers) -> None:
        self._node = node
        self._stream = stream
        self._publishers = publishers
        self._prompts: deque[Prompt] = deque(maxlen=MAX_WAITING_PROMPTS)
        self._unreported_drops = 0
        self.refused: Counter[str] = Counter()
        self.faults = 0
        self.busy = False
        self.last = LastImage(None, time.monotonic())
        self._stopped = False

    def prompt(self, prompt: Prompt) -> None:
        """Leave a prompt for the next image; may be called from any thread."""
        self._prompts.append(prompt)

    def stop(self) -> None:
        """Publish nothing more: an image still worked on may be done only when another stream has started."""
        self._stopped = True

    def process(self, image: Image, dropped: int) -> None:
        """Segment one image and publish the answer.  Never raises."""
        # An image that is refused is not answered; what was dropped before it is reported with the next answer.
        self._unreported_drops += dropped
        start = time.perf_counter()
        try:
            rgb = decode_rgb(image)
        except CodecError as error:
            self._refuse(error.reason.value, str(error))
            return
        except Exception as error:
            # Nothing is known that gets here; memory may run out, and OpenCV has errors of its own.
            self._refuse("decoding", f"{type(error).__name__}: {error}")
            return
        decode_ms = (time.perf_counter() - start) * 1e3
        self.last = LastImage(image.header, time.monotonic())
        self.busy = True
        try:
            while self._prompts:
                self._stream.prompt(self._prompts.popleft())
            result = self._stream.step(rgb, stamp_ns(image.header))
        except Exception as error:
            self._fail(image.header, error)
            return
        finally:
            self.last = LastImage(image.header, time.monotonic())
            self.busy = False
        if self._stopped:
            return
        with self._logged("publish an answer"):
            self._publishers.publish(image.header, rgb, result, decode_ms=decode_ms, dropped=self._take_drops())

    def _refuse(self, reason: str, message: str) -> None:
        self.refused[reason] += 1
        # The throttled line may be about another reason than the one before it: the counts tell.
        counts = ", ".join(f"{count} for {name}" for name, count in self.refused.most_common())
        self._node.get_logger().warning(
            f"image refused: {message} (refused so far: {counts})", throttle_duration_sec=LOG_PERIOD_S
        )

    def _fail(self, header: Header, error: Exception) -> None:
        self.faults += 1
        if self._stopped:
            return
        self._node.get_logger().error(
            f"the model failed on an image: {type(error).__name__}: {error} ({self.faults} failures so far)",
            throttle_duration_sec=LOG_PERIOD_S,
        )
        with self._logged("publish the failure"):
            # A step that broke off leaves the memory half written.
            self._stream.reset()
            self._publishers.publish_without_parts(header, State.FAULT, dropped=self._take_drops())

    @contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        """Log what goes wrong inside; once ROS has been shut down under the thread, nothing has to go right."""
        try:
            yield
        except Exception as error:
            if self._node.context.ok():
                self._node.get_logger().error(
                    f"cannot {what}: {type(error).__name__}: {error}", throttle_duration_sec=LOG_PERIOD_S
                )

    def _take_drops(self) -> int:
        drops, self._unreported_drops = self._unreported_drops, 0
        return drops
