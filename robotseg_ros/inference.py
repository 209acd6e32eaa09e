# SPDX-License-Identifier: Apache-2.0
"""What happens to one image: decode, apply hints, step the stream, publish.  Runs in the inference thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from robotseg_core.types import PartMasks, State
from robotseg_ros.codec import CodecError
from robotseg_ros.counters import Counters
from robotseg_ros.decoding import Decoded, Sequence, decode
from robotseg_ros.mask_policy import apply_policy
from robotseg_ros.messages import stamp_ns
from robotseg_ros.model import Stream
from robotseg_ros.parameters import LiveOptions
from robotseg_ros.prompts import Hint, PromptError, RecentImages
from robotseg_ros.publishers import Answer, Publishers

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
        counters: what happened to the images so far.
        state: the last one published; None before the first.
        paused: whether answers are held back because a user has asked for it.
        busy: whether the model works on an image now.
        last: the last image that the model was given, also when it failed on it; before the first one, the start.
        recent: the last images worked on, for late hints.
        info: the camera's parameters, if they have come.

    Args:
        node: for its clock and log.
        stream: of the model.
        publishers: where the answers go.
        live: gives the parameters as they are now.
        replay: whether the images are a recording's: an answer is never too old.
        name: of the camera, for the log.
    """

    def __init__(
        self,
        node: LifecycleNode,
        stream: Stream,
        publishers: Publishers,
        live: Callable[[], LiveOptions],
        *,
        replay: bool,
        name: str,
    ) -> None:
        self._node = node
        self._stream = stream
        self._publishers = publishers
        self._live = live
        self._replay = replay
        self._name = f"camera {name}: " if name else ""
        self._hints: deque[Hint] = deque()
        self._unreported_drops = 0
        self._reported_lost = 0
        self._said: dict[str, float] = {}
        self._sequence: Sequence | None = None
        self._reset_wanted = False
        self._stopped = False
        self.paused = False
        # Held while an answer is decided on and published, never while the model works.
        self._publishing = threading.Lock()
        self.counters = Counters()
        self.state: State | None = None
        self.busy = False
        self.last = LastImage(None, time.monotonic())
        self.recent = RecentImages()
        self.info: CameraInfo | None = None

    def hint(self, hint: Hint) -> None:
        """Leave a hint for the next image; may be called from any thread.

        Raises:
            PromptError: too many wait for it already.
        """
        if len(self._hints) >= MAX_WAITING_PROMPTS:
            raise PromptError(f"{MAX_WAITING_PROMPTS} hints wait for the next image already")
        self._hints.append(hint)

    def reset(self) -> None:
        """Forget everything seen before the next image; may be called from any thread."""
        self._hints.clear()
        self._reset_wanted = True

    def pause(self) -> None:
        """Publish STALE, and then no answer, also not that to an image being worked on."""
        with self._publishing:
            self.paused = True
            self._publish_without_parts(self.last.header, State.STALE, dropped=0)

    def resume(self) -> None:
        """Go on with a first image: what was remembered is of another time."""
        with self._publishing:
            self.reset()
            self.paused = False

    def listening(self) -> None:
        """Count the silence of the camera from now."""
        self.last = LastImage(self.last.header, time.monotonic())

    def stop(self) -> None:
        """Publish nothing more: an image still worked on may be done only when another stream has started."""
        with self._publishing:
            self._stopped = True

    def lost(self, count: int) -> None:
        """Count images that the middleware says it has lost."""
        self.counters.lost += count
        self._warn(
            "lost",
            f"{self.counters.lost} images were lost on their way so far: the sender keeps too few of them, or sends "
            f"without the Fast DDS profile",
        )

    def stale(self, unless: Callable[[], bool]) -> bool:
        """Publish STALE about the last image, unless an answer was published meanwhile.  From any thread."""
        with self._publishing:
            if self._stopped or self.paused or unless():
                return False
            self._publish_without_parts(self.last.header, State.STALE, dropped=0)
            return True

    def process(self, image: Any, dropped: int) -> None:
        """Segment one image (Image or CompressedImage) and publish the answer.  Never raises."""
        start = time.perf_counter()
        # An image that is refused is not answered; what was dropped before it is reported with the next answer.
        self._unreported_drops += dropped
        self.counters.dropped += dropped
        decoded = self._decode(image)
        if decoded is None:
            return
        header, stamp = image.header, stamp_ns(image.header)
        self.last = LastImage(header, time.monotonic())
        self.busy = True
        try:
            self._restart_if_new(header, decoded)
            self._apply_hints(stamp)
            result = self._stream.step(decoded.rgb, stamp)
            self.recent.add(stamp, decoded.rgb)
            live = self._live()
            result = apply_policy(result, live.mask_policy, live.mask_margin)
        except Exception as error:
            self._fail(header, error)
            return
        finally:
            self.last = LastImage(header, time.monotonic())
            self.busy = False
        with self._publishing, self._logged("publish an answer"):
            if self._stopped or self.paused or self._refuse_late(header, live):
                return
            info = self.info if self.info is not None and _fits(self.info, decoded.rgb) else None
            answer = Answer(header, decoded.rgb, result, decoded.ms, self._take_drops(), info)
            self._publishers.publish(answer, live)
            self._count_answer(header, result, start)

    def _decode(self, image: Any) -> Decoded | None:
        try:
            return decode(image)
        except CodecError as error:
            self._refuse(error.reason.value, str(error))
        except Exception as error:
            # Nothing is known that gets here; memory may run out, and OpenCV has errors of its own.
            self._refuse("decoding", f"{type(error).__name__}: {error}")
        return None

    def _restart_if_new(self, header: Header, decoded: Decoded) -> None:
        """Begin anew where this image cannot belong to the sequence before it, or where a user asked for it."""
        before, now = self._sequence, Sequence.of(header, decoded)
        self._sequence = now
        why = "" if before is None else before.broken_by(now, replay=self._replay)
        said = f"{why} of the images has changed from {before} to {now}"
        if self._reset_wanted:
            self._reset_wanted = False
            why, said = "reset", "as asked"
        if why:
            self.counters.restarts[why] += 1
            # Two publishers on one topic would have it in every other image.
            if self._may_say(f"restart {why}"):
                self._node.get_logger().info(f"{self._name}memory given up, {said}")
            self.recent.clear()
            self._stream.reset()

    def _apply_hints(self, stamp: int) -> None:
        """Give the waiting hints to the stream, each with the image that it was given on."""
        hints = []
        while self._hints:
            hints.append(self._hints.popleft())
        # Those for images that have been worked on, oldest image first; each such image is shown to the model again.
        late = sorted({hint.image.stamp for hint in hints if hint.image is not None and hint.image.stamp != stamp})
        for seen in late:
            group = [hint for hint in hints if hint.image is not None and hint.image.stamp == seen]
            for hint in group:
                self._stream.prompt(hint.prompt)
            assert group[0].image is not None
            self._stream.step(group[0].image.rgb, seen)
        for hint in hints:
            if hint.image is None or hint.image.stamp == stamp:
                self._stream.prompt(hint.prompt)

    def _refuse_late(self, header: Header, live: LiveOptions) -> bool:
        """Publish STALE instead of an answer that is not about now."""
        age_s = self._publishers.age_ms(header) / 1e3
        if self._replay or not live.max_age or abs(age_s) <= live.max_age:
            return False
        if age_s > 0:
            self.counters.too_old += 1
            why = f"a result is {age_s:.3f} s old, max_age is {live.max_age} s: the model is too slow, or the"
        else:
            self.counters.in_future += 1
            why = f"an image is stamped {-age_s:.3f} s ahead of the node's clock, max_age is {live.max_age} s: the"
        count = self.counters.too_old + self.counters.in_future
        self._warn(
            "late",
            f"{why} camera has another clock (use_sim_time for bags and simulators); now STALE, {count} so far",
        )
        self._publish_without_parts(header, State.STALE, dropped=self._take_drops())
        return True

    def _count_answer(self, header: Header, result: PartMasks, start: float) -> None:
        self.state = result.state
        self.counters.answered += 1
        self.counters.answers_out.count()
        self.counters.age.add(self._publishers.age_ms(header))
        self.counters.work.add((time.perf_counter() - start) * 1e3)

    def _refuse(self, reason: str, message: str) -> None:
        self.counters.refused[reason] += 1
        # The throttled line may be about another reason than the one before it: the counts tell.
        counts = ", ".join(f"{count} for {name}" for name, count in self.counters.refused.most_common())
        self._warn("refused", f"image refused: {message} (refused so far: {counts})")

    def _fail(self, header: Header, error: Exception) -> None:
        self.counters.faults += 1
        if self._stopped or self.paused:
            return
        if self._may_say("fault"):
            self._node.get_logger().error(
                f"{self._name}the model failed on an image: {type(error).__name__}: {error} "
                f"({self.counters.faults} failures so far)"
            )
        with self._publishing, self._logged("publish the failure"):
            # A step that broke off leaves the memory half written.
            self._stream.reset()
            self._publish_without_parts(header, State.FAULT, dropped=self._take_drops())

    def _publish_without_parts(self, header: Header | None, state: State, *, dropped: int) -> None:
        self.state = state
        self._publishers.publish_without_parts(header, state, dropped=dropped)

    def _may_say(self, topic: str) -> bool:
        """Whether enough time has passed since the last line about a topic."""
        now = time.monotonic()
        if now - self._said.get(topic, -LOG_PERIOD_S) < LOG_PERIOD_S:
            return False
        self._said[topic] = now
        return True

    def _warn(self, topic: str, words: str) -> None:
        if self._may_say(topic):
            self._node.get_logger().warning(f"{self._name}{words}")

    @contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        """Log what goes wrong inside; once ROS has been shut down under the thread, nothing has to go right."""
        try:
            yield
        except Exception as error:
            if not self._node.context.ok():
                return
            self.counters.unpublished += 1
            if self._may_say(what):
                self._node.get_logger().error(f"{self._name}cannot {what}: {type(error).__name__}: {error}")

    def _take_drops(self) -> int:
        # What is lost is counted in another thread: its count is only read here.
        lost = self.counters.lost
        drops = self._unreported_drops + lost - self._reported_lost
        self._unreported_drops, self._reported_lost = 0, lost
        return drops


def _fits(info: CameraInfo, rgb: NDArray[np.uint8]) -> bool:
    """Whether the camera's parameters are for images of this size."""
    return bool((info.height, info.width) == rgb.shape[:2])
