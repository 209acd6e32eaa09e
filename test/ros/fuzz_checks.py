# SPDX-License-Identifier: Apache-2.0
"""What must come of any input: the documented errors pass, and nothing else.  A check returns whether it was taken."""

import math
import time
from collections import deque
from types import SimpleNamespace

import numpy as np
from fake_model import FakeModel
from geometry_msgs.msg import PointStamped
from plain_messages import PLANES
from sensor_msgs.msg import Image

from robotseg_core.geometry.camera import Camera as Pinhole
from robotseg_core.geometry.camera import CameraError
from robotseg_core.types import PARTS, PartMask, PartMasks, Prompt, StageTimes, State
from robotseg_ros.common.compressed_codec import MAX_PIXELS, decode_compressed
from robotseg_ros.common.image_codec import CodecError, decode_rgb
from robotseg_ros.segmenter.camera_topics import Camera
from robotseg_ros.segmenter.hints import PromptError, click_prompt
from robotseg_ros.segmenter.inference import Inference
from robotseg_ros.segmenter.instruct.instructions import Instructions
from robotseg_ros.segmenter.parameters.options import CameraOptions, LiveOptions
from robotseg_ros.segmenter.worker import FairWorker


def check_raw(image):
    """Returns whether the image was decoded."""
    try:
        rgb = decode_rgb(image)
    except CodecError as error:
        assert str(error)
        return False
    assert rgb.shape == (image.height, image.width, 3) and rgb.dtype == np.uint8 and rgb.flags.c_contiguous
    assert image.height * image.step * PLANES.get(image.encoding, 1) == len(image.data)
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
        self.inference = Inference(
            node, EmptyStream(), publishers, lambda: LiveOptions(), replay=False, name="fuzzed",
            instructions=Instructions(FakeModel()),
        )  # fmt: skip
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
        self._apply_hints()
        return self.inference.counters.prompts_refused == refused

    def check_click(self, message):
        refused = self.inference.counters.prompts_refused
        self.camera._on_click(message)
        self._apply_hints()
        return self.inference.counters.prompts_refused == refused

    def _apply_hints(self):
        # As the next image would; without it the queue is full after a few and refuses all others.
        self.inference._hints.give(self.inference._stream, 0, lambda: True)

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
        nothing = np.zeros(frame.shape[:2], np.uint8)
        parts = tuple(PartMask(name, nothing, 0.0, False, 0, (0, 0, 0, 0), (math.nan, math.nan)) for name in PARTS)
        return PartMasks(stamp, State.SEARCHING, parts, StageTimes())

    def prompt(self, prompt):
        assert isinstance(prompt, Prompt) and all(math.isfinite(value) for value in prompt.xy)

    def reset(self):
        pass
