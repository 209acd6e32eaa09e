# SPDX-License-Identifier: Apache-2.0
"""Messages of the node from and to what the core speaks."""

from __future__ import annotations

import array
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from robotseg_core import types as core
from robotseg_core.instruct.prompt_set import Instance
from robotseg_ros import msg as messages
from robotseg_ros.common.model import Model

if TYPE_CHECKING:
    # It brings PyTorch, which nodes beside the segmenter do not need to start.
    from robotseg_core.instruct.follow import FollowedTarget

MAX_UINT32 = 2**32 - 1
MAX_FRAME_ID = 256
MAX_COEFFICIENTS = 64
"""Coefficients of a lens, or characters of its model's name, in a camera_info that is passed on; OpenCV has 14."""
LABELS = {"background": 0, "arm": 1, "gripper": 2}
"""Pixels of the label image."""


def stamp_ns(header: Header) -> int:
    """Stamp of a header in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def too_long(header: Header) -> str:
    """Why a header is refused for its frame_id, which goes out with all that is made of its message; or empty."""
    length = len(header.frame_id)
    return f"frame_id has {length} characters, must have at most {MAX_FRAME_ID}" if length > MAX_FRAME_ID else ""


def too_long_lens(info: CameraInfo) -> str:
    """Why a camera_info is refused for its lens, which goes out with every answer; or empty."""
    for what, count in (("coefficients", len(info.d)), ("characters of its model", len(info.distortion_model))):
        if count > MAX_COEFFICIENTS:
            return f"it has {count} {what}, must have at most {MAX_COEFFICIENTS}"
    return ""


def to_image(header: Header, pixels: NDArray[np.uint8], encoding: str) -> Image:
    """Make an image message.

    Args:
        header: used as it is.
        pixels: [H, W] or [H, W, C] uint8.
        encoding: ROS name of the pixel format, e.g. ``mono8``; must have C bytes a pixel.
    """
    pixels = np.ascontiguousarray(pixels)
    image = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    image.step = pixels.strides[0]
    # Anything but frombytes (an array, a memoryview, bytes) is checked element by element: 100 ms and more.
    image.data = array.array("B")
    image.data.frombytes(pixels)
    return image


def to_compressed(header: Header, data: bytes, kind: str) -> CompressedImage:
    """Make a compressed image message; ``kind`` is its ``format``."""
    image = CompressedImage(header=header, format=kind)
    image.data = array.array("B")
    image.data.frombytes(data)
    return image


def label_image(result: core.PartMasks) -> NDArray[np.uint8]:
    """Masks of arm and gripper -> [H, W] uint8 with the values of :data:`LABELS`."""
    # Masks are 0 or 255, and disjoint.
    return (result["arm"].mask & np.uint8(LABELS["arm"])) | (result["gripper"].mask & np.uint8(LABELS["gripper"]))


def label_info(header: Header) -> messages.LabelInfo:
    """What the values of the label image mean."""
    classes = [messages.LabelClass(class_id=value, class_name=name) for name, value in LABELS.items()]
    return messages.LabelInfo(header=header, class_map=classes)


def to_part_mask(part: core.PartMask) -> messages.PartMask:
    """Describe one part; the mask itself is not in the message."""
    x, y, width, height = part.roi
    return messages.PartMask(
        name=part.name,
        score=float(part.score),
        present=bool(part.present),
        area=int(part.area),
        roi=RegionOfInterest(x_offset=int(x), y_offset=int(y), width=int(width), height=int(height)),
        centroid=Point(x=float(part.centroid[0]), y=float(part.centroid[1])),
    )


def to_part_masks(
    header: Header,
    model: Model,
    result: core.PartMasks,
    *,
    camera: str,
    policy: str,
    margin: int,
    decode_ms: float,
    age_ms: float,
    dropped: int,
) -> messages.PartMasks:
    """Describe the answer to one image.

    Args:
        header: of the image, used as it is.
        model: that says it.
        result: what it says, after the mask policy.
        camera: name of the camera among several, else empty.
        policy: the mask policy.
        margin: by how much it has changed the masks, image pixels.
        decode_ms: time of decoding the image, ms.
        age_ms: node clock minus the image's stamp, ms.
        dropped: images replaced by a newer one, or lost, since the last answer.
    """
    times = result.stage_ms
    return messages.PartMasks(
        header=header,
        state=int(result.state),
        preset=model.preset,
        device=model.device,
        backend=model.backend,
        parts=[to_part_mask(part) for part in result.parts],
        age_ms=age_ms,
        dropped=min(dropped, MAX_UINT32),
        camera=camera,
        mask_policy=policy,
        mask_margin=margin,
        decode_ms=decode_ms,
        preprocess_ms=times.preprocess,
        encoder_ms=times.encoder,
        memory_attention_ms=times.memory_attention,
        prompt_generator_ms=times.prompt_generator,
        decoder_ms=times.decoder,
        memory_encoder_ms=times.memory_encoder,
        postprocess_ms=times.postprocess,
    )


def without_parts(
    header: Header, model: Model, state: core.State, *, camera: str, age_ms: float, dropped: int
) -> messages.PartMasks:
    """Say that nothing is known (STALE or FAULT)."""
    return messages.PartMasks(
        header=header,
        state=int(state),
        preset=model.preset,
        device=model.device,
        backend=model.backend,
        age_ms=age_ms,
        dropped=min(dropped, MAX_UINT32),
        camera=camera,
    )


def to_target(header: Header, followed: FollowedTarget | None, mask: core.PartMask | None) -> messages.Target:
    """Describe what is followed, of the image of ``header``; ``mask`` after the mask policy."""
    if followed is None or mask is None:
        return messages.Target(header=header, state=messages.Target.NOTHING)
    x, y, width, height = mask.roi
    return messages.Target(
        header=header,
        state=int(followed.target.state),
        request=followed.target.request.text,
        invert=followed.invert,
        age=min(followed.target.age, MAX_UINT32),
        found=to_time(followed.found),
        score=float(mask.score),
        area=int(mask.area),
        roi=RegionOfInterest(x_offset=int(x), y_offset=int(y), width=int(width), height=int(height)),
    )


def to_time(stamp: int) -> Time:
    """A stamp in nanoseconds as a message."""
    return Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)


def to_instance(instance: Instance) -> messages.PromptInstance:
    """One thing that a request has found."""
    return messages.PromptInstance(
        box=[float(v) for v in instance.box or ()],
        points=[float(v) for point in instance.points for v in point],
        labels=[int(label) for label in instance.labels],
    )


def to_prompt(message: messages.Prompt) -> core.Prompt:
    """Read a prompt.

    Raises:
        ValueError: unknown part or kind, wrong number of coordinates, or one that is not finite.
    """
    return core.Prompt(
        part=message.part,
        kind=core.PromptKind(message.kind),
        xy=tuple(float(value) for value in message.coordinates),
        label=int(message.label) if message.kind == messages.Prompt.POINT else 1,
    )
