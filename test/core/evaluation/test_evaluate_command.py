# SPDX-License-Identifier: Apache-2.0
"""robotseg eval on a small model: layouts, protocols, report, errors."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from small_models import moving_frames

from robotseg_core import cli
from robotseg_core.evaluation import runner
from robotseg_core.evaluation.dataset import choose, embodiment, read_root
from robotseg_core.evaluation.protocols import PROTOCOLS

pytestmark = pytest.mark.usefixtures("small")

SHAPE = (60, 80)


def write_mask(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), mask.astype(np.uint8) * 255)


def write_video(root, name, masks, *, images="image", meta=None):
    """Moving frames with one mask each; None: not annotated.  Arm is the upper half of the robot."""
    for i, (frame, robot) in enumerate(zip(moving_frames(len(masks), *SHAPE), masks, strict=True)):
        (root / images / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / images / name / f"{i:05d}.jpg"), frame[..., ::-1])
        if robot is None:
            continue
        arm = robot & (np.arange(SHAPE[0])[:, None] < 30)
        for folder, mask in (("000", arm), ("001", robot & ~arm), ("002", robot)):
            write_mask(root / "mask_gt" / name / folder / f"{i:05d}.png", mask)
    if meta:
        (root / "mask_gt" / name / "meta.json").write_text(json.dumps(meta))


def box(top=20, left=20):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + 20, left : left + 30] = True
    return mask


NOTHING = np.zeros(SHAPE, bool)


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "set"
    write_video(path, "franka_0001", [NOTHING, box(), box(22), box(24)])
    write_video(path, "ur5_0001", [box(), None, box(22)], meta={"arm": "ur5e"})
    write_video(path, "hands_0001", [NOTHING, None, None])
    return path


def report_of(out):
    return json.loads((out / "report.json").read_text())


def test_every_protocol_on_videos(root, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["eval", str(root), "--out", str(out), "--protocol", ",".join(PROTOCOLS), "--save-masks"]
    assert cli.main(arguments) == 0
    report = report_of(out)
    assert set(report["results"]) == set(PROTOCOLS)
    for protocol, result in report["results"].items():
        # franka and ur5e have three parts each, the video without a robot has no object.
        assert result["all"]["objects"] == 6, protocol
        assert {name: parts["robot"]["objects"] for name, parts in result["embodiments"].items()} == {
            "franka": 1,
            "hands": 0,
            "ur5e": 1,
        }
        assert 0 <= result["all"]["J&F"] <= 100
    videos = {video["video"]: video for video in report["videos"]}
    assert videos["ur5_0001"]["annotated"] == 2 and videos["ur5_0001"]["frames"] == 3
    # Sessions begin with the first frame that shows the part, the stream counts what it sees before.
    frames = {o["protocol"]: [f["frame"] for f in o["per_frame"]] for o in videos["franka_0001"]["objects"]}
    assert frames["auto"] == frames["oi"] == ["00001", "00002", "00003"]
    # All frames of a video without a robot count for false pixels, only by the stream, which needs no start.
    false = {f["protocol"]: f["frames"] for f in videos["hands_0001"]["false_robot_pixels"]}
    assert false == {"stream": 3}
    masks = sorted(p.name for p in (out / "masks" / "auto" / "franka_0001" / "002").iterdir())
    assert masks == ["00001.png", "00002.png", "00003.png"]
    assert set(np.unique(cv2.imread(str(out / "masks" / "stream" / "ur5_0001" / "000" / "00001.png"), -1))) <= {0, 255}
    text = (out / "report.md").read_text()
    for name in ("embodiments.png", "time.png", "oi_worst.jpg"):
        assert name in text and cv2.imread(str(out / name)) is not None
    assert "| franka" in text
    assert "| oi" in capsys.readouterr().out


def test_the_streams_own_answers_score_100(root, tmp_path):
    cli.main(["eval", str(root), "--out", str(tmp_path / "first"), "--save-masks"])
    for video in ("franka_0001", "ur5_0001"):
        for mask in (tmp_path / "first" / "masks" / "stream" / video).rglob("*.png"):
            target = root / "mask_gt" / video / mask.parent.name / mask.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(mask.read_bytes())
    cli.main(["eval", str(root), "--out", str(tmp_path / "second")])
    whole = report_of(tmp_path / "second")["results"]["stream"]
    assert whole["all"]["J&F"] == 100.0 and whole["parts"]["robot"]["objects"] == 2


def test_single_annotated_frames_are_scored_by_iou_alone(tmp_path, capsys):
    write_video(tmp_path / "clips", "clip", [None, box(), None], images="frames")
    assert cli.main(["eval", str(tmp_path / "clips"), "--out", str(tmp_path / "out"), "--no-memory"]) == 0
    scores = report_of(tmp_path / "out")["results"]["stream"]["parts"]["robot"]
    assert scores["J&F"] is None and scores["F"] is None and scores["J"] is not None
    assert "time.png" not in (tmp_path / "out" / "report.md").read_text()


def test_without_masks_of_the_robot_it_is_arm_and_gripper_together(tmp_path):
    write_video(tmp_path, "v", [box(), box(22)])
    truth = tmp_path / "mask_gt" / "v"
    for file in truth.glob("002/*.png"):
        file.unlink()
    (truth / "001" / "00001.png").unlink()
    (video,) = read_root(tmp_path)
    assert np.array_equal(video.read_truth(0, "robot", SHAPE), box())
    # Where one of the two is not known the whole is not.
    assert video.read_truth(1, "robot", SHAPE) is None
    assert video.shows_robot() is True
    write_mask(truth / "002" / "00000.png", box(4))
    assert np.array_equal(read_root(tmp_path)[0].read_truth(0, "robot", SHAPE), box(4))


@pytest.mark.parametrize("flat", [True, False])
def test_images_are_scored_one_by_one(tmp_path, flat):
    root = tmp_path / "images"
    (root / "image").mkdir(parents=True)
    for i, frame in enumerate(moving_frames(3, *SHAPE)):
        cv2.imwrite(str(root / "image" / f"xarm_{i}.jpg"), frame)
        write_mask(root / "mask_gt" / ("" if flat else "002") / f"xarm_{i}.png", box(10 + i))
    assert cli.main(["eval", str(root), "--out", str(tmp_path / "out"), "--protocol", "stream,3c"]) == 0
    report = report_of(tmp_path / "out")
    for result in report["results"].values():
        assert result["parts"]["robot"]["objects"] == 3 and result["parts"]["arm"]["objects"] == 0
    assert {video["embodiment"] for video in report["videos"]} == {"xarm"}


def test_what_was_scored_is_reported_when_a_later_video_fails(root, tmp_path, capsys):
    (root / "image" / "ur5_0001" / "00001.jpg").write_bytes(b"no image")
    assert cli.main(["eval", str(root), "--out", str(tmp_path / "out")]) == 2
    assert "00001.jpg cannot be read" in capsys.readouterr().err
    assert [video["video"] for video in report_of(tmp_path / "out")["videos"]] == ["franka_0001", "hands_0001"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line.get("video") for line in lines] == [None, "franka_0001", "hands_0001"]


def test_refinement_leaves_the_first_frame_and_the_stream_alone(root, tmp_path, monkeypatch):
    refined = []

    def spy(mask, rgb):
        refined.append(mask)
        return mask

    monkeypatch.setattr(runner, "refine", spy)
    run = ["eval", str(root), "--parts", "robot", "--out", str(tmp_path / "out")]
    cli.main([*run, "--protocol", "stream,auto"])
    # ur5: frames 1 and 2; franka starts at frame 1: three.
    assert len(refined) == 5
    cli.main([*run, "--protocol", "auto", "--no-refine", "--hygiene", "off"])
    assert (
        "--protocol auto --parts robot --no-refine --hygiene off --precision"
        in (tmp_path / "out" / "report.md").read_text()
    )
    assert len(refined) == 5


def test_errors_name_the_value(root, tmp_path, capsys):
    def error(*arguments):
        try:
            assert cli.main(["eval", *map(str, arguments)]) == 2
        except SystemExit as stop:
            assert stop.code == 2
        return capsys.readouterr().err

    (tmp_path / "none" / "image").mkdir(parents=True)
    assert "neither image/ nor frames/" in error(tmp_path)
    assert "no images and no folders" in error(tmp_path / "none")
    assert "'2c' is none of stream, auto" in error(root, "--protocol", "auto,2c")
    assert "'hand' is none of arm" in error(root, "--parts", "hand")
    assert "limit is 0" in error(root, "--limit", 0)
    assert "--no-memory" in error(root, "--no-memory", "--protocol", "auto")
    assert "--robustness" in error(root, "--robustness", "--save-masks")
    (tmp_path / "again" / "masks").mkdir(parents=True)
    assert "would be mixed" in error(root, "--save-masks", "--out", tmp_path / "again")
    cv2.imwrite(str(root / "mask_gt" / "franka_0001" / "000" / "00000.png"), np.zeros((5, 6), np.uint8))
    assert "6 x 5, its frame is 80 x 60" in error(root, "--out", tmp_path / "out")
    write_video(tmp_path / "blind", "clip", [None])
    assert "no masks" in error(tmp_path / "blind")


def test_a_limit_takes_as_many_robots_as_possible(tmp_path):
    for name in ("franka_1", "franka_2", "franka_3", "ur5_1", "ur5_2", "xarm_1"):
        write_video(tmp_path, name, [box()])
    videos = read_root(tmp_path)
    assert [video.name for video in choose(videos, 3)] == ["franka_1", "ur5_1", "xarm_1"]
    assert [video.name for video in choose(videos, 4)] == ["franka_1", "franka_2", "ur5_1", "xarm_1"]
    assert choose(videos, None) == choose(videos, 9) == videos


@pytest.mark.parametrize(
    "name, want",
    [
        ("franka_0012", "franka"),
        ("hello-stretch_3_a", "hello-stretch"),
        ("ur5_umi", "ur5_umi"),
        ("xarm7_02", "xarm7"),
        ("0001", "unknown"),
    ],
)
def test_embodiment_of_a_name(name, want):
    assert embodiment(name) == want
