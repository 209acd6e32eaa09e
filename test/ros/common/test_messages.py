# SPDX-License-Identifier: Apache-2.0
"""Our messages: field by field through another process, and from what the core says."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel, robot_picture
from patience import PATIENCE_S
from ros_client import Spinner, wait_until
from std_msgs.msg import Header

from robotseg_core.types import PromptKind
from robotseg_ros.common import messages
from robotseg_ros.msg import PartMasks, Prompt


@pytest.fixture
def echo(context):
    import rclpy

    script = Path(__file__).parents[1] / "message_echo.py"
    process = subprocess.Popen([sys.executable, script], env=dict(os.environ))
    spinner = Spinner(context, rclpy.create_node("sender", context=context))

    def through(name, message):
        back = []
        there = spinner.node.create_publisher(type(message), f"/there/{name}", 10)
        spinner.node.create_subscription(type(message), f"/back/{name}", back.append, 10)
        wait_until(lambda: there.get_subscription_count() > 0, f"/there/{name} heard by the other process")
        wait_until(lambda: spinner.node.count_publishers(f"/back/{name}") > 0, f"/back/{name}")

        def arrived():
            there.publish(message)
            return bool(back)

        wait_until(arrived, f"{name} back from the other process")
        return back[0]

    try:
        yield through
        process.terminate()
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        spinner.close()


def header():
    made = Header(frame_id="wrist camera")
    made.stamp.sec, made.stamp.nanosec = 2_000_000_000, 999_999_999
    return made


def test_part_masks_through_another_process(echo):
    model = FakeModel(delay=0.001)
    result = model.stream().step(robot_picture(), 1)
    sent = messages.to_part_masks(
        header(),
        model,
        result,
        camera="wrist",
        policy="inclusive",
        margin=5,
        decode_ms=0.25,
        age_ms=12.5,
        dropped=3,
    )
    for part in sent.parts:
        # Exact as a float32, so that the messages can be compared for equality.
        part.score = 0.875
    received = echo("parts", sent)
    assert received == sent
    assert isinstance(received, PartMasks)
    assert (received.header.stamp.nanosec, received.header.frame_id) == (999_999_999, "wrist camera")
    assert (received.decode_ms, received.age_ms, received.dropped, received.encoder_ms) == (0.25, 12.5, 3, 1.0)
    assert (received.camera, received.mask_policy, received.mask_margin) == ("wrist", "inclusive", 5)
    assert [part.area for part in received.parts] == [1400, 400, 1800]


def test_prompt_through_another_process(echo):
    sent = Prompt(part="gripper", kind=Prompt.POINT, coordinates=[12.5, 7.0], label=1, stamp=header().stamp)
    received = echo("prompt", sent)
    assert received == sent
    prompt = messages.to_prompt(received)
    assert (prompt.part, prompt.kind, prompt.xy, prompt.label) == ("gripper", PromptKind.POINT, (12.5, 7.0), 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"part": "hand"}, "'hand'"),
        ({"kind": 9}, "9 is not a valid PromptKind"),
        ({"coordinates": [1.0]}, "1 coordinates, must have 2"),
        ({"coordinates": [1.0, float("nan")]}, "must be finite"),
        ({"label": 2}, "label is 2"),
    ],
)
def test_bad_prompts_are_refused(fields, words):
    message = Prompt(**{"part": "arm", "kind": Prompt.POINT, "coordinates": [1.0, 2.0], "label": 1, **fields})
    with pytest.raises(ValueError, match=words):
        messages.to_prompt(message)


def test_images_keep_their_pixels_also_from_a_view():
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)[:, ::-1]
    image = messages.to_image(header(), pixels, "rgb8")
    assert (image.height, image.width, image.step, image.encoding) == (4, 5, 15, "rgb8")
    assert bytes(image.data) == np.ascontiguousarray(pixels).tobytes()
