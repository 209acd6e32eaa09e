# SPDX-License-Identifier: Apache-2.0
"""Hints of a user: for which image they were given, and clicks of viewers made into hints.

A user clicks on what is shown, and by then the robot has moved on.  A hint with a stamp is therefore given to the
stream together with the image of that stamp, which is kept for a short while.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PointStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from robotseg_core.types import Prompt, PromptKind
from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.common.model import Stream

HINT_WORDS = 300
"""Characters of what is said of a refused hint, which may hold any text of its sender."""
MAX_WAITING = 32
"""Hints that wait for an image."""
MAX_LATE_IMAGES = 2
"""Images that are shown to the model again for late hints, before one new image: all cameras wait for that."""
MAX_IMAGES = 32
MAX_BYTES = 64 * 2**20
"""Images are kept for late hints up to this number and this size together."""
SLOP_NS = 500_000_000
"""A viewer may show an image that the model had no time for, or stamp a click itself: the image last worked on
before the click's stamp stands for it if it is no older than this before it."""


class PromptError(ValueError):
    """A hint that cannot be followed; the message says why."""


@dataclass(frozen=True)
class SeenImage:
    """An image that the model has worked on: stamp in ns, RGB [H, W, 3] uint8."""

    stamp: int
    rgb: NDArray[np.uint8]


@dataclass(frozen=True)
class Hint:
    """A prompt and the image it was given on; None: the next one."""

    prompt: Prompt
    image: SeenImage | None


class WaitingHints:
    """Hints of one camera on their way to its stream, of bounded number and size.  Left from any thread."""

    def __init__(self) -> None:
        self._hints: deque[Hint] = deque()

    def __len__(self) -> int:
        return len(self._hints)

    def add(self, hint: Hint) -> None:
        """Leave a hint.

        Raises:
            PromptError: too many wait already, or too many images with them.
        """
        if len(self._hints) >= MAX_WAITING:
            raise PromptError(f"{MAX_WAITING} hints wait for the next image already")
        if hint.image is not None:
            # They are kept although the camera's images have gone on.
            images = {id(h.image): h.image.rgb.nbytes for h in tuple(self._hints) if h.image is not None}
            images.pop(id(hint.image), None)
            if images and sum(images.values()) + hint.image.rgb.nbytes > MAX_BYTES:
                raise PromptError(f"{len(images)} images wait with hints already, {MAX_BYTES >> 20} MiB at most")
        self._hints.append(hint)

    def clear(self) -> None:
        """Forget all hints."""
        self._hints.clear()

    def give(self, stream: Stream, stamp: int, wanted: Callable[[], bool]) -> None:
        """Give the hints to a stream, each with the image that it was given on.

        Args:
            stream: that works on the image of ``stamp`` next.
            stamp: ns.
            wanted: whether hints for still other images may wait for the next call.
        """
        hints = []
        while self._hints:
            hints.append(self._hints.popleft())
        # Those for images that have been worked on, oldest image first; each such image is shown to the model again.
        late = sorted({hint.image.stamp for hint in hints if hint.image is not None and hint.image.stamp != stamp})
        # The others wait: other cameras would have to, too.
        later = set(late[MAX_LATE_IMAGES:])
        waiting = [hint for hint in hints if hint.image is not None and hint.image.stamp in later]
        if waiting and wanted():
            self._hints.extendleft(reversed(waiting))
        for seen in late[:MAX_LATE_IMAGES]:
            group = [hint for hint in hints if hint.image is not None and hint.image.stamp == seen]
            for hint in group:
                stream.prompt(hint.prompt)
            assert group[0].image is not None
            stream.step(group[0].image.rgb, seen)
        for hint in hints:
            if hint.image is None or hint.image.stamp == stamp:
                stream.prompt(hint.prompt)


class RecentImages:
    """The last images of one camera, of bounded number and size.  May be used from any thread."""

    def __init__(self, max_images: int = MAX_IMAGES, max_bytes: int = MAX_BYTES) -> None:
        self._max_images, self._max_bytes = max_images, max_bytes
        self._images: deque[SeenImage] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, stamp: int, rgb: NDArray[np.uint8]) -> None:
        """Keep an image; the oldest ones go."""
        with self._lock:
            self._images.append(SeenImage(stamp, rgb))
            self._bytes += rgb.nbytes
            while len(self._images) > 1 and (len(self._images) > self._max_images or self._bytes > self._max_bytes):
                self._bytes -= self._images.popleft().rgb.nbytes

    def clear(self) -> None:
        """Forget all images."""
        with self._lock:
            self._images.clear()
            self._bytes = 0

    def at(self, stamp: int) -> SeenImage:
        """The image of a stamp, ns: the last one worked on that is not later.

        Raises:
            PromptError: there is none, it is too old, or the stamp is too far ahead of the newest image.
        """
        with self._lock:
            images = tuple(self._images)
        if not images:
            raise PromptError("no image has been worked on yet")
        for image in reversed(images):
            if image.stamp <= stamp:
                if stamp - image.stamp > SLOP_NS:
                    ahead = (stamp - image.stamp) / 1e9
                    raise PromptError(
                        f"its stamp is {ahead:.3f} s after the image before it, must be at most {SLOP_NS / 1e9} s"
                    )
                return image
        back, kept = (images[-1].stamp - stamp) / 1e9, (images[-1].stamp - images[0].stamp) / 1e9
        raise PromptError(f"its image is {back:.3f} s older than the newest one; {kept:.3f} s are kept")


def check_inside(prompt: Prompt, image: SeenImage) -> None:
    """Raise :class:`PromptError` when a point is outside its image or a box does not overlap it."""
    height, width = image.rgb.shape[:2]
    xs, ys = prompt.xy[0::2], prompt.xy[1::2]
    if xs and not (min(xs) <= width - 0.5 and max(xs) >= -0.5 and min(ys) <= height - 0.5 and max(ys) >= -0.5):
        raise PromptError(f"coordinates {prompt.xy} are outside the {width} x {height} image")


def click_prompt(click: PointStamped, part: str, *, info: CameraInfo | None, frame_id: str) -> Prompt:
    """Make a click of a viewer a hint that this point is the part.

    Args:
        click: with z = 0, x and y are pixels (Foxglove's image panel); otherwise it is a point in metres in the
            camera's optical frame (rviz's tool Publish Point), which is projected into the image.
        part: that was clicked on.
        info: of the camera, for a point in metres.
        frame_id: of the camera's images.

    Raises:
        PromptError: the point is behind the camera, in another frame, or the camera's parameters are not known.
    """
    x, y, z = click.point.x, click.point.y, click.point.z
    if z != 0.0:
        if click.header.frame_id != frame_id:
            raise PromptError(
                f"the click is in frame {click.header.frame_id!r}, the images are in {frame_id!r}: "
                f"make that the fixed frame of the viewer"
            )
        if info is None or not info.p[0]:
            raise PromptError("a click in metres needs the camera's camera_info, which has not come")
        if info.header.frame_id not in ("", frame_id):
            raise PromptError(
                f"a click in metres needs camera_info of frame {frame_id!r}, it is of {info.header.frame_id!r}"
            )
        if z < 0:
            raise PromptError(f"the click is {-z} m behind the camera")
        x, y = info.p[0] * x / z + info.p[2], info.p[5] * y / z + info.p[6]
    try:
        return Prompt(part=part, kind=PromptKind.POINT, xy=(float(x), float(y)))
    except ValueError as error:
        raise PromptError(str(error)) from error


def click_stamp(click: PointStamped) -> int:
    """Stamp of a click, ns; 0 when the viewer gives none."""
    return stamp_ns(click.header)
