# SPDX-License-Identifier: Apache-2.0
"""``robotseg eval-language``: a perfect model and the rules on a scene that is known."""

import json

import cv2
import numpy as np
import pytest
from instruct_scenes import ORANGE, WHITE, view_of
from small_models import small_robotseg

from robotseg_core import cli
from robotseg_core.evaluation.language import command
from robotseg_core.evaluation.language.referring import summarise
from robotseg_core.instruct.prompt_set import Answer
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.rules import RulesPolicy
from robotseg_core.stream.frame_state import EncodedFrame
from robotseg_core.synth.instances.files import write_ids
from robotseg_core.synth.requests.generate import SceneRequest

VIEW = view_of([(30, WHITE), (150, ORANGE)])


@pytest.fixture
def root(tmp_path):
    ids = np.zeros((120, 200), np.uint16)
    for leaf, part in ((1, "arm"), (2, "gripper")):
        seen = VIEW.parts[part].mask > 0
        ids[seen] = leaf
        ids[:, 100:][seen[:, 100:]] = leaf + 2
    write_ids(tmp_path, "v", 0, ids)
    (tmp_path / "image" / "v").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "image" / "v" / "00000.jpg"), VIEW.rgb[..., ::-1])
    return tmp_path


def request(text, kind, target, others=(), family="side", invert=False):
    return SceneRequest("v", 0, text, family, "known", kind, target, others, 1, invert, True)


REQUESTS = [
    request("the left arm", "arm", (1,), (3,)),
    request("the right gripper", "gripper", (4,), (2,)),
    request("everything but the robot", "robot", (1, 2, 3, 4), family="exclusion", invert=True),
    request("the blue arm", "arm", (), (1, 3), family="absence"),
    request("the arm next to the mug", "arm", (1,), (3,), family="relation"),
]


@pytest.fixture
def perfect(monkeypatch):
    """The genuine small model whose streams say what is there."""
    robotseg = small_robotseg()

    class Stream:
        def step_encoded(self, encoded):
            assert isinstance(encoded, EncodedFrame)
            return VIEW.parts

    monkeypatch.setattr(robotseg, "stream", Stream)
    return robotseg


def test_each_policy_is_scored_on_each_request(root, perfect):
    scores = command.measure(perfect, RulesPolicy(), command.RenderedSet(root), REQUESTS)
    assert set(scores) == {"category", "rules", "true box"}
    rules = [s.iou for s in scores["rules"]]
    assert rules == [1, 1, 1, 1, 0]
    category = [s.iou for s in scores["category"]]
    assert category[0] == pytest.approx(0.5) and category[2] == 1 and category[3] == 0
    summary = summarise(scores["rules"])
    assert (summary.n_acc, summary.t_acc) == (1, 1)
    assert scores["true box"][3].iou == 1


def test_table_and_files(root, perfect, monkeypatch, capsys):
    monkeypatch.setattr(command, "load_model", lambda arguments: perfect)
    file = root / "own.jsonl"
    command.write_requests(file, REQUESTS)
    assert (
        cli.main(["eval-language", str(root), "--policy", "rules", "--requests", str(file), "--out", str(root / "out")])
        == 0
    )
    rows = json.loads((root / "out" / "language.json").read_text())
    (all_rules,) = [r for r in rows if (r["policy"], r["requests"]) == ("rules", "all")]
    assert all_rules["giou"] == pytest.approx(0.8) and all_rules["count"] == 5
    assert "needs language" in capsys.readouterr().out
    assert (root / "out" / "requests.jsonl").read_text() == file.read_text()


def test_labelled_frames_are_asked_by_their_pieces(tmp_path, perfect, monkeypatch):
    for part, number in (("arm", "000"), ("gripper", "001"), ("robot", "002")):
        folder = tmp_path / "mask_gt" / "clip" / number
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "7.png"), VIEW.parts[part].mask)
    (tmp_path / "image" / "clip").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "image" / "clip" / "7.jpg"), VIEW.rgb[..., ::-1])
    frames = command.set_of(tmp_path)
    requests = list(frames.requests(seed=0, each=40))
    sides = {r.text: r for r in requests if r.family == "side" and r.kind == "arm"}
    assert sides and {r.needs_language for r in sides.values()} == {True}
    assert {r.family for r in requests} >= {"side", "exclusion", "ambiguity"}
    scores = command.measure(perfect, RulesPolicy(), frames, requests)
    # The perfect masks under the rules answer whatever the rules understand.
    answers = [RulesPolicy().answer(Request.of(r.text), VIEW).answer for r in requests]
    told = zip(scores["rules"], answers, strict=True)
    understood = [s.iou for s, answer in told if answer is not Answer.NOT_UNDERSTOOD]
    assert min(understood) == 1 and len(understood) >= len(requests) / 4
    with pytest.raises(ValueError, match="has no image/<clip>"):
        list(command.set_of(tmp_path / "image").requests(seed=0, each=1))
