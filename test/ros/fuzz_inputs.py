# SPDX-License-Identifier: Apache-2.0
"""What is sent to the node by whoever can reach its topics: valid messages, damaged at random."""

import math
import struct
import time
from dataclasses import replace

import cv2
import numpy as np
from geometry_msgs.msg import PointStamped
from plain_messages import PLANES, File, Raw, scene
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from robotseg_core.types import PARTS
from robotseg_ros.common.image_codec import ENCODINGS, MAX_SIDE
from robotseg_ros.msg import Prompt as PromptMessage

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "8UC3": 3, "8UC4": 4}
CHANNELS |= {"rgb16": 6, "bgr16": 6, "rgba16": 8, "bgra16": 8, "mono16": 2, "16UC1": 2}
CHANNELS |= dict.fromkeys(("yuv422_yuy2", "yuyv", "yuv422", "uyvy"), 2)
CHANNELS |= {encoding: 2 for encoding in ENCODINGS if encoding.startswith("bayer") and encoding.endswith("16")}
"""Bytes a pixel, where they are not one."""
NUMBERS = (0, 1, 2, 3, 7, 8, 255, 256, 640, MAX_SIDE, MAX_SIDE + 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 5e-324, 1e300, -1e300, math.inf, -math.inf, math.nan, 639.5)
FLOATS32 = (0.0, -0.0, 1.0, -1.0, 3.5, 1e-45, 3.4e38, -3.4e38, math.inf, -math.inf, math.nan, 19.4)
TEXTS = ("", "arm", "gripper", "robot", "Arm", "rgb8", "mono17", "32FC1", "jpeg", "png", "\u00e9\u4e2d", "x" * 300)


def valid_files():
    """Small sound pictures of every kind that OpenCV writes; those that the node refuses among them."""
    rgb = scene(16, 20)
    kinds = [
        (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90]),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]),
        (".png", []),
        (".bmp", []),
        (".webp", []),
        (".tiff", []),
    ]
    files = [cv2.imencode(suffix, rgb, options)[1].tobytes() for suffix, options in kinds]
    files.append(cv2.imencode(".png", rgb[..., 0])[1].tobytes())
    files.append(cv2.imencode(".png", rgb.astype(np.uint16) * 257)[1].tobytes())
    return files


VALID_FILES = valid_files()


def number(rng):
    return rng.choice(NUMBERS) if rng.random() < 0.5 else rng.randrange(64)


def make_raw(rng):
    """A valid image with up to three fields changed."""
    encoding = rng.choice(ENCODINGS)
    height, width = 2 * rng.randrange(1, 6), 2 * rng.randrange(1, 6)
    step = width * CHANNELS.get(encoding, 1) + rng.choice((0, 0, 1, 13))
    image = Raw(height, width, encoding, step, rng.randbytes(int(height * step * PLANES.get(encoding, 1))))
    for _ in range(rng.randrange(4)):
        kind = rng.randrange(8)
        if kind == 0:
            image = replace(image, height=number(rng))
        elif kind == 1:
            image = replace(image, width=number(rng))
        elif kind == 2:
            image = replace(image, step=number(rng))
        elif kind == 3:
            image = replace(image, encoding=rng.choice((*ENCODINGS, *TEXTS)))
        elif kind == 4:
            image = replace(image, is_bigendian=rng.randrange(256))
        elif kind == 5:
            image = replace(image, data=rng.randbytes(rng.randrange(200)))
        elif kind == 6:
            image = replace(image, data=image.data[: rng.randrange(len(image.data) + 1)])
        else:
            # Everything swapped, as by a sender of the other byte order.
            width = struct.unpack(">I", struct.pack("<I", image.width))[0]
            image = replace(image, width=width, is_bigendian=1)
    return image


def damaged(rng, data):
    """Bytes with up to three damages."""
    data = bytearray(data)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + rng.randrange(20)]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.randrange(20))
        elif kind == 4:
            data[at : at + 4] = struct.pack(">I", rng.choice(NUMBERS))
        else:
            data[at : at + 2] = struct.pack(">H", 0xFF00 + rng.randrange(256))
    return bytes(data)


def make_file(rng):
    """A damaged picture, or noise behind the first bytes of one."""
    kind = rng.random()
    if kind < 0.1:
        return File(
            rng.choice((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"")) + rng.randbytes(rng.randrange(200)), "jpeg"
        )
    return File(damaged(rng, rng.choice(VALID_FILES)), rng.choice(TEXTS))


def set_header(rng, header):
    header.stamp.sec = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), int(time.time())))
    header.stamp.nanosec = rng.choice((0, 999_999_999, 10**9, 2**32 - 1))
    header.frame_id = rng.choice(("camera", "camera", *TEXTS))


def make_prompt(rng):
    """A valid prompt with up to two fields changed."""
    kind = rng.randrange(3)
    message = PromptMessage(part=rng.choice(PARTS), kind=kind, label=rng.randrange(2))
    message.coordinates = [float(rng.randrange(30)) for _ in range((2, 4, 0)[kind])]
    for _ in range(rng.randrange(3)):
        change = rng.randrange(5)
        if change == 0:
            message.part = rng.choice(TEXTS)
        elif change == 1:
            message.kind = rng.randrange(256)
        elif change == 2:
            message.coordinates = [rng.choice(FLOATS32) for _ in range(rng.randrange(5))]
        elif change == 3:
            message.label = rng.randrange(256)
        else:
            message.stamp.sec, message.stamp.nanosec = rng.choice((0, 5, -1, 2**31 - 1)), rng.choice((0, 7, 2**32 - 1))
    return message


def make_click(rng):
    """A click in pixels or in metres, with up to two fields changed."""
    message = PointStamped()
    message.header.frame_id = "camera"
    point = message.point
    point.x, point.y, point.z = rng.uniform(-1, 21), rng.uniform(-1, 17), rng.choice((0.0, 0.0, 2.5))
    for _ in range(rng.randrange(3)):
        change = rng.randrange(4)
        if change == 3:
            set_header(rng, message.header)
        else:
            setattr(point, "xyz"[change], rng.choice(FLOATS))
    return message


def make_info(rng):
    """A valid calibration with up to three fields changed."""
    info = CameraInfo(width=20, height=16, distortion_model="plumb_bob")
    info.k = [500.0, 0.0, 10.0, 0.0, 500.0, 8.0, 0.0, 0.0, 1.0]
    info.p = [500.0, 0.0, 10.0, 0.0, 0.0, 500.0, 8.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.d = [0.0] * 5
    set_header(rng, info.header)
    for _ in range(rng.randrange(4)):
        kind = rng.randrange(6)
        if kind == 0:
            info.width = rng.choice(NUMBERS)
        elif kind == 1:
            info.height = rng.choice(NUMBERS)
        elif kind == 2:
            info.k[rng.randrange(9)] = rng.choice(FLOATS)
        elif kind == 3:
            info.p[rng.randrange(12)] = rng.choice(FLOATS)
        elif kind == 4:
            info.d = [rng.choice(FLOATS) for _ in range(rng.randrange(15))]
        else:
            info.distortion_model = rng.choice((*TEXTS, "rational_polynomial", "equidistant"))
    return info


def make_image(rng):
    """An image as it comes to the inference thread."""
    if rng.random() < 0.3:
        file = make_file(rng)
        message = CompressedImage(format=file.format)
        message.data.frombytes(file.data)
    else:
        raw = make_raw(rng)
        message = Image(height=raw.height, width=raw.width, encoding=raw.encoding, step=raw.step)
        message.is_bigendian = raw.is_bigendian
        message.data.frombytes(raw.data)
    set_header(rng, message.header)
    return message
