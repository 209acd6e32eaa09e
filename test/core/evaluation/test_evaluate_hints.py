# SPDX-License-Identifier: Apache-2.0
"""robotseg eval-hints: hints on the frame, negative clicks, things by instance maps, and the model without a box."""

from __future__ import annotations

import functools
import json

import cv2
import numpy as np
import pytest
import torch
from small_models import moving_frames, small_model, small_robotseg

from robotseg_core import cli
from robotseg_core.evaluation.dataset import read_root
from robotseg_core.evaluation.hints import measure, unhinted
from robotseg_core.evaluation.hints.hinted_stream import HintedStream
from robotseg_core.evaluation.hints.objects import robots_of_pairs, things
from robotseg_core.evaluation.hints.without import without
from robotseg_core.evaluation.metrics import iou
from robotseg_core.model.robotseg_model import Memory

pytestmark = pytest.mark.usefixtures("small")

SHAPE = (60, 80)
CUP, NEAR, FAR = 3, 1, 2


@pytest.fixture
def root(tmp_path):
    """Two videos of four frames: two robots side by side, a cup below the first one."""
    ids = np.zeros(SHAPE, np.uint16)
    ids[5:30, 5:30], ids[5:30, 45:75], ids[40:50, 10:30] = NEAR, FAR, CUP
    instances = [
        {"id": NEAR, "name": "link", "kind": "link"},
        {"id": FAR, "name": "link", "kind": "link"},
        {"id": CUP, "name": "cup", "kind": "thing"},
    ]
    robots = [{"robot": 0, "name": "near", "ids": [NEAR]}, {"robot": 1, "name": "far", "ids": [FAR]}]
    for name in ("a", "b"):
        for i, frame in enumerate(moving_frames(4, *SHAPE)):
            for path, picture in (
                (f"image/{name}/{i:05d}.jpg", frame[..., ::-1]),
                (f"ids/{name}/{i:05d}.png", ids),
                (f"mask_gt/{name}/000/{i:05d}.png", np.uint8(255) * np.isin(ids, (NEAR, FAR))),
                (f"mask_gt/{name}/002/{i:05d}.png", np.uint8(255) * np.isin(ids, (NEAR, FAR))),
            ):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / path), picture)
        (tmp_path / "ids" / name / "meta.json").write_text(json.dumps({"instances": instances, "robots": robots}))
    cv2.imwrite(str(tmp_path / "nothing.png"), np.full((*SHAPE, 3), 90, np.uint8))
    return tmp_path


def behind(folder):
    """One frame of a near robot on the left, with a far one on the right."""
    true = np.zeros(SHAPE, np.uint8)
    true[5:30, 5:30] = 255
    depth = np.full(SHAPE, 2500, np.uint16)
    depth[true > 0] = 900
    pictures = {"image/0.jpg": moving_frames(1, *SHAPE)[0], "mask_robot/0.png": true, "depth_mm/0.png": depth}
    for path, picture in pictures.items():
        (folder / path).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / path), picture)
    return folder


def test_every_section_is_measured(root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(unhinted, "frames_until_back", functools.partial(unhinted.frames_until_back, away=3))
    monkeypatch.setattr(measure, "LATER", 2)
    absent = tmp_path / "absent"
    absent.mkdir()
    (root / "nothing.png").rename(absent / "nothing.png")
    out = tmp_path / "out"
    given = ["--absent", str(absent), "--depth", str(behind(tmp_path / "behind"))]
    assert cli.main(["eval-hints", str(root), *given, "--out", str(out)]) == 0
    rows = json.loads((out / "hints.json").read_text())["rows"]
    cases = {(row["told"], row["target"]): row["cases"] for row in rows}
    # Two videos of four annotated frames, two of whose parts are there.
    assert cases["1c: IoU of the hinted frame", "robot"] == 8
    assert cases["auto: IoU of the hinted frame", "gripper"] == 0
    assert cases["bb: IoU of the hinted frame", "object"] == 2
    assert cases["1c on one of two robots: its IoU", "robot"] == 4
    assert cases["first mask given: J&F of later frames", "robot"] == 2
    assert cases["bb in mid-video: IoU of that frame", "robot"] == 2
    assert cases["region: IoU of the robot meant", "robot"] == 1
    assert cases["memory off, frames that need it: J&F", "robot"] == 2
    assert cases["no robot: % of pixels marked", "robot"] == 1
    assert "negative click" in capsys.readouterr().out


def test_unknown_section_is_named(root, capsys):
    assert cli.main(["eval-hints", str(root), "--only", "frame,colour"]) == 2
    assert "colour" in capsys.readouterr().err


def test_things_and_pairs_come_from_the_instance_maps(root):
    videos = read_root(root)
    (cup, _) = things(root, videos)
    assert cup.name == "cup" and cup.mask(0).sum() == 200 and cup.mask(0)[45, 20]
    near, far = robots_of_pairs(root, videos)[:2]
    assert near.mask(0)[10, 10] and not near.mask(0)[10, 50]
    assert near.other_mask(0)[10, 50] and (far.other_mask(0) == near.mask(0)).all()


def test_targets_that_are_named_are_taken_and_no_others(root):
    (root / "targets.json").write_text(json.dumps([{"video": "b", "id": NEAR, "name": "near arm", "kind": "link"}]))
    (target,) = things(root, read_root(root))
    assert (target.video.name, target.name, target.ids) == ("b", "near arm", (NEAR,))
    (root / "targets.json").write_text('[{"video": "b"}]')
    with pytest.raises(ValueError, match="targets.json is not a list of targets with video, id and name"):
        things(root, read_root(root))


def test_following_scores_the_target_and_the_other_one(root):
    target = robots_of_pairs(root, read_root(root))[0]
    found = measure.followed(small_robotseg(), target, "mask")
    # A mask that is given is taken as it is.
    assert found.first > 0.9
    in_node = measure.followed(small_robotseg(), target, "mask", alone=False)
    assert in_node.first == pytest.approx(found.first, abs=0.02)
    assert found.later.shape == (3, 2) and len(found.other) == 4
    assert found.other[0] < 0.05


def test_frames_that_need_memory_are_nearly_black_or_blurred():
    rgb = moving_frames(1, *SHAPE)[0]
    assert unhinted.needs_memory("a", 0, rgb) is None and unhinted.needs_memory("a", 5, rgb) is None
    detail = float(cv2.Laplacian(rgb, cv2.CV_32F).std())
    for video in "abcdef":
        hard = unhinted.needs_memory(video, 2, rgb)
        assert float(hard.mean()) < 0.1 * rgb.mean() or float(cv2.Laplacian(hard, cv2.CV_32F).std()) < 0.2 * detail
        assert (unhinted.needs_memory(video, 2, rgb) == hard).all()


def test_thin_pieces_are_fingers_and_no_palm_nor_crumbs():
    gripper = np.zeros((480, 640), bool)
    gripper[100:160, 200:300] = True
    gripper[160:220, 210:218] = gripper[160:220, 280:288] = True
    thin = unhinted.thin_pieces(gripper)
    assert thin[170:215, 212:216].all() and thin[170:215, 282:286].all()
    assert not thin[105:150, 205:295].any()
    # The edge of the image makes nothing thin.
    cut = np.zeros((480, 640), bool)
    cut[470:, 100:200] = True
    assert not unhinted.thin_pieces(cut).any()


def test_a_late_hint_changes_nothing_before_its_frame(root):
    (video, _) = read_root(root)
    robotseg = small_robotseg()
    late = measure.late_hints(robotseg, video)
    assert {(one.target, one.protocol) for one in late} == {("robot", "1c"), ("robot", "bb")}
    told = HintedStream(robotseg.stream(), "mask", ("robot",), at=2)
    plain = HintedStream(robotseg.stream(), "auto", ("robot",), at=2)
    same = []
    for index in range(4):
        rgb = video.read_frame(index)
        truth = {"robot": video.read_truth(index, "robot", rgb.shape)}
        (encoded,) = robotseg.encode_frames([rgb])
        same.append(np.array_equal(*(t.step(index, encoded, truth)["robot"] for t in (told, plain))))
    assert same[:3] == [True, True, False]


def test_three_clicks_end_with_the_best_of_their_answers(root):
    (video, _) = read_root(root)
    robotseg = small_robotseg()
    rgb = video.read_frame(0)
    true = video.read_truth(0, "robot", rgb.shape)
    (encoded,) = robotseg.encode_frames([rgb])
    found = {
        hint: HintedStream(robotseg.stream(), hint, ("robot",)).step(0, encoded, {"robot": true})["robot"]
        for hint in ("1c", "3c")
    }
    assert iou(found["3c"], true) >= iou(found["1c"], true)
    with pytest.raises(ValueError, match="3c corrects one alone"):
        HintedStream(robotseg.stream(), "3c", ("arm", "robot"))


def test_a_hint_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="hint is 'wave', must be one of auto, 1c"):
        HintedStream(small_robotseg().stream(), "wave", ("robot",))


def test_without_a_box_the_model_answers_otherwise_and_is_whole_again():
    model = small_model(seed=3).eval()
    features = model.encode(torch.zeros(1, 3, model.config.image_size, model.config.image_size))
    coords, labels = torch.tensor([[[9.0, 9.0]]]), torch.tensor([[1]])
    part = torch.tensor([2])

    def answer():
        one = model.initial(features, 1)
        return model.decode(features, one, part, points=(coords, labels)).logits

    with torch.inference_mode():
        before = answer()
        with without(model, "prompts"):
            assert not torch.equal(answer(), before)
        assert torch.equal(answer(), before)
        looked_up = Memory(
            features=torch.randn(3, 1, model.config.memory_grid**2, model.config.mem_dim),
            time_index=torch.tensor([0]),
            pointers=torch.randn(3, 1, model.config.d_model),
            offsets=torch.tensor([[1.0]]),
            object_tokens=torch.randn(3, 1, model.config.rpg_regions, model.config.d_model),
        )
        edge = torch.zeros(1, 1, model.config.grid, model.config.grid)
        with without(model, "memory"):
            first = model.condition(features, edge, looked_up)
        assert torch.equal(first.image, model.initial(features, 3).image)
        assert not torch.equal(model.condition(features, edge, looked_up).image, first.image)
        memory = torch.randn(1, model.config.grid**2, model.config.mem_dim)
        seen = torch.ones(1, 4 * model.config.grid, 4 * model.config.grid)
        tokens = model.object_tokens(memory, seen)
        with without(model, "rpg"):
            assert torch.equal(model.object_tokens(memory, seen), model.robot_prompt_generator.no_memory(1))
        with without(model, "rpg-noise"):
            assert model.object_tokens(memory, seen).shape == tokens.shape
        assert torch.equal(model.object_tokens(memory, seen), tokens)
        strength = model.memory_attention.layers[0].structure_strength
        with without(model, "structure"):
            assert float(strength) == 0.0
        assert float(strength) != 0.0
    with pytest.raises(ValueError, match="wings"), without(model, "wings"):
        pass
