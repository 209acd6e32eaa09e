# SPDX-License-Identifier: Apache-2.0
"""Qwen2.5-VL as a policy: recorded answers, and a tiny random model through the genuine classes."""

import json

import numpy as np
import pytest
from instruct_scenes import WHITE, view_of
from PIL import Image
from tiny_qwen import ByteProcessor, tiny_qwen

from robotseg_core.instruct.prompt_set import Answer
from robotseg_core.instruct.qwen import QwenPolicy, TransformersWriter, load_qwen, read_json, rounded_size
from robotseg_core.instruct.request import Request

VIEW = view_of([(30, WHITE)])
RECORDED = (
    "<think> The image shows one upright arm at the left. </think> <bbox>[92,230,185,640]</bbox>, "
    "<points>[[130,400],[140,520],[700,100]]</points>, <labels>[1,1,0]</labels>"
)


class Recorded:
    def __init__(self, text):
        self.text, self.asked = text, []

    def __call__(self, rgb, messages):
        self.asked.append((rgb, messages))
        return self.text


def test_a_recorded_answer_of_segr1():
    write = Recorded(RECORDED)
    answer = QwenPolicy(write).answer(Request.of("the arm"), VIEW)
    (instance,) = answer.instances
    sx, sy = 200 / 768, 120 / 768
    assert instance.box == pytest.approx((92 * sx, 230 * sy, 185 * sx, 640 * sy))
    assert instance.points == (pytest.approx((130 * sx, 400 * sy)), pytest.approx((140 * sx, 520 * sy)))
    ((rgb, messages),) = write.asked
    assert rgb.shape == (768, 768, 3)
    assert [m["role"] for m in messages] == ["system", "user"]
    assert messages[1]["content"] == [{"type": "image"}, {"type": "text", "text": "Identify and segment the arm"}]


def test_red_and_blue_are_swapped_only_where_asked():
    plain, swapped = Recorded(RECORDED), Recorded(RECORDED)
    view = view_of([(30, (255, 0, 0))])
    QwenPolicy(plain).answer(Request.of("x"), view)
    QwenPolicy(swapped, swap_red_and_blue=True).answer(Request.of("x"), view)
    np.testing.assert_array_equal(plain.asked[0][0], swapped.asked[0][0][..., ::-1])
    assert not np.array_equal(plain.asked[0][0], swapped.asked[0][0])


@pytest.mark.parametrize("text", ["", "I cannot help with that.", "<bbox>[1,2,3]</bbox>", RECORDED[:70], "[" * 5000])
@pytest.mark.parametrize("style", ["seg-r1", "qwen2.5-vl"])
def test_malformed_answers_are_not_understood(text, style):
    answer = QwenPolicy(Recorded(text), style=style).answer(Request.of("the arm"), VIEW)
    assert answer.answer is Answer.NOT_UNDERSTOOD and answer.raw == text


def test_the_plain_model_speaks_in_pixels_of_the_rounded_image():
    text = '```json\n[{"bbox_2d": [322, 0, 644, 238], "label": "arm"}]\n```'
    write = Recorded(text)
    view = view_of([], height=480, width=640)
    (instance,) = QwenPolicy(write, style="qwen2.5-vl").answer(Request.of("the arm"), view).instances
    assert instance.box == pytest.approx((320, 0, 639, 240))
    assert write.asked[0][0].shape == (480, 640, 3)
    assert "the arm" in write.asked[0][1][0]["content"][1]["text"]


def test_an_empty_list_is_none_and_strange_entries_are_left_out():
    assert read_json("[]", (10, 10), (10, 10)).answer is Answer.NONE
    entries = [{"bbox_2d": b} for b in ([1, 2, 3], ["a", 1, 2, 3], [True, 1, 2, 3], [1e300, 1, 2, 3], [5, 5, 1, 2])]
    (instance,) = read_json(json.dumps([*entries, 7, None]), (10, 10), (10, 10)).instances
    assert instance.box == (1, 2, 5, 5)


def test_sizes_are_rounded_to_28_within_the_limits():
    for w, h in ((640, 480), (5000, 4000), (30, 40), (1, 1), (768, 768)):
        rounded = rounded_size(w, h)
        assert all(v % 28 == 0 and v >= 28 for v in rounded)
        assert 3136 <= rounded[0] * rounded[1] <= 12_845_056
    assert rounded_size(768, 768) == (756, 756)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no config.json"):
        load_qwen(tmp_path)


def test_unknown_styles_are_refused():
    with pytest.raises(ValueError, match="style is 'gpt'"):
        QwenPolicy(Recorded(""), style="gpt")


def test_a_tiny_random_model_writes_through_the_genuine_class():
    transformers = pytest.importorskip("transformers")
    model = tiny_qwen(transformers)
    policy = QwenPolicy(TransformersWriter(model, ByteProcessor(model.config), max_new_tokens=12), style="qwen2.5-vl")
    answer = policy.answer(Request.of("the arm"), VIEW)
    # Random weights write nonsense, and the same each time.
    assert answer.answer is Answer.NOT_UNDERSTOOD and answer.raw
    assert policy.answer(Request.of("the arm"), VIEW).raw == answer.raw
    # They look at the picture: another one has other logits.
    inputs = ByteProcessor(model.config)(["<image>x"], [Image.fromarray(VIEW.rgb)])
    other = ByteProcessor(model.config)(["<image>x"], [Image.fromarray(255 - VIEW.rgb)])
    assert not np.allclose(model(**inputs).logits.detach(), model(**other).logits.detach())
