# SPDX-License-Identifier: Apache-2.0
"""What is sent to the node by whoever can reach its topics: valid messages, damaged at random; `make fuzz` runs it.

Each target has a maker of inputs and a check.  A check lets the documented errors pass and nothing else.
"""

import argparse
import math
import os
import random
import struct
import sys
import time
import warnings
from collections import deque
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import PointStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tqdm import tqdm

from robotseg_core.camera import Camera as Pinhole
from robotseg_core.camera import CameraError
from robotseg_core.types import PARTS, PartMask, PartMasks, Prompt, StageTimes, State
from robotseg_ros.camera import Camera
from robotseg_ros.codec import ENCODINGS, MAX_SIDE, CodecError, decode_rgb
from robotseg_ros.compressed import MAX_PIXELS, decode_compressed
from robotseg_ros.inference import Inference
from robotseg_ros.msg import Prompt as PromptMessage
from robotseg_ros.parameters import CameraOptions, LiveOptions
from robotseg_ros.prompts import PromptError, click_prompt
from robotseg_ros.worker import FairWorker

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "yuv422_yuy2": 2}
NUMBERS = (0, 1, 2, 3, 7, 8, 255, 256, 640, MAX_SIDE, MAX_SIDE + 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 5e-324, 1e300, -1e300, math.inf, -math.inf, math.nan, 639.5)
FLOATS32 = (0.0, -0.0, 1.0, -1.0, 3.5, 1e-45, 3.4e38, -3.4e38, math.inf, -math.inf, math.nan, 19.4)
TEXTS = ("", "arm", "gripper", "robot", "Arm", "rgb8", "mono16", "32FC1", "jpeg", "png", "\u00e9\u4e2d", "x" * 300)


@dataclass(frozen=True)
class Raw:
    """The fields of sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    step: int
    data: Any
    is_bigendian: int = 0


@dataclass(frozen=True)
class File:
    """The fields of sensor_msgs/CompressedImage."""

    data: Any
    format: str = "jpeg"


# ------------------------------------------------------------------------------------------------ checks
def check_raw(image):
    """Returns whether the image was decoded."""
    try:
        rgb = decode_rgb(image)
    except CodecError as error:
        assert str(error)
        return False
    assert rgb.shape == (image.height, image.width, 3) and rgb.dtype == np.uint8 and rgb.flags.c_contiguous
    assert image.height * image.step == len(image.data)
    return True


def check_file(file):
    """Returns whether the picture was decoded."""
    try:
        rgb = decode_compressed(file).rgb
    except CodecError as error:
        assert str(error)
        return False
    assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8 and rgb.flags.c_contiguous
    assert rgb.size <= 3 * MAX_PIXELS
    return True


def check_calibration(info):
    """Whoever reads a calibration: clicks in metres, and the pinhole of servo and self-filter."""
    click = PointStamped()
    click.header.frame_id = "camera"
    click.point.x, click.point.y, click.point.z = 0.1, -0.2, 1.5
    good = True
    try:
        prompt = click_prompt(click, "arm", info=info, frame_id="camera")
        assert all(math.isfinite(value) for value in prompt.xy)
    except PromptError:
        good = False
    try:
        pinhole = Pinhole.from_matrix(info.width, info.height, info.k, info.distortion_model, info.d)
        assert math.isfinite(pinhole.fx) and pinhole.fx > 0
    except CameraError:
        good = False
    return good


class Handlers:
    """The node's callbacks for one camera, and what its inference thread does, without ROS around them."""

    def __init__(self):
        self.said = deque(maxlen=10)
        log = SimpleNamespace(**{level: self.said.append for level in ("info", "warning", "error")})
        clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=time.time_ns()))
        node = SimpleNamespace(
            get_logger=lambda: log, get_clock=lambda: clock, context=SimpleNamespace(ok=lambda: True)
        )
        self.answers = 0
        publishers = SimpleNamespace(publish=self._count, publish_without_parts=self._count, age_ms=lambda header: 0.0)
        self.inference = Inference(node, EmptyStream(), publishers, lambda: LiveOptions(), replay=False, name="fuzzed")
        options = CameraOptions("fuzzed", image="/image", compressed=False, info="/info", click_topic="/click")
        self.camera = Camera(
            node, None, options, None, self.inference, FairWorker("fuzzed"), lambda: LiveOptions(), replay=False
        )
        # Something to click on.
        picture = Image(height=16, width=20, encoding="mono8", step=20)
        picture.header.frame_id, picture.header.stamp.sec = "camera", 5
        picture.data.frombytes(bytes(320))
        self.picture = picture
        self.check_image(picture)

    def _count(self, *_, **__):
        self.answers += 1

    def check_prompt(self, message):
        refused = self.inference.counters.prompts_refused
        self.camera._on_prompt(message)
        return self.inference.counters.prompts_refused == refused

    def check_click(self, message):
        refused = self.inference.counters.prompts_refused
        self.camera._on_click(message)
        return self.inference.counters.prompts_refused == refused

    def check_info(self, message):
        self.camera._on_info(message)
        return check_calibration(message)

    def check_image(self, message):
        """Each image is answered, with parts or without, or counted as refused."""
        counters = self.inference.counters
        before = (self.answers, counters.refused.total(), counters.faults)
        self.inference.process(message, 0)
        answers, refused, faults = self.answers, counters.refused.total(), counters.faults
        assert counters.refused["decoding"] == 0, self.said[-1]
        assert faults == before[2], self.said[-1]
        assert (answers, refused) in ((before[0] + 1, before[1]), (before[0], before[1] + 1))
        return answers > before[0]


class EmptyStream:
    """Takes what a stream takes and sees nothing."""

    def step(self, frame, stamp):
        assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
        nothing = np.zeros((1, 1), np.uint8)
        parts = tuple(PartMask(name, nothing, 0.0, False, 0, (0, 0, 0, 0), (math.nan, math.nan)) for name in PARTS)
        return PartMasks(stamp, State.SEARCHING, parts, StageTimes())

    def prompt(self, prompt):
        assert isinstance(prompt, Prompt) and all(math.isfinite(value) for value in prompt.xy)

    def reset(self):
        pass


# ------------------------------------------------------------------------------------------------ makers
def scene(height=16, width=20):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 9, columns * 7, (rows + columns) * 3], -1).astype(np.uint8)


def valid_files():
    """Small sound pictures of every kind that OpenCV writes; those that the node refuses among them."""
    rgb = scene()
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
    image = Raw(height, width, encoding, step, rng.randbytes(height * step))
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


def targets():
    """Name -> (maker, check, share of the inputs)."""
    handlers = Handlers()
    return {
        "raw image": (make_raw, check_raw, 0.35),
        "compressed image": (make_file, check_file, 0.25),
        "prompt": (make_prompt, handlers.check_prompt, 0.1),
        "click": (make_click, handlers.check_click, 0.1),
        "camera_info": (make_info, handlers.check_info, 0.1),
        "image through the session": (make_image, handlers.check_image, 0.1),
    }


def run(inputs, seed, progress=False):
    """Give every target its share of the inputs; returns lines of figures.  A failing input is named by its seed."""
    warnings.simplefilter("ignore", RuntimeWarning)
    lines = []
    made = targets()
    for name, (make, check, share) in made.items():
        count, good, began = round(inputs * share), 0, time.perf_counter()
        for i in tqdm(range(count), desc=name, unit="input", mininterval=5, file=sys.stdout, disable=not progress):
            rng = random.Random(f"{seed} {name} {i}")
            given = make(rng)
            try:
                good += check(given)
            except Exception as error:
                raise AssertionError(f"{name}, input {seed}/{i}: {type(error).__name__}: {error}; {given}") from error
        seconds = time.perf_counter() - began
        lines.append(
            f"{name:28}{count:9} inputs {good:9} taken {count - good:9} refused {count / max(seconds, 1e-9):9.0f}/s"
        )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # libpng and libjpeg say on standard error what they think of each picture.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        print("\n".join(run(options.inputs, options.seed, progress=True)))
    except AssertionError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
