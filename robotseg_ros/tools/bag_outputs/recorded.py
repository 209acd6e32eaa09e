# SPDX-License-Identifier: Apache-2.0
"""A bag for a report: what the node said when it was recorded, or what the model says now."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.overlay import overlay
from robotseg_core.report.frames import Frame, Recording
from robotseg_core.report.run import answered, nothing
from robotseg_core.stream.postprocess import part_mask
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import PARTS, PartMasks, StageTimes, State
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.tools.bag import choose_camera
from robotseg_ros.tools.bag_files import Bag
from robotseg_ros.tools.bag_messages import RAW, BagMessages, ros_type
from robotseg_ros.tools.bag_outputs.images import images, of_topic
from robotseg_ros.tools.bag_records import Message, Topic

WAITING = 32
"""Answers that wait for their masks, and images that wait for their answer, at most."""


def of_bag(
    path: Path, load: Callable[[], RobotSeg], camera: str | None, prefix: str, *, again: bool = False
) -> Recording:
    """Report on a bag.

    Args:
        path: of the bag.
        load: gives the model; not called where the bag has the node's answers.
        camera: image topic; None: the only one besides masks.
        prefix: of the node's topics.
        again: let the model answer once more.

    Raises:
        ValueError: it cannot be read, has no such topic, or no images.
    """
    bag = Bag(path)
    topics = bag.topics()
    prefix = "/" + prefix.strip("/")
    said = next((t for t in topics if t.name == f"{prefix}/parts" and ros_type(t.kind) == BagMessages.PART_MASKS), None)
    pictures = {t: n for t, n in topics.items() if not t.name.startswith(f"{prefix}/")}
    chosen = choose_camera(bag, pictures, camera)
    recording = Recording(f"{path.name}, {chosen.name}", topics[chosen])
    if said is not None and not again:
        recording.notes.append(f"as it was recorded: {topics[said]} answers to {topics[chosen]} images, {prefix}/parts")
        _as_recorded(recording, bag, chosen, said, prefix, topics)
    else:
        robotseg = load()
        recording.notes.append(str(robotseg.loaded))
        recording.notes.append("answered now, every image in order; latency is what the model took here, alone")
        _answered_now(recording, bag, chosen, topics[chosen], robotseg)
    recording.notes += bag.problems.lines()
    return recording


def _answered_now(recording: Recording, bag: Bag, camera: Topic, count: int, robotseg: RobotSeg) -> None:
    recording.latency = "model"
    stream, first = robotseg.stream(), None
    refused: list[str] = []
    for image in tqdm(images(bag, camera, BagMessages()), total=count, desc=camera.name, unit="frame"):
        first = image.log_time if first is None else first
        seconds = (image.log_time - first) / 1e9
        if image.rgb is None:
            refused.append(image.why)
            recording.add(Frame(image.name, seconds, "UNREADABLE"), nothing)
        else:
            recording.add(*answered(stream, image.name, image.rgb, seconds, image.stamp))
    if refused:
        recording.notes.append(f"{len(refused)} images could not be read; the first: {refused[0]}")


@dataclass
class _Answer:
    """What was recorded of one stamp."""

    log_time: int = 0
    said: Any = None
    image: bytes | None = None
    masks: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


def _as_recorded(
    recording: Recording, bag: Bag, camera: Topic, said: Topic, prefix: str, topics: dict[Topic, int]
) -> None:
    recording.latency = "age when published"
    messages, first, kind = BagMessages(), None, ros_type(camera.kind)
    damaged = pixels = 0
    for stamp, answer in tqdm(_joined(bag, camera, said, prefix, messages), total=topics[said], unit="frame"):
        if answer.said is None:
            damaged += 1
            continue
        first = answer.log_time if first is None else first
        pixels = pixels or _pixels(answer, messages, kind)
        frame = _frame(answer.said, str(stamp), (answer.log_time - first) / 1e9, pixels)
        recording.add(frame, partial(_drawn, answer, messages, kind))
    if damaged:
        recording.notes.append(f"{damaged} answers could not be read")


def _pixels(answer: _Answer, messages: BagMessages, kind: str) -> int:
    """How many pixels a picture has; 0 where neither a mask nor the image can be looked at."""
    for mask in answer.masks.values():
        return mask.shape[0] * mask.shape[1]
    try:
        return messages.image(answer.image, kind)[2][..., 0].size if answer.image else 0
    except CodecError:
        return 0


def _frame(parts: Any, name: str, seconds: float, pixels: int) -> Frame:
    state = State(int(parts.state)).name if int(parts.state) in set(State) else f"state {int(parts.state)}"
    known = {str(p.name): p for p in parts.parts}
    areas = {part: int(known[part].area) / pixels for part in PARTS if part in known} if pixels else {}
    scores = {part: float(known[part].score) for part in PARTS if part in known}
    age = float(parts.age_ms)
    return Frame(name, seconds, state, areas, scores, age if np.isfinite(age) else None, int(parts.dropped))


def _drawn(answer: _Answer, messages: BagMessages, kind: str) -> NDArray[np.uint8] | None:
    """The image with its masks, as far as they were recorded."""
    if answer.image is None:
        return None
    try:
        _, _, rgb = messages.image(answer.image, kind)
    except CodecError:
        return None
    shape = rgb.shape[:2]
    if set(answer.masks) >= {"arm", "gripper"}:
        both = {part: answer.masks[part] for part in ("arm", "gripper")}
    else:
        both = {"arm": answer.masks.get("robot", np.zeros(shape, np.uint8))}
    fit = {p: cv2.resize(m, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST) for p, m in both.items()}
    nothing_there = np.zeros(shape, np.uint8)
    parts = tuple(part_mask(part, np.asarray(fit.get(part, nothing_there) > 0), 1.0) for part in PARTS)
    return overlay(rgb, PartMasks(0, State.TRACKING, parts, StageTimes()))


def _joined(bag: Bag, camera: Topic, said: Topic, prefix: str, messages: BagMessages) -> Iterator[tuple[int, _Answer]]:
    """Answers by stamp with image and masks of the same stamp, in the order of the answers, nearly all complete."""
    masks = {f"{prefix}/{part}_mask": part for part in PARTS}
    # By stamp, and a number for further answers of the same one: STALE bears the stamp of an image before.
    kept: dict[tuple[int, int], _Answer] = {}
    further = 0
    for record in bag.records():
        if not isinstance(record, Message) or record.topic.encoding != "cdr":
            continue
        part = masks.get(record.topic.name)
        if of_topic(record, said):
            new = _Answer(record.log_time, _said(record.data, messages))
            key = (_stamp(record), 0)
            if new.said is None or int(new.said.state) == State.STALE or (key in kept and kept[key].said):
                further += 1
                kept[key[0], further] = new
            else:
                answer = kept.setdefault(key, _Answer())
                answer.log_time, answer.said = new.log_time, new.said
        elif part and ros_type(record.topic.kind) == RAW:
            mask = _mask(record.data, messages)
            if mask is not None:
                kept.setdefault((_stamp(record), 0), _Answer()).masks[part] = mask
        elif of_topic(record, camera):
            kept.setdefault((_stamp(record), 0), _Answer()).image = record.data
        while len(kept) > WAITING:
            key = next(iter(kept))
            answer = kept.pop(key)
            if answer.log_time:
                yield key[0], answer
    yield from ((key[0], answer) for key, answer in kept.items() if answer.log_time)


def _said(data: bytes, messages: BagMessages) -> Any:
    """PartMasks; None where the message is damaged."""
    try:
        return messages.types.deserialize_cdr(data, BagMessages.PART_MASKS)
    except Exception:  # Whatever a damaged message makes of the parser.
        return None


def _stamp(record: Message) -> int:
    """Of the header, which all these messages begin with: seconds and nanoseconds behind CDR's four bytes."""
    if len(record.data) < 12:
        return -1
    seconds, nanoseconds = struct.unpack("<iI" if record.data[1] & 1 else ">iI", record.data[4:12])
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def _mask(data: bytes, messages: BagMessages) -> NDArray[np.uint8] | None:
    try:
        _, _, rgb = messages.image(data, RAW)
    except CodecError:
        return None
    return np.ascontiguousarray(rgb[..., 0])
