# SPDX-License-Identifier: Apache-2.0
"""``robotseg bag``: add mask topics to a recorded bag, every frame in order, without ROS.

Reads ROS 2 bags (a folder, or a single .mcap or .db3 file) and writes MCAP, packed as the input is.  Every record of
the input is copied as it is, whatever it holds: messages of all encodings with their times and sequence numbers,
attachments, metadata.  The masks of an image follow it with its time, stamp and frame.  With ``--format`` masks become
files instead (:mod:`robotseg_ros.tools.bag_outputs.mask_files`).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mcap.records import Attachment, Metadata
from tqdm import tqdm

from robotseg_core.files.formats.choose import FORMATS
from robotseg_core.files.segment import add_format_argument
from robotseg_core.masks.nearest import Nearest, parse_region
from robotseg_core.model_arguments import add_hygiene_argument, add_model_arguments, load_model
from robotseg_core.option_limits import check_option
from robotseg_core.storage.shown import shown
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.stream import Stream
from robotseg_core.types import PARTS, ModelFault
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.tools.bag_files import Bag
from robotseg_ros.tools.bag_messages import BagMessages, image_topics, ros_type
from robotseg_ros.tools.bag_outputs.mask_files import write_mask_files
from robotseg_ros.tools.bag_records import Message, Topic
from robotseg_ros.tools.bag_writer import BagWriter

MOST_MESSAGE_MIB = 65_536
TOPICS = tuple(f"{part}_mask" for part in PARTS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg bag``."""
    parser.add_argument("input", type=Path, help="ROS 2 bag: a folder, or a .mcap or .db3 file")
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        help="new bag: a file with .mcap, else a folder; new folder of masks as files",
    )
    kinds = {"topics": "mask topics in a copy of the bag (default)"}
    add_format_argument(parser, kinds | {k: v.removesuffix(" (default)") for k, v in FORMATS.items()})
    parser.add_argument("--camera", help="image topic; may be left out where the bag has only one")
    parser.add_argument("--prefix", default="/robotseg", help="of the topics that are added (default /robotseg)")
    parser.add_argument(
        "--max-message", type=int, default=256, metavar="MIB", help="largest message that is unpacked (default 256)"
    )
    parser.add_argument("--jpeg-without-end", action="store_true", help="take JPEGs that have no end marker")
    parser.add_argument(
        "--region",
        type=parse_region,
        default=(),
        metavar="X0,Y0,X1,Y1,...",
        help="corners of where the robot is that is meant, as shares of width and height, 0 to 1",
    )
    add_model_arguments(parser)
    add_hygiene_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Add the masks.

    Returns:
        0, or 1 when something could not be read; what it is is said on standard error.

    Raises:
        ValueError: the bag cannot be read, has no such image topic or several, or has the new topics already.
        OSError: a file cannot be read or written, or the output exists.
    """
    check_option("--max-message", arguments.max_message, 1, MOST_MESSAGE_MIB)
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise ValueError(f"reading bags needs {error.name}: pip install rosbags mcap") from error
    out: Path = arguments.out
    if out.exists():
        raise FileExistsError(f"{out} exists; it is not overwritten")
    nearest = Nearest(arguments.region)
    formats = list(dict.fromkeys(arguments.format or ["topics"]))
    if "topics" in formats and len(formats) > 1:
        raise ValueError("--format topics makes a bag, the others make files: they cannot be joined")
    bag = Bag(arguments.input, arguments.max_message * 2**20)
    topics = bag.topics()
    camera = choose_camera(bag, topics, arguments.camera)
    prefix = "/" + arguments.prefix.strip("/")
    twice = sorted({topic.name for topic in topics} & {f"{prefix}/{topic}" for topic in (*TOPICS, "parts")})
    if twice and "topics" in formats:
        raise ValueError(f"{arguments.input} has {', '.join(twice)} already; give another --prefix")
    # Only now: loading takes a while, and all that can be wrong before has been looked at.
    robotseg = load_model(arguments)
    print(robotseg.loaded)
    out.parent.mkdir(parents=True, exist_ok=True)
    messages = BagMessages(unfinished_jpeg=arguments.jpeg_without_end)
    stream = robotseg.stream()
    stream.nearest = nearest or None
    if "topics" not in formats:
        return _write_files(bag, camera, topics[camera], formats, out, stream, messages)
    copier = _Copier(bag, camera, topics[camera], prefix, robotseg, stream, messages)
    # Complete or not there at all: moved to its place at the end.
    with TemporaryDirectory(prefix=".robotseg-bag-", dir=out.parent) as folder:
        # The file of a bag bears the name of its folder, and says so inside.
        made = Path(folder) / (out.stem if out.suffix == ".mcap" else out.name)
        copier.copy(made)
        (made / f"{made.name}.mcap" if out.suffix == ".mcap" else made).rename(out)
    print(f"{copier.segmented} images of {camera.name} -> {out}")
    for line in copier.said():
        print(shown(line), file=sys.stderr)
    return 1 if copier.said() else 0


def _write_files(
    bag: Bag, camera: Topic, count: int, formats: list[str], out: Path, stream: Stream, messages: BagMessages
) -> int:
    """Masks as files, in a new folder that is complete or not there at all."""
    with TemporaryDirectory(prefix=".robotseg-bag-", dir=out.parent) as folder:
        made = Path(folder) / out.name
        written = write_mask_files(bag, camera, count, formats, made, stream, messages)
        made.rename(out)
    print(f"{written.segmented} images of {camera.name} -> {out}")
    said = []
    if written.refused:
        said.append(f"{len(written.refused)} images could not be read; the first: {written.refused[0]}")
    if written.faults:
        said.append(f"{len(written.faults)} images have no masks, the model failed; the first: {written.faults[0]}")
    for line in (said := said + bag.problems.lines()):
        print(line, file=sys.stderr)
    return 1 if said else 0


def choose_camera(bag: Bag, topics: dict[Topic, int], name: str | None) -> Topic:
    """The image topic asked for, or the only one.

    Raises:
        ValueError: there is none of that name, none at all, or several; the message lists those that there are.
    """
    images = image_topics(topics)
    listed = ", ".join(f"{t.name} ({ros_type(t.kind).rpartition('/')[2]}, {topics[t]} messages)" for t in images)
    if not images:
        there = ", ".join(sorted({f"{topic.name} ({topic.kind})" for topic in topics})) or "nothing"
        raise ValueError(f"{bag.path} has no image topic; it has {there}")
    if name is None and len(images) > 1:
        raise ValueError(f"{bag.path} has several image topics, choose one with --camera: {listed}")
    chosen = [topic for topic in images if name is None or topic.name == name]
    if not chosen:
        raise ValueError(f"{bag.path} has no image topic {name}; it has {listed}")
    return chosen[0]


class _Copier:
    """Copies a bag and puts masks behind the images of one topic."""

    def __init__(
        self,
        bag: Bag,
        camera: Topic,
        count: int,
        prefix: str,
        robotseg: RobotSeg,
        stream: Stream,
        messages: BagMessages,
    ) -> None:
        self._bag, self._camera, self._count, self._robotseg, self._messages = bag, camera, count, robotseg, messages
        self._stream = stream
        self._camera_key = (camera.name, ros_type(camera.kind))
        image, parts = self._messages.IMAGE, self._messages.PART_MASKS
        kinds = {topic: image for topic in TOPICS} | {"parts": parts}
        self._outputs = {topic: self._messages.topic(f"{prefix}/{topic}", kind) for topic, kind in kinds.items()}
        self.segmented = 0
        self._refused: list[str] = []
        self._faults: list[str] = []
        self._back = 0
        self._newest = -1

    def said(self) -> list[str]:
        """What could not be read or copied, a line for each kind."""
        lines = []
        if self._refused:
            count = len(self._refused)
            lines.append(f"{count} images could not be read and have no masks; the first: {self._refused[0]}")
        if self._faults:
            lines.append(f"{len(self._faults)} images have no masks, the model failed; the first: {self._faults[0]}")
        if self._back:
            lines.append(f"{self._back} images were recorded before the image that stands before them in the bag")
        return lines + self._bag.problems.lines()

    def copy(self, folder: Path) -> None:
        """Write the new bag, a folder."""
        with BagWriter(folder, self._bag.compression, self._bag.profile, self._messages.hash_of) as writer:
            with tqdm(total=self._count, desc=self._camera.name, unit="frame") as bar:
                for record in self._bag.records():
                    if isinstance(record, Topic):
                        writer.add(self._messages.described(record))
                    elif isinstance(record, Attachment):
                        writer.attach(record)
                    elif isinstance(record, Metadata):
                        writer.note(record)
                    elif isinstance(record, Message):
                        topic = record.topic
                        writer.write(replace(record, topic=self._messages.described(topic)))
                        if (topic.name, ros_type(topic.kind)) == self._camera_key and topic.encoding == "cdr":
                            bar.update()
                            self._segment(record, writer)

    def _segment(self, image: Message, writer: BagWriter) -> None:
        """Write the masks of one image behind it."""
        number = self.segmented + len(self._refused) + len(self._faults)
        self._back += image.log_time < self._newest
        self._newest = max(self._newest, image.log_time)
        try:
            header, stamp, rgb = self._messages.image(image.data, self._camera_key[1])
        except CodecError as error:
            self._refused.append(f"number {number}: {error}")
            return
        try:
            result = self._stream.step(rgb, stamp)
        except ModelFault as error:
            # An empty mask would say that no robot was seen.
            self._faults.append(f"number {number}: {error}")
            self._write(writer, "parts", image, self._messages.fault(header, self._robotseg))
            return
        for part in PARTS:
            self._write(writer, f"{part}_mask", image, self._messages.mask(header, result[part].mask))
        self._write(writer, "parts", image, self._messages.parts(header, result, self._robotseg))
        self.segmented += 1

    def _write(self, writer: BagWriter, output: str, image: Message, data: memoryview) -> None:
        message = replace(image, topic=self._outputs[output], sequence=self.segmented, data=bytes(data))
        writer.write(message)
