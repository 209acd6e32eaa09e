# SPDX-License-Identifier: Apache-2.0
"""robotseg report of bags: what the node said when it was recorded, or what the model says now."""

import json
import re

import numpy as np
import pytest
from small_models import moving_frames, small_robotseg

pytest.importorskip("rosbags", reason="bags need the extra 'bag'")

from rosbags.rosbag2 import StoragePlugin, Writer
from small_bags import IMAGE, STEP_NS, T0, TYPES, header, image, write_bag

from robotseg_core import cli
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import State
from robotseg_ros.tools.bag_messages import BagMessages

pytestmark = pytest.mark.usefixtures("small")

FRAMES = moving_frames(5)


def report(bag, out, *more):
    assert cli.main(["report", str(bag), "--out", str(out), *more]) == 0
    text = out.read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])["frames"], text


def recorded(path):
    """A bag with a node's answers: 0 answered, 1 dropped, 2 answered late, then STALE with its stamp, 3 FAULT."""
    messages = BagMessages()
    types = messages.types
    result = small_robotseg().stream().step(FRAMES[0])
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        camera = writer.add_connection("/camera", IMAGE, typestore=TYPES)
        mask = writer.add_connection("/robotseg/robot_mask", IMAGE, typestore=TYPES)
        parts = writer.add_connection("/robotseg/parts", BagMessages.PART_MASKS, typestore=types)

        def say(stamp, state, age, dropped, delay):
            said = types.deserialize_cdr(bytes(messages.parts(header(stamp), result, small_robotseg())), parts.msgtype)
            said.state, said.age_ms, said.dropped = int(state), age, dropped
            said.parts = said.parts if state < State.STALE else []
            writer.write(parts, stamp + delay, types.serialize_cdr(said, parts.msgtype))

        for number, rgb in enumerate(FRAMES[:4]):
            stamp = T0 + number * STEP_NS
            writer.write(camera, stamp + 1, image(stamp, rgb))
            if number in (0, 2):
                writer.write(mask, stamp + 2, image(stamp, result["robot"].mask, encoding="mono8"))
                say(stamp, State.TRACKING, 30.0 + number, number // 2, 3)
            if number == 2:
                say(stamp, State.STALE, 400.0, 0, 4)
            if number == 3:
                say(stamp, State.FAULT, 12.0, 0, 3)
    return path, result


def test_a_recorded_bag_shows_what_the_node_said_then(tmp_path, monkeypatch):
    bag, result = recorded(tmp_path / "drive")
    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda *_, **__: pytest.fail("the model is not needed")))
    frames, text = report(bag, tmp_path / "r.html")
    assert [frame[2] for frame in frames] == ["TRACKING", "TRACKING", "STALE", "FAULT"]
    share = 100 * (result["robot"].area / (60 * 80))
    assert f"robot: {share:.1f} % of the picture, score {result['robot'].score:.2f}" in frames[0]
    assert "age when published 32.0 ms" in frames[1] and "1 frames lost before it" in frames[1]
    assert "4 answers to 4 images" in text and str(T0 + 2 * STEP_NS) in frames[1][0]
    assert text.count("<figure") >= 3


def test_a_bag_without_answers_is_answered_now_and_again_on_request(tmp_path):
    bag = write_bag(tmp_path / "plain", FRAMES, broken=(1,))
    frames, text = report(bag, tmp_path / "a.html")
    stream = small_robotseg().stream()
    wanted = [stream.step(rgb).state.name if i != 1 else "UNREADABLE" for i, rgb in enumerate(FRAMES)]
    assert [frame[2] for frame in frames] == wanted
    assert "1 images could not be read; the first: number 1: step is 3" in text
    again, _ = report(recorded(tmp_path / "drive")[0], tmp_path / "b.html", "--again")
    assert len(again) == 4 and np.all([frame[-1].startswith("model ") for frame in again])
