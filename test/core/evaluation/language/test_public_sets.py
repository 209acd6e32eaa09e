# SPDX-License-Identifier: Apache-2.0
"""Layouts of published sets on tiny made folders, and their scores."""

import json
import pickle

import cv2
import numpy as np
import pytest
from small_models import small_robotseg

from robotseg_core import cli
from robotseg_core.evaluation.language.public import command
from robotseg_core.evaluation.language.public.foregrounds import read_foregrounds
from robotseg_core.evaluation.language.public.reasonseg import read_reasonseg
from robotseg_core.evaluation.language.public.refcoco import coco_mask, read_refcoco
from robotseg_core.instruct.prompt_set import Answer, Instance, PromptSet

SQUARE = [2, 2, 9, 2, 9, 7, 2, 7]


def picture(path, size=(20, 30), value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


@pytest.fixture
def refcoco(tmp_path):
    root = tmp_path / "refcoco+"
    root.mkdir()
    refs = [
        {"ref_id": 5, "ann_id": 1, "image_id": 7, "split": "val",
         "sentences": [{"sent_id": 0, "sent": "the left one"}, {"sent_id": 1, "sent": "man in red"}]},
        {"ref_id": 6, "ann_id": 2, "image_id": 7, "split": "testA", "sentences": [{"sent_id": 2, "sent": "cup"}]},
    ]  # fmt: skip
    (root / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    annotations = [{"id": 1, "segmentation": [SQUARE]}, {"id": 2, "segmentation": {"size": [20, 30], "counts": "0X1"}}]
    doc = {"annotations": annotations, "images": [{"id": 7, "height": 20, "width": 30, "file_name": "a.jpg"}]}
    (root / "instances.json").write_text(json.dumps(doc))
    picture(tmp_path / "images" / "a.jpg")
    return root


def test_every_sentence_of_refcoco_is_a_sample(refcoco, tmp_path):
    samples = read_refcoco(refcoco, "val", images=tmp_path / "images")
    assert [(s.name, s.text) for s in samples] == [("5-0", "the left one"), ("5-1", "man in red")]
    truth = samples[0].truth()
    assert truth.shape == (20, 30) and truth[2:8, 2:10].all() and truth.sum() == 6 * 8
    with pytest.raises(ValueError, match=r"no sentence in split 'test'; it has \['testA', 'val'\]"):
        read_refcoco(refcoco, "test", images=tmp_path)
    with pytest.raises(ValueError, match="say whose division"):
        read_refcoco(tmp_path, "val", images=tmp_path)


def test_a_pickle_that_wants_to_run_code_is_refused(refcoco, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    (refcoco / "refs(unc).p").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(ValueError, match="it wants to run"):
        read_refcoco(refcoco, "val", images=tmp_path)
    assert not (tmp_path / "owned").exists()


def packed(runs):
    """Run lengths as COCO packs them, written from the format's description."""
    text = ""
    for i, run in enumerate(runs):
        value = run - (runs[i - 2] if i > 2 else 0)
        more = True
        while more:
            code, value = value & 0x1F, value >> 5
            more = value != (-1 if code & 0x10 else 0)
            text += chr((code | (0x20 if more else 0)) + 48)
    return text


@pytest.mark.parametrize("pack", [list, packed])
def test_run_lengths(pack):
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:7] = 1
    mask[5, 0] = 1
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    assert np.array_equal(coco_mask({"size": [6, 8], "counts": pack(runs)}, (6, 8)), mask)


@pytest.fixture
def reasonseg(tmp_path):
    shapes = [
        {"label": "target", "points": [[2, 2], [20, 2], [20, 15], [2, 15]]},
        {"label": "ignore", "points": [[5, 5], [9, 5], [9, 9], [5, 9]]},
        {"label": "flag", "points": [[0, 0], [29, 0], [29, 19]]},
    ]
    picture(tmp_path / "x.jpg")
    (tmp_path / "x.json").write_text(
        json.dumps({"text": ["What would you drink from?"], "is_sentence": True, "shapes": shapes})
    )
    picture(tmp_path / "y.jpg")
    doc = {"text": ["The Cup"], "is_sentence": False, "shapes": shapes[:1]}
    (tmp_path / "y.json").write_bytes(json.dumps({**doc, "note": "caf\u00e9"}, ensure_ascii=False).encode("cp1252"))
    return tmp_path


def test_reasonseg_paints_from_large_to_small(reasonseg):
    question, phrase = read_reasonseg(reasonseg)
    assert (question.text, phrase.text) == ("What would you drink from?", "the cup")
    truth = question.truth()
    assert truth[3, 3] == 1 and truth[7, 7] == 255 and truth[18, 28] == 0 and truth[0, 15] == 0
    (reasonseg / "y.json").unlink()
    with pytest.raises(ValueError, match=r"has no y\.json beside it"):
        read_reasonseg(reasonseg)


LAYOUTS = {
    "cod10k": ("Test/Image", "Test/GT_Object"),
    "camo": ("Images/Test", "GT"),
    "duts": ("DUTS-TE-Image", "DUTS-TE-Mask"),
    "dis5k": ("im", "gt"),
}


def foreground(root, layout):
    pictures, masks = (root / name for name in LAYOUTS[layout])
    masks.mkdir(parents=True)
    for name in ("COD10K-CAM-1", "COD10K-NonCAM-2"):
        picture(pictures / f"{name}.jpg")
        mask = np.zeros((20, 30), np.uint8)
        mask[4:12, 5:20] = 255
        cv2.imwrite(str(masks / f"{name}.png"), mask)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_foregrounds(tmp_path, layout):
    samples = read_foregrounds(foreground(tmp_path, layout), layout)
    assert len(samples) == (1 if layout == "cod10k" else 2)
    assert samples[0].truth().sum() == 8 * 15
    (tmp_path / LAYOUTS[layout][1] / f"{samples[0].name}.png").unlink()
    with pytest.raises(ValueError, match="has no mask"):
        read_foregrounds(tmp_path, layout)


def test_another_layout_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has not the folders of duts: DUTS-TE-Image/ with DUTS-TE-Mask/"):
        read_foregrounds(tmp_path, "duts")


class Fixed:
    name, reads_features = "fixed", False

    def __init__(self, answer):
        self._answer = answer

    def look(self, encoded, parts):
        return None

    def answer(self, request, view):
        return self._answer


def test_every_sample_is_scored(reasonseg, tmp_path):
    mask = np.zeros((20, 30), bool)
    mask[2:16, 2:21] = True
    robotseg = small_robotseg()
    found = Fixed(PromptSet(Answer.FOUND, (Instance((0, 0, 1, 1), mask=mask),)))
    scores, foregrounds = command.measure(robotseg, found, read_reasonseg(reasonseg), foreground=False)
    # What is to be ignored counts neither for nor against.
    assert [s.iou for s in scores] == [1.0, 1.0] and not foregrounds
    nothing = Fixed(PromptSet(Answer.NOT_UNDERSTOOD))
    samples = read_foregrounds(foreground(tmp_path / "f", "duts"), "duts")
    scores, foregrounds = command.measure(robotseg, nothing, samples, foreground=True)
    assert [s.iou for s in scores] == [0, 0] and len(foregrounds) == 2
    assert foregrounds[0]["MAE"] == pytest.approx(8 * 15 / 600)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load_model", lambda arguments: small_robotseg())
    root = foreground(tmp_path, "duts")
    arguments = ["eval-public", "duts", str(root), "--policy", "rules", "--out", str(tmp_path / "out"), "--limit", "1"]
    assert cli.main(arguments) == 0
    row = json.loads((tmp_path / "out" / "public.json").read_text())
    assert (row["samples"], row["of"], row["policy"], row["giou"]) == (1, 2, "rules", 0)
    assert "1 of 2 samples" in capsys.readouterr().out
    assert cli.main(["eval-public", "refcoco", str(root)]) == 2
    assert "needs --images" in capsys.readouterr().err
