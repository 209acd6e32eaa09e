# SPDX-License-Identifier: Apache-2.0
"""The images of one topic of a bag, one by one, and when they were recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.tools.bag_files import Bag
from robotseg_ros.tools.bag_messages import BagMessages, ros_type
from robotseg_ros.tools.bag_records import Message, Topic

DEFAULT_RATE_HZ = 30.0
"""Of a topic with less than two images."""


@dataclass(frozen=True)
class BagImage:
    """One image of a bag.

    Attributes:
        name: its stamp in nanoseconds; a number follows where several images have the same.
        stamp: of the header, nanoseconds; -1 where the message is damaged.
        log_time: nanoseconds.
        rgb: [H, W, 3] uint8; None where it cannot be read.
        why: it cannot be read.
    """

    name: str
    stamp: int
    log_time: int
    rgb: NDArray[np.uint8] | None
    why: str = ""


def of_topic(record: object, camera: Topic) -> bool:
    """Whether a record is a message of a topic, whichever of its connections it came by."""
    if not isinstance(record, Message) or record.topic.encoding != "cdr":
        return False
    return (record.topic.name, ros_type(record.topic.kind)) == (camera.name, ros_type(camera.kind))


def images(bag: Bag, camera: Topic, messages: BagMessages) -> Iterator[BagImage]:
    """All images of a topic in the order of the bag."""
    seen: dict[str, int] = {}
    number = 0
    for record in bag.records():
        if not of_topic(record, camera):
            continue
        assert isinstance(record, Message)
        try:
            _, stamp, rgb = messages.image(record.data, ros_type(camera.kind))
            yield BagImage(_unique(str(stamp), seen), stamp, record.log_time, rgb)
        except CodecError as error:
            yield BagImage(
                _unique(f"unreadable_{number}", seen), -1, record.log_time, None, f"number {number}: {error}"
            )
        number += 1


def _unique(name: str, seen: dict[str, int]) -> str:
    seen[name] = seen.get(name, 0) + 1
    return name if seen[name] == 1 else f"{name}_{seen[name]}"


def rate_of(bag: Bag, camera: Topic) -> float:
    """Images a second of a topic, by the median of the times between them."""
    # Another reader: what is wrong with the bag is told when its images are read.
    times = [r.log_time for r in bag.again().records() if of_topic(r, camera) and isinstance(r, Message)]
    steps = [b - a for a, b in zip(times, times[1:], strict=False) if b > a]
    return round(1e9 / median(steps), 3) if steps else DEFAULT_RATE_HZ
