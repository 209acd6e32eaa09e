# SPDX-License-Identifier: Apache-2.0
"""What goes out for a camera once the model has answered, or has not: masks that are current, STALE or FAULT."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from robotseg_core.types import PartMasks, State
from robotseg_ros.common.camera_log import CameraLog
from robotseg_ros.common.graph import clock_advice
from robotseg_ros.segmenter.counters import Counters
from robotseg_ros.segmenter.parameters.options import LiveOptions
from robotseg_ros.segmenter.publishers import Answer, Publishers


class Answers:
    """Of one camera.  One thing is decided on and published at a time, from whatever thread.

    Attributes:
        state: the last one published; None before the first.
        paused: whether answers are held back because a user has asked for it.
        stopped: whether nothing is published any more.
        contested: who else publishes on the same topics; empty: nobody.

    Args:
        node: for its context.
        publishers: where they go.
        counters: of the camera.
        log: of the camera.
        replay: whether the images are a recording's: an answer is never too old.
    """

    def __init__(
        self, node: LifecycleNode, publishers: Publishers, counters: Counters, log: CameraLog, *, replay: bool
    ) -> None:
        self._node, self._publishers, self._counters, self._log = node, publishers, counters, log
        self._replay = replay
        self._unreported_drops = 0
        self._reported_lost = 0
        # Held while an answer is decided on and published, never while the model works.
        self._publishing = threading.Lock()
        self._counting = threading.Lock()
        self.state: State | None = None
        self.paused = False
        self.stopped = False
        self.contested = ""

    def pause(self, header: Header | None) -> None:
        """Publish STALE about an image, and then no answer, also not that to an image being worked on."""
        with self._publishing:
            self.paused = True
            self._publish_without_parts(header, State.STALE, dropped=0)

    def resume(self, reset: Callable[[], None]) -> None:
        """Publish answers again, after ``reset``."""
        with self._publishing:
            reset()
            self.paused = False

    def stop(self) -> None:
        """Publish nothing more: an image still worked on may be done only when another stream has started."""
        with self._publishing:
            self.stopped = True

    def drop(self, count: int) -> None:
        """Count images that were replaced by newer ones: they are reported with the next answer.  From any thread."""
        with self._counting:
            self._unreported_drops += count
            self._counters.dropped += count

    def stale(self, header: Header | None, unless: Callable[[], bool]) -> bool:
        """Publish STALE about an image, unless an answer was published meanwhile.  Returns whether it was."""
        with self._publishing:
            if self.stopped or self.paused or unless():
                return False
            self._publish_without_parts(header, State.STALE, dropped=0)
            return True

    def give(self, answer: Answer, live: LiveOptions, began: float, outdated: Callable[[], bool]) -> None:
        """Publish an answer, or STALE where it is not about now, or where another node answers, too.

        Args:
            answer: its ``dropped`` is filled in here.
            live: the parameters as they are now.
            began: when the image was taken up, by ``time.perf_counter``.
            outdated: whether all that was seen up to this image has been given up since it was taken up.
        """
        with self._publishing, self._logged("publish an answer"):
            if self.stopped or self.paused:
                return
            if self._withhold(answer.header, outdated()) or self._refuse_late(answer.header, live):
                return
            self._publishers.publish(replace(answer, dropped=self._take_drops()), live)
            self._count(answer.header, answer.result, began)

    def fail(self, header: Header, error: Exception, reset: Callable[[], None]) -> None:
        """Publish FAULT: the model failed on an image.  ``reset`` is its stream's."""
        self._counters.faults += 1
        with self._publishing, self._logged("publish the failure"):
            # A step that broke off leaves the memory half written.
            reset()
            if self.stopped or self.paused:
                return
            failures = f"({self._counters.faults} failures so far)"
            self._log.error("fault", f"the model failed on an image: {type(error).__name__}: {error} {failures}")
            self._publish_without_parts(header, State.FAULT, dropped=self._take_drops())

    def _withhold(self, header: Header, outdated: bool) -> bool:
        """Publish STALE instead of an answer that is not to be believed, however good it is."""
        if outdated:
            self._counters.outdated += 1
        elif self.contested:
            self._counters.contested += 1
            self._log.error(
                "contested",
                f"{self.contested} publishes on the topics of this node, too: nobody could tell whose masks these are; "
                f"now STALE, {self._counters.contested} so far",
            )
        else:
            return False
        self._publish_without_parts(header, State.STALE, dropped=self._take_drops())
        return True

    def _refuse_late(self, header: Header, live: LiveOptions) -> bool:
        """Publish STALE instead of an answer that is not about now."""
        age_s = self._publishers.age_ms(header) / 1e3
        if self._replay or not live.max_age or abs(age_s) <= live.max_age:
            return False
        counters = self._counters
        if age_s > 0:
            counters.too_old += 1
            why = f"a result is {age_s:.3f} s old, max_age is {live.max_age} s: the model is too slow, or "
        else:
            counters.in_future += 1
            why = f"an image is stamped {-age_s:.3f} s ahead of the node's clock, max_age is {live.max_age} s: "
        self._log.warning(
            "late",
            lambda: f"{why}{clock_advice(self._node)}; now STALE, {counters.too_old + counters.in_future} so far",
        )
        self._publish_without_parts(header, State.STALE, dropped=self._take_drops())
        return True

    def _count(self, header: Header, result: PartMasks, began: float) -> None:
        self.state = result.state
        counters = self._counters
        counters.answered += 1
        counters.answers_out.count()
        counters.age.add(self._publishers.age_ms(header))
        counters.work.add((time.perf_counter() - began) * 1e3)

    def _publish_without_parts(self, header: Header | None, state: State, *, dropped: int) -> None:
        self.state = state
        self._publishers.publish_without_parts(header, state, dropped=dropped)

    @contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        """Log what goes wrong inside; once ROS has been shut down under the thread, nothing has to go right."""
        try:
            yield
        except Exception as error:
            if not self._node.context.ok():
                return
            self._counters.unpublished += 1
            self._log.error(what, f"cannot {what}: {type(error).__name__}: {error}")

    def _take_drops(self) -> int:
        # What is lost is counted in another thread: its count is only read here.
        lost = self._counters.lost
        with self._counting:
            drops = self._unreported_drops + lost - self._reported_lost
            self._unreported_drops, self._reported_lost = 0, lost
        return drops
