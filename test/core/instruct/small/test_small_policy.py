# SPDX-License-Identifier: Apache-2.0
"""The small policy in use, on a model that is not trained: its answers, whose masks they are, its file."""

import dataclasses

import numpy as np
import pytest
import torch
from language_sets import write_scene
from small_models import policy_base

from robotseg_core.instruct.candidates import candidates
from robotseg_core.instruct.prompt_set import Answer, Instance, PromptSet, View
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.rules import RulesPolicy
from robotseg_core.instruct.small.network import NetworkConfig, SmallNetwork
from robotseg_core.instruct.small.policy import (
    FORMAT,
    OtherWeights,
    SmallPolicy,
    SmallWeights,
    load_policy,
    meant,
    save_policy,
)
from robotseg_core.train.language.frames import rendered_frame

NETWORK = NetworkConfig(features=64, words=32, width=24, heads=2, frame_layers=1, joint_layers=1, decoder_layers=1)
BASE = "ab" * 32


@pytest.fixture(scope="module")
def robotseg():
    return policy_base(BASE)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A frame of two robots."""
    root = tmp_path_factory.mktemp("set")
    write_scene(root, [(20, "orange", 0.9, "mug"), (220, "white", 0.1, None)], [(190, "box", "blue")], video="two")
    return rendered_frame(root, "two", 0)


@pytest.fixture
def file(robotseg, tmp_path):
    torch.manual_seed(0)
    network = SmallNetwork(NETWORK)
    save_policy(tmp_path / "p.safetensors", SmallWeights(network, {"the": 1}, (BASE,), "untrained"))
    return tmp_path / "p.safetensors"


def test_the_policy_answers_any_request(file, robotseg, source):
    policy = SmallPolicy.load(file, robotseg)
    (encoded,) = robotseg.encode_frames([source.rgb])
    parts = robotseg.stream().step_encoded(encoded.again())
    view = View(source.rgb, parts, policy.look(encoded, parts))
    for text in ("the left arm", "?!", "x" * 200, "the " * 50, "\x00\u2603 robot"):
        prompts = policy.answer(Request.of(text), view)
        assert prompts.answer in Answer and prompts.log_probability <= 0
    with pytest.raises(ValueError, match="the view has none"):
        policy.answer(Request.of("x"), View(source.rgb, parts))


@pytest.fixture
def view(file, robotseg, source):
    """A view of the policy of ``file`` with two robots by masks that are made here: one model is not trained."""
    (encoded,) = robotseg.encode_frames([source.rgb])
    parts = robotseg.stream().step_encoded(encoded.again())
    mask = np.zeros(source.rgb.shape[:2], np.uint8)
    height, width = mask.shape
    mask[height // 4 : height // 2, width // 10 : width // 3] = 255
    mask[height // 4 : height // 2, width // 2 : width // 10 * 9] = 255
    parts = dataclasses.replace(parts, parts=tuple(dataclasses.replace(part, mask=mask) for part in parts.parts))
    return View(source.rgb, parts, SmallPolicy.load(file, robotseg).look(encoded, parts))


@pytest.mark.parametrize(
    ("text", "automatic"),
    [("the gripper", True), ("everything but the robot", True), ("the limb", True), ("the left robot", False)],
)
def test_what_the_rules_can_answer_is_one_of_the_streams_masks(file, robotseg, view, text, automatic):
    policy = SmallPolicy.load(file, robotseg)
    answer, other = policy.answer_all([Request.of(text), Request.of("the robot that holds the mug")], view)
    by_rules = RulesPolicy().answer(Request.of(text), view)
    assert (answer.answer, answer.part, answer.invert) == (by_rules.answer, by_rules.part, by_rules.invert)
    assert answer.automatic == automatic and len(answer.instances) == len(by_rules.instances) > 0
    for ours, theirs in zip(answer.instances, by_rules.instances, strict=True):
        assert np.array_equal(ours.mask, theirs.mask)
    # What asks for more is the network's, and is the same in whatever company it is asked.
    alone = policy.answer(Request.of("the robot that holds the mug"), view)
    assert other.raw == alone.raw and not other.automatic
    # By itself the network answers everything, with boxes.
    network = SmallPolicy(policy.weights, alone=True)
    assert all(instance.mask is None for instance in network.answer(Request.of(text), view).instances)


def test_a_box_about_a_candidate_means_its_mask(view):
    known = candidates(view.parts, "robot")
    assert len(known) == 2
    x0, y0, x1, y1 = known[1].box
    # Half of it, and a place where nobody is.
    boxes = [(x0, y0, (x0 + x1) / 2, y1), (0.0, y1 + 5.0, 9.0, y1 + 9.0)]
    half, nobody = meant(PromptSet(Answer.FOUND, tuple(map(Instance, boxes))), known).instances
    assert np.array_equal(half.mask, known[1].mask) and nobody.mask is None and nobody.box == boxes[1]
    (third,) = meant(PromptSet(Answer.FOUND, (Instance((x0, y0, x0 + 0.3 * (x1 - x0), y1)),)), known).instances
    assert third.mask is None
    nothing = PromptSet(Answer.NONE)
    assert meant(nothing, []) == nothing
    (point,) = meant(PromptSet(Answer.FOUND, (Instance(None, ((1.0, 1.0),), (1,)),)), known).instances
    assert point.mask is None


def test_a_policy_of_other_weights_is_refused_and_the_rules_take_over(file, robotseg, monkeypatch, caplog):
    from robotseg_core.instruct import policies

    monkeypatch.setattr(policies, "small_weights", lambda: file)
    assert policies.default_policy(robotseg).name == "small"
    assert policies.default_policy(object()).name == "rules"
    monkeypatch.setattr(robotseg, "sha256", "cd" * 32)
    with pytest.raises(OtherWeights, match="other weights"):
        SmallPolicy.load(file, robotseg)
    assert policies.default_policy(robotseg).name == "rules"
    assert "requests are read by the rules" in caplog.text
    monkeypatch.setattr(policies, "small_weights", lambda: None)
    assert policies.default_policy(robotseg).name == "rules"


def test_a_damaged_policy_is_named(file, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="bad.safetensors is no safetensors file"):
        load_policy(bad)
    from safetensors.torch import save_file

    good = {"format": FORMAT, "network": '{"width": 24}', "words": "the", "bases": BASE}
    for change, words in (
        ({"format": "other"}, "says it is 'other'"),
        ({"network": '{"width": 1000000}'}, "must be 1 to 4096"),
        ({"network": "[]"}, "is damaged"),
        ({}, "is damaged: Error"),
    ):
        save_file({"x": torch.zeros(1)}, bad, metadata={**good, **change})
        with pytest.raises(ValueError, match=words):
            load_policy(bad)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  p.safetensors\n")
    with pytest.raises(ValueError, match="is not the file that SHA256SUMS names"):
        load_policy(file)


def test_a_damaged_policy_leaves_the_rules(robotseg, tmp_path, monkeypatch, caplog):
    from robotseg_core.instruct import policies

    (tmp_path / "p.safetensors").write_bytes(b"nonsense")
    monkeypatch.setattr(policies, "small_weights", lambda: tmp_path / "p.safetensors")
    assert policies.default_policy(robotseg).name == "rules"
    assert "is no safetensors file" in caplog.text
