# SPDX-License-Identifier: Apache-2.0
"""Formats of masks: what is written is what was found, bit for bit, also where nothing was found or known."""

import gzip
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import moving_frames, small_robotseg

from robotseg_core import cli
from robotseg_core.files.formats.choose import make_writer
from robotseg_core.files.formats.coco import read_coco
from robotseg_core.files.formats.labels import LABELS, read_labels
from robotseg_core.files.formats.rle import decode, encode
from robotseg_core.masks.soft import robot_probability
from robotseg_core.stream.postprocess import part_mask
from robotseg_core.stream.stream import Stream
from robotseg_core.types import PARTS, ModelFault, PartMasks, StageTimes, State

pytestmark = pytest.mark.usefixtures("small")

FILES = {"coco": "clip.coco.json", "coco-gz": "clip.coco.json.gz", "labels": "clip_labels.avi"}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "clip"
    path.mkdir()
    for i, frame in enumerate(moving_frames(5)):
        cv2.imwrite(str(path / f"frame{7 * i:03}.png"), frame[..., ::-1])
    return path


def expected():
    stream = small_robotseg().stream()
    return [stream.step(frame) for frame in moving_frames(5)]


def read(kind, path):
    """(name, masks by part or None), whichever the format."""
    if kind != "labels":
        return list(read_coco(path))
    found = []
    for name, labels in read_labels(path):
        parts = {"arm": labels == 1, "gripper": labels == 2, "robot": labels > 0} if labels is not None else None
        found.append((name, parts and {part: mask * np.uint8(255) for part, mask in parts.items()}))
    return found


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None)
def test_run_length_code_comes_back_as_it_was(height, width, share, seed, blocks):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8) * 255
    if blocks:
        mask = np.kron(mask, np.ones((9, 7), np.uint8))
    assert np.array_equal(decode(encode(mask), *mask.shape), mask)


def test_run_length_code_is_that_of_pycocotools():
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    rng = np.random.default_rng(0)
    for share in (0, 0.01, 0.3, 0.99, 1):
        for shape in ((1, 1), (37, 50), (50, 37)):
            mask = np.kron((rng.random(shape) < share).astype(np.uint8), np.ones((5, 8), np.uint8))
            theirs = coco.encode(np.asfortranarray(mask))
            assert encode(mask) == theirs["counts"].decode()
            assert np.array_equal(coco.decode({"size": list(mask.shape), "counts": encode(mask)}), mask)


@pytest.mark.parametrize("code", ["", "0", "zzz", "P", "`", "9" * 50])
def test_run_length_code_that_is_damaged_is_said_to_be(code):
    with pytest.raises(ValueError, match="run-length code"):
        decode(code, 4, 5)


@pytest.mark.parametrize("kind", FILES)
def test_masks_of_a_clip_come_back_exactly(folder, tmp_path, kind):
    out = tmp_path / "out"
    assert cli.main(["segment", str(folder), "--out", str(out), "--no-video", "--format", kind]) == 0
    found = read(kind, out / FILES[kind])
    assert [name for name, _ in found] == [f"frame{7 * i:03}" for i in range(5)]
    for (_, masks), result in zip(found, expected(), strict=True):
        for part in PARTS:
            assert np.array_equal(masks[part], result[part].mask)
    assert not (out / "clip").exists() and not list(out.glob(".*"))


def test_the_same_masks_give_the_same_bytes(folder, tmp_path):
    for out in ("one", "two"):
        formats = [word for kind in FILES for word in ("--format", kind)]
        assert cli.main(["segment", str(folder), "--out", str(tmp_path / out), "--no-video", *formats]) == 0
    for name in (*FILES.values(), "clip_labels.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_coco_is_read_by_pycocotools(folder, tmp_path):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    assert cli.main(["segment", str(folder), "--out", str(tmp_path), "--no-video", "--format", "coco"]) == 0
    read_back = coco.COCO(str(tmp_path / "clip.coco.json"))
    names = {c["id"]: c["name"] for c in read_back.loadCats(read_back.getCatIds())}
    assert list(names.values()) == list(PARTS)
    for number, result in zip(read_back.getImgIds(), expected(), strict=True):
        (said,) = read_back.loadImgs(number)
        assert (folder / said["file_name"]).is_file() and (said["height"], said["width"]) == (60, 80)
        annotations = read_back.loadAnns(read_back.getAnnIds(imgIds=number))
        assert {names[a["category_id"]] for a in annotations} == {p.name for p in result.parts if p.area}
        for annotation in annotations:
            part = result[names[annotation["category_id"]]]
            assert np.array_equal(read_back.annToMask(annotation) * 255, part.mask)
            assert annotation["area"] == part.area and annotation["bbox"] == list(part.roi)


@pytest.mark.parametrize("kind", FILES)
def test_odd_sizes_come_back_exactly(tmp_path, kind):
    mask = (np.random.default_rng(0).random((7, 11)) < 0.5).astype(np.uint8) * 255
    writer = make_writer(kind, tmp_path, "clip", 10.0)
    parts = (part_mask("arm", mask > 0, 1.0), part_mask("gripper", mask > 300, 1.0), part_mask("robot", mask > 0, 1.0))
    writer.write("a", PartMasks(0, State.TRACKING, parts, StageTimes()))
    writer.close()
    ((_, masks),) = read(kind, tmp_path / FILES[kind])
    assert np.array_equal(masks["robot"], mask) and np.array_equal(masks["arm"], mask) and not masks["gripper"].any()


@pytest.mark.parametrize("kind", FILES)
def test_what_is_not_known_is_not_an_empty_mask(folder, tmp_path, kind, monkeypatch, capsys):
    (folder / "frame000.png").write_bytes(b"no image")
    (folder / "frame021.png").write_bytes(b"no image")
    step, calls = Stream.step, []

    def failing(self, frame, stamp=0, **more):
        calls.append(1)
        if len(calls) == 2:
            raise ModelFault("not finite")
        result = step(self, frame, stamp, **more)
        empty = tuple(type(p)(p.name, p.mask * 0, 0.0, False, 0, (0, 0, 0, 0), p.centroid) for p in result.parts)
        return PartMasks(stamp, State.SEARCHING, empty, StageTimes())

    monkeypatch.setattr(Stream, "step", failing)
    assert cli.main(["segment", str(folder), "--out", str(tmp_path / "o"), "--no-video", "--format", kind]) == 1
    found = dict(read(kind, tmp_path / "o" / FILES[kind]))
    assert [name for name, masks in found.items() if masks is None] == ["frame000", "frame014", "frame021"]
    assert not any(mask.any() for masks in found.values() if masks for mask in masks.values())
    assert "not readable, not known: frame000, frame021" in capsys.readouterr().err
    if kind == "labels":
        video = cv2.VideoCapture(str(tmp_path / "o" / FILES[kind]))
        assert video.read()[1].min() == LABELS["not known"]


@pytest.mark.parametrize("kind", FILES)
def test_what_is_there_is_kept_until_it_is_told_to_go(folder, tmp_path, kind, capsys):
    arguments = ["segment", str(folder), "--out", str(tmp_path / "o"), "--no-video", "--format", kind]
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / FILES[kind]).write_bytes(b"mine")
    assert cli.main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "o" / FILES[kind]).read_bytes() == b"mine"
    assert cli.main([*arguments, "--overwrite"]) == 0
    assert len(read(kind, tmp_path / "o" / FILES[kind])) == 5


@pytest.mark.parametrize("kind", FILES)
def test_interrupted_work_leaves_nothing(folder, tmp_path, kind, monkeypatch):
    step, calls = Stream.step, []

    def interrupted(self, *arguments, **more):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(self, *arguments, **more)

    monkeypatch.setattr(Stream, "step", interrupted)
    assert cli.main(["segment", str(folder), "--out", str(tmp_path / "o"), "--no-video", "--format", kind]) == 130
    assert [file.name for file in (tmp_path / "o").iterdir()] == ["clip_contact_sheet.png"]


def test_the_probability_of_the_robot_is_written_beside_others_or_alone(folder, tmp_path):
    arguments = ["segment", str(folder), "--no-video", "--out"]
    assert cli.main([*arguments, str(tmp_path / "alone"), "--format", "probability"]) == 0
    assert cli.main([*arguments, str(tmp_path / "both"), "--soft"]) == 0
    assert [path.name for path in (tmp_path / "alone" / "clip").iterdir()] == ["soft"]
    for i, result in enumerate(expected()):
        written = [tmp_path / out / "clip" / "soft" / f"frame{7 * i:03}.png" for out in ("alone", "both")]
        for path in written:
            grey = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(grey, robot_probability(result))
            assert np.array_equal(grey > 127, result["robot"].mask > 0)
    assert (tmp_path / "both" / "clip" / "002" / "frame000.png").is_file()


def test_a_label_video_needs_frames_of_one_size(folder, tmp_path, capsys):
    cv2.imwrite(str(folder / "frame030.png"), np.zeros((20, 30, 3), np.uint8))
    assert cli.main(["segment", str(folder), "--out", str(tmp_path / "o"), "--no-video", "--format", "labels"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "frame030 is 30 x 20, those before it 80 x 60" in said and not list((tmp_path / "o").glob("clip_labels*"))


def test_files_that_are_damaged_are_said_to_be(tmp_path, monkeypatch):
    for name, content in (
        ("a.coco.json", b"no json"),
        ("b.coco.json", b'{"images": []}'),
        ("c.coco.json.gz", gzip.compress(b"{}")[:-4]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises((ValueError, EOFError), match="is not as"):
            list(read_coco(tmp_path / name))
    huge = {"id": 1, "height": 10**9, "width": 10**9, "valid": True, "frame": "0"}
    (tmp_path / "d.coco.json").write_text(json.dumps({"categories": [], "annotations": [], "images": [huge]}))
    with pytest.raises(ValueError, match="1000000000 x 1000000000, each side must be 1 to 16384"):
        list(read_coco(tmp_path / "d.coco.json"))
    (tmp_path / "e.coco.json.gz").write_bytes(gzip.compress(bytes(1001)))
    monkeypatch.setattr("robotseg_core.files.formats.coco.MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="unpacks to more than 0 MiB"):
        list(read_coco(tmp_path / "e.coco.json.gz"))
    (tmp_path / "y_labels.json").write_text('{"frames": [{}]}')
    with pytest.raises(ValueError, match="is not of a label video: KeyError"):
        list(read_labels(tmp_path / "y_labels.avi"))
    said = {
        "rate_hz": 1,
        "height": 2,
        "width": 2,
        "labels": LABELS,
        "frames": [{"name": "0", "valid": True, "state": "TRACKING"}],
    }
    (tmp_path / "x_labels.json").write_text(json.dumps(said))
    (tmp_path / "x_labels.avi").write_bytes(b"no video")
    with pytest.raises(ValueError, match="cannot be read as a video"):
        list(read_labels(tmp_path / "x_labels.avi"))
    with pytest.raises(ValueError, match="must be one of png, coco"):
        make_writer("tiff", tmp_path, "x", 1.0)
