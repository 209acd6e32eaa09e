# SPDX-License-Identifier: Apache-2.0
"""Masks of a bag's images as files, in the formats of ``robotseg segment``; a frame is called by its stamp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from robotseg_core.files.formats.choose import make_writer
from robotseg_core.stream.stream import Stream
from robotseg_core.types import ModelFault
from robotseg_ros.tools.bag_files import Bag
from robotseg_ros.tools.bag_messages import BagMessages
from robotseg_ros.tools.bag_outputs.images import images, rate_of
from robotseg_ros.tools.bag_records import Topic


@dataclass(frozen=True)
class Written:
    """What came of it: images with masks, those that could not be read, those on which the model failed."""

    segmented: int
    refused: tuple[str, ...]
    faults: tuple[str, ...]


def write_mask_files(
    bag: Bag,
    camera: Topic,
    count: int,
    formats: list[str],
    out: Path,
    stream: Stream,
    messages: BagMessages,
) -> Written:
    """Write the masks of every image of a topic, in order.

    Args:
        bag: to read.
        camera: its image topic.
        count: of its images, for the bar.
        formats: of :data:`robotseg_core.files.formats.choose.FORMATS`.
        out: new folder; files in it are called by the bag.
        stream: of the model, new.
        messages: reads them.

    Raises:
        ValueError: a format cannot hold the masks.
        OSError: something cannot be written.
    """
    rate_hz = rate_of(bag, camera)
    out.mkdir(parents=True)
    name = bag.path.name.partition(".")[0] or bag.path.name
    writers = [make_writer(kind, out, name, rate_hz) for kind in formats]
    segmented = 0
    refused: list[str] = []
    faults: list[str] = []
    try:
        for image in tqdm(images(bag, camera, messages), total=count, desc=camera.name, unit="frame"):
            unreadable = image.rgb is None
            if image.rgb is not None:
                try:
                    result = stream.step(image.rgb, image.stamp)
                    for writer in writers:
                        writer.write(image.name, result)
                    segmented += 1
                    continue
                except ModelFault as error:
                    # An empty mask would say that no robot was seen.
                    faults.append(f"{image.name}: {error}")
            else:
                refused.append(image.why)
            for writer in writers:
                writer.unknown(image.name, unreadable=unreadable)
        for writer in writers:
            writer.close()
    finally:
        for writer in writers:
            writer.discard()
    return Written(segmented, tuple(refused), tuple(faults))
