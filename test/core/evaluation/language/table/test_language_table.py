# SPDX-License-Identifier: Apache-2.0
"""The table of comparisons: who is blind sees nothing, who is shuffled reads another's words, seeds are averaged."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from language_sets import write_scene
from script_modules import script
from small_models import policy_base

from robotseg_core.evaluation.language.answers import true_prompts
from robotseg_core.evaluation.language.referring import interval, score_request
from robotseg_core.evaluation.language.sets import RenderedSet
from robotseg_core.evaluation.language.structure import s_measure, s_of_masks
from robotseg_core.evaluation.language.table import contestants as who
from robotseg_core.evaluation.language.table.boxes import average_boxes, instance_boxes, leaf_boxes
from robotseg_core.evaluation.language.table.contest import Scored, hold_contest
from robotseg_core.evaluation.language.table.figures import differences_of, figures_of
from robotseg_core.evaluation.language.table.pages import choose_pictures, markdown
from robotseg_core.instruct.prompt_set import Answer, Instance, PromptSet, View
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.segmenter import predicted_iou
from robotseg_core.instruct.small.network import NetworkConfig, SmallNetwork
from robotseg_core.instruct.small.policy import SmallPolicy, SmallWeights, save_policy
from robotseg_core.stream.postprocess import part_masks
from robotseg_core.stream.prompting import decode
from robotseg_core.synth.requests.generate import SceneRequest, requests_of_set
from robotseg_core.types import PartMasks, StageTimes, State

NETWORK = NetworkConfig(features=64, words=256, width=24, heads=2, frame_layers=1, joint_layers=1, decoder_layers=1)
TWO = [(20, "orange", 0.9, None), (220, "white", 0.1, None)]
BASE = "cd" * 32


@pytest.fixture(scope="module")
def robotseg():
    return policy_base(BASE)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    for video, robots in (("a", TWO), ("b", TWO[:1])):
        write_scene(folder, robots, [(190, "box", "blue")], video=video)
    return folder


@pytest.fixture(scope="module")
def requests(root):
    return list(requests_of_set(root, each=5))


class Writes:
    """A policy that notes what it is shown and given to read, and answers with a box."""

    name, reads_features = "writes", True

    def __init__(self):
        self.read, self.seen = [], []

    def look(self, encoded, parts):
        return float(encoded.features.f16.sum())

    def answer(self, request, view):
        self.read.append(request.text)
        self.seen.append(view.features)
        return PromptSet(Answer.FOUND, (Instance((10, 10, 100, 100)),), part="arm")


def test_the_blind_are_shown_another_video_and_the_shuffled_read_another_request(robotseg, root, requests):
    sees, blind, shuffled, fixed = (Writes() for _ in range(4))
    texts = who.shuffled_texts(requests, seed=1)
    contest = hold_contest(
        robotseg,
        RenderedSet(root),
        requests,
        [
            who.Reads("sees", sees),
            who.Reads("blind", blind, blind=True),
            who.Reads("shuffled", shuffled, texts.__getitem__),
            who.Reads("fixed", fixed, lambda one: "robot"),
        ],
    )
    assert sees.read == [one.text for one in requests] and set(fixed.read) == {"robot"}
    assert None not in blind.seen
    assert shuffled.read == [texts[one] for one in requests] and shuffled.read != sees.read
    assert contest.frames == 2 and {len(scored) for scored in contest.scored} == {len(requests)}
    assert [s.score.iou for s in contest.scored[0]] == [s.score.iou for s in contest.scored[3]]


def test_nobody_is_blind_with_one_video_alone(robotseg, root, requests):
    alone = [one for one in requests if one.video == "a"]
    with pytest.raises(ValueError, match="no frame of another video has been shown before a"):
        hold_contest(robotseg, RenderedSet(root), alone, [who.Reads("x", Writes(), blind=True)])
    with pytest.raises(ValueError, match="no request"):
        hold_contest(robotseg, RenderedSet(root), [], [])


def test_blind_sees_the_video_before(robotseg, root):
    """Frames of one video after another: what is seen is of the last frame of the video before, never of its own."""

    class Numbers(Writes):
        def look(self, encoded, parts):
            return encoded

    def empty_masks(height, width):
        masks = part_masks(np.full((3, 4, 4), -9, np.float32), np.zeros(3, np.float32), height, width)
        return PartMasks(0, State.TRACKING, masks, StageTimes())

    policy = Numbers()
    reads = who.Reads("blind", policy, blind=True)
    one = SceneRequest("a", 0, "x", "part", "known", "arm", (1,), (), 1, False, False)
    for video, shown, want in (("b", "b1", None), ("a", "a0", "b1"), ("a", "a1", "b1"), ("b", "b0", "a1")):
        rgb = np.zeros((4, 4, 3), np.uint8)
        frame = who.Looked(video, 0, rgb, np.zeros((4, 4), np.uint16), shown, empty_masks(4, 4))
        reads.look(frame)
        if want:
            reads.answers([one], frame)
            assert policy.seen[-1] == want


def test_masks_of_another_video_are_stretched_to_the_frame():
    masks = part_masks(np.full((3, 4, 4), 9, np.float32), np.ones(3, np.float32), 8, 6)
    other = who._of_size(PartMasks(0, State.TRACKING, masks, StageTimes()), 20, 30)
    assert [part.mask.shape for part in other.parts] == [(20, 30)] * 3
    assert [part.area for part in other.parts] == [round(p.area / 48 * 600) for p in masks]


def test_shuffled_requests_stay_with_their_part_and_come_from_another_video():
    def one(video, text, kind="arm", invert=False):
        return SceneRequest(video, 0, text, "side", "known", kind, (1,), (), 1, invert, False)

    requests = [
        one("a", "1"),
        one("b", "2"),
        one("c", "3", "gripper"),
        one("a", "4", "robot", True),
        one("b", "5", "robot"),
    ]
    texts = who.shuffled_texts(requests, seed=0)
    assert [texts[r] for r in requests] == ["2", "1", "3", "4", "5"]


def test_the_told_know_the_part_and_the_truth(robotseg, root, requests):
    boxes = {part: (0.1, 0.2, 0.5, 0.6) for part in ("arm", "gripper", "robot")}
    told = who.told(boxes, seed=3)
    assert [one.row for one in told] == ["random box", "average box", "category", "true box", "true box + points"]
    assert [one.row for one in who.told(None, seed=3)] == ["random box", "category", "true box", "true box + points"]
    answers = {one.row: [] for one in told}
    rgb, ids = RenderedSet(root).frame("a", 0)
    (encoded,) = robotseg.encode_frames([rgb])
    frame = who.Looked("a", 0, rgb, ids, encoded, robotseg.stream().step_encoded(encoded.again()))
    present = [one for one in requests if one.video == "a" and one.target]
    for one in present:
        for contestant in told:
            answers[contestant.row] += contestant.answers([one], frame)
    assert answers["average box"][0].instances[0].box == pytest.approx((29.9, 39.8, 149.5, 119.4))
    assert [a.part for a in answers["random box"]] == [one.kind for one in present]
    assert len({a.instances[0].box for a in answers["random box"]}) == len(present)
    for one, answer in zip(present, answers["true box + points"], strict=True):
        assert len(answer.instances) == len(one.instances)
        for instance in answer.instances:
            assert all(ids[int(y), int(x)] in one.target for x, y in instance.points)
            assert instance.labels == (1,) * len(instance.points) and instance.points


def test_true_boxes_are_of_each_instance():
    ids = np.zeros((20, 40), np.uint16)
    ids[2:8, 3:9], ids[10:18, 20:36] = 1, 2
    both = SceneRequest("v", 0, "both", "order", "known", "arm", (1, 2), (), 2, False, True, ((1,), (2,)))
    boxes = {i.box for i in true_prompts(ids, both, points=0).instances}
    assert boxes == {(3, 2, 8, 7), (20, 10, 35, 17)}
    # Of requests of before instances are not known.
    (one,) = true_prompts(ids, dataclasses.replace(both, instances=()), points=2).instances
    assert one.box == (3, 2, 35, 17) and len(one.points) == 2
    assert true_prompts(ids, dataclasses.replace(both, target=(), instances=()), points=1).answer is Answer.NONE


def test_best_of_takes_what_most_say_and_the_segmenter_likes_best(monkeypatch):
    def found(x, invert=False):
        return PromptSet(Answer.FOUND, (Instance((x, 0, x + 5, 5)),), invert=invert)

    drawn = [PromptSet(Answer.NONE), found(1), found(2), found(3), found(9, invert=True)]
    liked = {1: 0.2, 2: 0.9, 3: 0.5}
    monkeypatch.setattr(
        who,
        "predicted_iou",
        lambda *given: [liked[a.instances[0].box[0]] if a.instances else float("nan") for a in given[2]],
    )

    class Draws(Writes):
        def draw_all(self, requests, view, count, generator):
            assert count == 5 and len(requests) == 2
            return [drawn, [PromptSet(Answer.NOT_UNDERSTOOD)] * 5]

    best = who.BestOf("x", Draws(), None, count=5, seed=0)
    one = SceneRequest("a", 0, "x", "part", "known", "arm", (1,), (), 1, False, False)
    frame = who.Looked("a", 0, np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16), None, None)
    liked_best, nothing = best.answers([one, one], frame)
    assert liked_best.instances[0].box[0] == 2 and nothing.answer is Answer.NOT_UNDERSTOOD
    drawn[2:4] = [PromptSet(Answer.NONE)] * 2
    assert best.answers([one, one], frame)[0].answer is Answer.NONE


def test_predicted_iou_is_the_decoders(robotseg):
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    (encoded,) = robotseg.encode_frames([rgb])
    box = Instance((5, 6, 40, 50))
    clicked = Instance((20, 6, 40, 50), ((25.0, 20.0),), (1,))
    answers = [
        PromptSet(Answer.FOUND, (box,), part="arm"),
        PromptSet(Answer.FOUND, (clicked, box), part="arm"),
        PromptSet(Answer.NONE),
    ]
    first, second, none = predicted_iou(robotseg, encoded, answers)
    model = robotseg.model
    with torch.inference_mode():
        wanted = []
        for xy, labels in (([(5, 6), (40, 50)], [2, 3]), ([(20, 6), (40, 50), (25, 20)], [2, 3, 1])):
            coords = torch.tensor(np.array(xy) * (384 / 80, 384 / 60), dtype=torch.float32)[None]
            points = (coords, torch.tensor([labels]))
            one = model.initial(encoded.features, 1)
            wanted.append(float(decode(model, encoded.features, one, torch.tensor([0]), points=points).iou))
    assert first == pytest.approx(wanted[0], abs=1e-5) and second == pytest.approx(np.mean(wanted), abs=1e-5)
    assert np.isnan(none)


def test_s_measure_of_masks_is_the_s_measure():
    rng = np.random.default_rng(0)
    for _ in range(300):
        shape = rng.integers(1, 14, 2)
        mask, truth = (rng.random(shape) < rng.choice([0, 0.1, 0.5, 1]) for _ in range(2))
        assert s_of_masks(mask, truth) == pytest.approx(s_measure(mask.astype(float), truth), abs=1e-12)
    with pytest.raises(ValueError, match="must be the same"):
        s_of_masks(np.zeros((2, 3), bool), np.zeros((3, 2), bool))


def test_requests_are_answered_together_as_they_are_alone(robotseg, root, requests):
    torch.manual_seed(0)
    policy = SmallPolicy(SmallWeights(SmallNetwork(NETWORK).eval(), {"arm": 1}, (BASE,)))
    rgb, _ = RenderedSet(root).frame("a", 0)
    (encoded,) = robotseg.encode_frames([rgb])
    parts = robotseg.stream().step_encoded(encoded.again())
    view = View(rgb, parts, policy.look(encoded, parts))
    asked = [Request.of(one.text) for one in requests]
    alone = [policy.answer(one, view).raw for one in asked]
    assert [answer.raw for answer in policy.answer_all(asked, view)] == alone
    drawn = policy.draw_all(asked, view, 4, torch.Generator().manual_seed(0))
    assert [len(several) for several in drawn] == [4] * len(asked)
    again = policy.draw_all(asked, view, 4, torch.Generator().manual_seed(0))
    assert [[a.raw for a in several] for several in drawn] == [[a.raw for a in several] for several in again]
    assert len({a.raw for several in drawn for a in several}) > 4


def scored(scene, iou, boxes=1, absent=False):
    truth, mask = np.zeros((2, 10, 10), bool)
    if not absent:
        truth[:] = True
        mask.ravel()[: round(100 * iou)] = True
    score = score_request(mask, truth, None, scene=scene, family="side", said_none=absent)
    return Scored(score, boxes, 2 * boxes, 5.0)


def test_seeds_are_averaged_and_differences_are_paired():
    requests = [
        SceneRequest(v, 0, v, "side", split, "arm", (1,), (2,), 1, False, split == "known")
        for v, split in (("a", "known"), ("a", "phrasing"), ("b", "known"), ("c", "known"))
    ]
    methods = {
        "x": [[scored(r.video, v) for r in requests] for v in (0.5, 0.7)],
        "y": [[scored(r.video, 0.2 if r.video == "a" else 0.4) for r in requests]],
        "true box": [[scored(r.video, 0.8) for r in requests]],
    }
    rows = {(r.group, r.row): r for r in figures_of(requests, methods)}
    x = rows["all", "x"]
    assert (x.seeds, x.summary.count, x.least, x.most) == (2, 4, pytest.approx(0.5), pytest.approx(0.7))
    assert x.summary.giou == pytest.approx(0.6) and x.share["giou"] == pytest.approx(0.75)
    assert x.summary.over_half == 0.5 and (x.boxes, x.points, x.ms) == (1, 2, 5)
    assert rows["all", "true box"].share["s"] == 1
    assert rows["split phrasing", "y"].summary.count == 1 and ("phrasing, needs language", "y") not in rows
    (difference, *_) = differences_of(requests, methods, [("x", "y")])
    assert difference.group == "all" and difference.giou == pytest.approx(0.3)
    # Of scenes alone: their gains are .4, .2 and .2, and no draw can leave that.
    assert 0.199 < difference.low < 0.3 < difference.high < 0.401
    with pytest.raises(ValueError, match="'z' is not among the methods 'x', 'y', 'true box'"):
        differences_of(requests, methods, [("x", "z")])
    text = markdown(list(rows.values()), [difference])
    assert "60.0" in text and "75.0" in text and "nan" not in text and "x - y" in text


def test_an_interval_is_of_scenes_not_of_requests():
    low, high = interval(["a"] * 50 + ["b"] * 50, [0.0] * 50 + [1.0] * 50)
    assert (low, high) == (0, 1)


def test_average_boxes_are_of_instances(root):
    frames = RenderedSet(root)
    ids = frames.frame("a", 0)[1]
    found = instance_boxes(frames.asked("a", 0), leaf_boxes(ids))
    arms = sorted(box for kind, box in found if kind == "arm")
    assert arms == [pytest.approx((20 / 300, 0.5, 50 / 300, 0.95)), pytest.approx((220 / 300, 0.5, 250 / 300, 0.95))]
    assert average_boxes(found)["arm"] == pytest.approx((0.4, 0.5, 0.5, 0.95))
    with pytest.raises(ValueError, match="none of part 'gripper'"):
        average_boxes([("arm", (0, 0, 1, 1))])


def test_pictures_are_of_many_families(requests):
    chosen = choose_pictures(requests, 4)
    assert len(chosen) == 4 == len({requests[i].family for i in chosen})
    assert len(choose_pictures(requests, 99)) == len(requests)


@pytest.fixture(scope="module", name="script")
def language_table():
    return script("language_table")


def test_the_script_writes_table_scores_and_pictures(script, robotseg, root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "load_model", lambda arguments: robotseg)
    policies = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        file = tmp_path / f"{seed}.safetensors"
        save_policy(file, SmallWeights(SmallNetwork(NETWORK), {"arm": 1, "left": 2}, (BASE,)))
        policies.append(f"tiny={file}")
    free = tmp_path / "free.jsonl"
    free.write_text(
        '{"text": "arm it is, the left one", "phrasing": "side", "kind": "arm", "slots": {"side": "left"}}\n'
    )
    out = tmp_path / "out"
    words = [str(root), "--policies", *policies, "--each", "3", "--boxes", str(root), "--best-of", "3"]
    script.main([*words, "--free", str(free), "--compare", "tiny", "rules", "--pictures", "3", "--out", str(out)])
    report = json.loads((out / "table.json").read_text())
    (one,) = report["sets"]
    rows = {(row["group"], row["row"]): row for row in one["rows"]}
    wanted = ["random box", "average box", "category", "rules", "tiny", "tiny, text-blind", "tiny, image-blind",
              "tiny, shuffled", "tiny, best of 3", "true box", "true box + points"]  # fmt: skip
    assert [row for group, row in rows if group == "all"] == wanted
    assert rows["all", "tiny"]["seeds"] == 2 and rows["split free", "tiny"]["count"] >= 1
    assert one["frames"] == 2 and one["differences"][0]["first"] == "tiny"
    scores = list(csv.DictReader((out / f"0-{root.name}-scores.csv").open()))
    assert len(scores) == one["requests"] * (len(wanted) + 5)
    assert (out / f"0-{root.name}-sheet.jpg").is_file() and "| tiny | 2 |" in (out / "table.md").read_text()
    assert "s of CPU a frame" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="NAME=FILE"):
        script.main([str(root), "--policies", "x"])
