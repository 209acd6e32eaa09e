# SPDX-License-Identifier: Apache-2.0
"""What happens to one image: decode, apply hints, step the stream, publish.  Runs in the inference thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from robotseg_core.types import PartMasks
from robotseg_ros.common.camera_log import CameraLog
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.common.mask_policy import apply_policy
from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.common.model import Stream, check_result
from robotseg_ros.segmenter.answers import Answers
from robotseg_ros.segmenter.counters import Counters
from robotseg_ros.segmenter.decoding import Decoded, Sequence, decode
from robotseg_ros.segmenter.hints import Hint, RecentImages, WaitingHints
from robotseg_ros.segmenter.instruct.instructions import Instructions
from robotseg_ros.segmenter.nearest.limits import Restriction
from robotseg_ros.segmenter.parameters.options import LiveOptions
from robotseg_ros.segmenter.publishers import Answer, Publishers


@dataclass(frozen=True)
class LastImage:
    """The last image that was read: its header (None before the first), and when by ``time.monotonic``."""

    header: Header | None
    when: float


@dataclass(frozen=True)
class Frame:
    """A decoded image: its header, its stamp, ns, and when its decoding began by ``time.perf_counter``."""

    header: Header
    stamp: int
    decoded: Decoded
    began: float


class Inference:
    """One stream on one camera.

    Attributes:
        counters: what happened to the images so far.
        answers: what goes out, and whether anything does.
        log: of the camera.
        busy: whether the model works on an image now.
        last: the last image that the model was given, also when it failed on it; before the first one, the start.
        recent: the last images worked on, for late hints.
        info: the camera's parameters, if they have come.
        instructions: requests in words, and what they have found.
        restriction: which of several robots is meant; None: all.

    Args:
        node: for its clock and log.
        stream: of the model.
        publishers: where the answers go.
        live: gives the parameters as they are now.
        replay: whether the images are a recording's: an answer is never too old.
        name: of the camera, for the log.
        instructions: its target, if a request in words has named one.
        unfinished_jpeg: whether JPEGs without an end marker are taken.
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
        instructions: Instructions,
        unfinished_jpeg: bool = False,
    ) -> None:
        self._stream, self._unfinished_jpeg = stream, unfinished_jpeg
        self.restriction: Restriction | None = None
        self.instructions = instructions
        self._live = live
        self._replay = replay
        self.log = CameraLog(node, name)
        self._era = 0
        """Counts how often all that was seen has been given up because somebody wanted it."""
        self._hints = WaitingHints()
        self._sequence: Sequence | None = None
        self._reset_wanted = False
        self._reset_why = ""
        self.counters = Counters()
        self.answers = Answers(node, publishers, self.counters, self.log, replay=replay)
        self.busy = False
        self.last = LastImage(None, time.monotonic())
        self.recent = RecentImages()
        self.info: CameraInfo | None = None

    def hint(self, hint: Hint) -> None:
        """Leave a hint for the next image; may be called from any thread.

        Raises:
            PromptError: too many wait for it already.
        """
        self._hints.add(hint)

    def reset(self, why: str = "as asked") -> None:
        """Forget everything seen before the next image; may be called from any thread.

        The answer to an image that is being worked on is not published as current any more.
        """
        self._hints.clear()
        self.instructions.reset()
        self._reset_why = why
        # In this order: whoever sees the new era sees the wish, too.
        self._reset_wanted = True
        self._era += 1

    def pause(self) -> None:
        """Publish STALE, and then no answer, also not that to an image being worked on."""
        self.answers.pause(self.last.header)

    def resume(self) -> None:
        """Go on with a first image: what was remembered is of another time."""
        self.answers.resume(self.reset)

    def listening(self) -> None:
        """Count the silence of the camera from now."""
        self.last = LastImage(self.last.header, time.monotonic())

    def lost(self, count: int) -> None:
        """Count images that the middleware says it has lost."""
        self.counters.lost += count
        self.log.warning(
            "lost",
            f"{self.counters.lost} images were lost on their way so far: the sender keeps too few of them, or sends "
            f"without the Fast DDS profile",
        )

    def stale(self, unless: Callable[[], bool]) -> bool:
        """Publish STALE about the last image, unless an answer was published meanwhile.  From any thread."""
        return self.answers.stale(self.last.header, unless)

    def process(self, image: Any, dropped: int) -> None:
        """Segment one image (Image or CompressedImage) and publish the answer.  Never raises."""
        frame = self.begin(image, dropped)
        if frame is not None:
            self.finish(frame)

    def begin(self, image: Any, dropped: int) -> Frame | None:
        """Take up an image, or one that is decoded; None where it is refused.  :meth:`finish` has to follow.

        Never raises.
        """
        # An image that is refused is not answered; what was dropped before it is reported with the next answer.
        self.answers.drop(dropped)
        frame = image if isinstance(image, Frame) else self.decode(image)
        if frame is None:
            return None
        self.last = LastImage(frame.header, time.monotonic())
        self.busy = True
        return frame

    def decode(self, image: Any) -> Frame | None:
        """Decode an image; None where it is refused.  Never raises; from any thread."""
        began = time.perf_counter()
        decoded = self._decode(image)
        return None if decoded is None else Frame(image.header, stamp_ns(image.header), decoded, began)

    def finish(self, frame: Frame, encoded: Any = None) -> None:
        """Step the stream and publish the answer.  Never raises.

        Args:
            frame: of :meth:`begin`.
            encoded: what the encoder has made of it together with other cameras' images; None: it is still to do.
        """
        header, stamp, rgb = frame.header, frame.stamp, frame.decoded.rgb
        era = self._era
        try:
            if self.answers.stopped:
                return
            self._restart_if_new(header, frame.decoded)
            self._hints.give(self._stream, stamp, lambda: self._era == era)
            if encoded is None and self.instructions.wants_features:
                encoded = self.instructions.encode(rgb)
            restriction = self.restriction
            height, width = rgb.shape[:2]
            more = restriction.apply(self._stream, stamp, height, width, header.frame_id) if restriction else {}
            # Only a stream that means one of several robots is given more than an image.
            step: Callable[..., PartMasks] = self._stream.step if encoded is None else self._stream.step_encoded
            result = step(rgb if encoded is None else encoded, stamp, **more)
            check_result(result, rgb.shape[0], rgb.shape[1])
            followed = self.instructions.step(rgb, encoded, result)
            self.recent.add(stamp, rgb)
            live = self._live()
            result = apply_policy(result, live.mask_policy, live.mask_margin)
        except Exception as error:
            self.answers.fail(header, error, self._forget)
            return
        finally:
            self.last = LastImage(header, time.monotonic())
            self.busy = False
        info = self.info if self.info is not None and self._fits(self.info, header, rgb) else None
        answer = Answer(header, rgb, result, frame.decoded.ms, info, followed=followed)
        self.answers.give(answer, live, frame.began, lambda: self._era != era)

    def _decode(self, image: Any) -> Decoded | None:
        try:
            return decode(image, unfinished_jpeg=self._unfinished_jpeg)
        except CodecError as error:
            self.refuse(error.reason.value, str(error))
        except Exception as error:
            # Nothing is known that gets here; memory may run out, and OpenCV has errors of its own.
            self.refuse("decoding", f"{type(error).__name__}: {error}")
        return None

    def _restart_if_new(self, header: Header, decoded: Decoded) -> None:
        """Begin anew where this image cannot belong to the sequence before it, or where a user asked for it."""
        before, now = self._sequence, Sequence.of(header, decoded)
        self._sequence = now
        why = "" if before is None else before.broken_by(now, replay=self._replay)
        said = ""
        if before is not None and why:
            said = f"{why} of the images has changed from {before.told(why)} to {now.told(why)}"
        if self._reset_wanted:
            self._reset_wanted = False
            why, said = "reset", self._reset_why
        if why:
            self.counters.restarts[why] += 1
            # Two publishers on one topic would have it in every other image.
            self.log.info(f"restart {why}", f"memory given up, {said}")
            self.recent.clear()
            self._forget()

    def _forget(self) -> None:
        """Begin anew: neither memory nor target."""
        self._stream.reset()
        self.instructions.forget()

    def _fits(self, info: CameraInfo, header: Header, rgb: NDArray[np.uint8]) -> bool:
        """Whether the camera's parameters are for images of this size; what they say of their frame is looked at."""
        if (info.height, info.width) != rgb.shape[:2]:
            return False
        # Some drivers do not say of which frame it is.
        if info.header.frame_id not in ("", header.frame_id):
            self.log.warning(
                "info",
                f"camera_info is of frame {info.header.frame_id!r}, the images are of {header.frame_id!r}: of another "
                f"camera? It goes out with the frame of the images; clicks in metres are refused",
            )
        return True

    def refuse(self, reason: str, message: str) -> None:
        """Count an image that is not worked on, and say why."""
        self.counters.refused[reason] += 1
        # The throttled line may be about another reason than the one before it: the counts tell.
        counts = ", ".join(f"{count} for {name}" for name, count in self.counters.refused.most_common())
        self.log.warning("refused", f"image refused: {message} (refused so far: {counts})")
