# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_packs import SIDE, small_pictures

from robotseg_core.config import NANO
from robotseg_core.train.hinted import hints
from robotseg_core.train.hinted.clips import motion
from robotseg_core.train.hinted.clips.compose import Pool, compose, sampling_grid
from robotseg_core.train.hinted.clips.draw import Clips, Drawer, Program, program
from robotseg_core.train.hinted.clips.photograph import compressed, photograph
from robotseg_core.train.hinted.clips.targets import CATEGORIES
from robotseg_core.train.hinted.learn import rows_of_clips
from robotseg_core.train.hinted.packs.catalogue import Catalogue
from robotseg_core.train.hinted.packs.files import Pictures
from robotseg_core.train.hinted.probe import plain_clips
from robotseg_core.train.hinted.settings import HINTS, Shares, Stage

CPU = torch.device("cpu")
WHAT = Program(96, HINTS, 1, 0, -1, 16)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return small_pictures(tmp_path_factory.mktemp("packs"))


@pytest.fixture(scope="module")
def pool(pictures: Pictures) -> Pool:
    return Pool(pictures, CPU)


def drawn(pictures: Pictures, seed: int, count: int = 4, length: int = 4, what: Program = WHAT) -> Clips:
    return Drawer(Catalogue(pictures.videos), Shares()).draw(what, count, length, np.random.default_rng(seed))


def test_the_same_seed_draws_the_same_clips(pictures: Pictures) -> None:
    one, two, other = drawn(pictures, 1), drawn(pictures, 1), drawn(pictures, 2)
    for field in dataclasses.fields(Clips):
        assert np.array_equal(getattr(one, field.name), getattr(two, field.name)), field.name
    assert not np.array_equal(one.matrix, other.matrix)


def test_programs_keep_to_their_stage() -> None:
    stage = Stage(1.0, (64, 128), (2, 5), 40, rows=3)
    for seed in range(50):
        what, count, length = program(stage, np.random.default_rng(seed))
        assert what.size in (64, 128) and length in (2, 5)
        assert 0 <= what.hint_frame < length and what.late < length
        assert what.late == -1 or what.late > what.hint_frame
        assert count * length <= 40 * (4 if what.size == 64 else 1)
        assert len(what.hints) == 3


def test_frames_as_they_are_show_the_picture_and_its_parts(pictures: Pictures, pool: Pool) -> None:
    clips = plain_clips(np.array([[0, 1]]), pictures.videos, [1])
    scene = compose(clips, pool, SIDE)
    assert torch.allclose(scene.images[1] * 255, pool.rgb[SIDE][1].float(), atol=1e-2)
    rows = rows_of_clips(clips, scene, Program(SIDE, ("click",), 0, 0, -1, 16))
    part = torch.from_numpy(pictures.part[1])
    for row, values in enumerate(((1,), (2,), (1, 2), (2,))):
        truth = torch.isin(part, torch.tensor(values)).float()
        cells = torch.nn.functional.avg_pool2d(truth[None, None], 4)[0, 0]
        assert (rows.truth[row, 1] - cells).abs().mean() < 0.02
    assert rows.weight.min() == 1
    unknown = plain_clips(np.array([[pictures.videos[3].first + 1]]), pictures.videos, [])
    assert rows_of_clips(unknown, compose(unknown, pool, SIDE), Program(SIDE, (), 0, 0, -1, 16)).weight.max() == 0


def test_masks_are_warped_as_their_pictures_are(pictures: Pictures, pool: Pool) -> None:
    clips = plain_clips(np.zeros((1, 1), np.int64), pictures.videos, [])
    rng = np.random.default_rng(5)
    clips.matrix[0, 0] = motion.camera(rng, np.zeros(1), np.array([-0.3, 0.2]), moving=1.0)
    clips.bend[0, 0] = motion.bend(rng, np.zeros(1), 0.03)
    scene = compose(clips, pool, SIDE)
    # The arm of this video is the only red thing.
    bgr = scene.images[0].flip(0)
    red = (bgr[2] > 0.55) & (bgr[1] < 0.4) & (bgr[0] < 0.4)
    arm = rows_of_clips(clips, scene, Program(SIDE, (), 0, 0, -1, 16)).truth[0, 0] > 0.5
    cells = torch.nn.functional.avg_pool2d(red[None, None].float(), 4)[0, 0] > 0.5
    assert arm.sum() > 10
    assert (arm & cells).sum() / (arm | cells).sum() > 0.8


def test_a_move_is_undone_by_its_matrix() -> None:
    centre, scale, anchor = np.array([0.3, -0.2]), np.array([-2.0, 1.5]), np.array([0.1, 0.4])
    matrix = motion.inverse(centre, scale, 0.4, anchor)
    source = np.array([-0.5, 0.7])
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    out = centre + turn @ (scale * (source - anchor))
    assert matrix @ [*out, 1] == pytest.approx(source)
    grid = sampling_grid(torch.eye(2, 3)[None], torch.zeros(1, 2, 4, 4), 4)
    assert torch.allclose(grid[0, 0, :, 0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))


def test_rows_without_a_hint_show_all_robots_and_nothing_else(pictures: Pictures, pool: Pool) -> None:
    clips = drawn(pictures, 3, count=12)
    scene = compose(clips, pool, 96)
    rows = rows_of_clips(clips, scene, WHAT)
    truth = rows.truth.unflatten(0, (-1, 12))
    assert torch.allclose(truth[0] + truth[1], truth[2], atol=1e-6), "robot is arm and gripper"
    label = (scene.code % 3).view(12, 4, 48, 48)
    whole = torch.nn.functional.avg_pool2d((label > 0).float(), 2)
    assert torch.equal(whole, truth[2])
    assert truth[2].any() and not truth[2].flatten(1).any(1).all(), "some clips have a robot, some none"


def test_hinted_rows_show_what_they_are_hinted_at(pictures: Pictures, pool: Pool) -> None:
    clips = drawn(pictures, 4, count=40)
    rows = rows_of_clips(clips, compose(clips, pool, 96), WHAT)
    truth, off = rows.truth.unflatten(0, (-1, 40)), rows.off.unflatten(0, (-1, 40))
    known = rows.weight.unflatten(0, (-1, 40))
    category = rows.category.unflatten(0, (-1, 40))
    differs = 0
    for row, hint in enumerate(HINTS, 3):
        assert (off[row] * (truth[row, :, 1] > 0.5)).max() == 0, "a negative click is never on the target"
        # Before the hint a row is its category's.
        for b in range(40):
            assert torch.equal(truth[row, b, 0], truth[category[row, b], b, 0])
        visible = hints.visible(off[row] if hint == "negative" else truth[row, :, 1])
        assert not known[row, ~visible, 1:].any(), "what is not seen is not asked for"
        own = torch.stack([truth[category[row, b], b, 1] for b in range(40)])
        differs += int(((own - truth[row, :, 1]).abs().flatten(1).sum(1) > 5).sum())
    assert differs > 60, "the category alone does not tell what is meant"


def test_a_negative_click_on_a_robot_takes_that_robot_away(pictures: Pictures, pool: Pool) -> None:
    what = Program(96, ("negative",), 0, 0, -1, 16)
    clips = drawn(pictures, 5, count=60, length=1, what=what)
    rows = rows_of_clips(clips, compose(clips, pool, 96), what)
    truth, off, category = (x.unflatten(0, (4, 60)) for x in (rows.truth[:, 0], rows.off, rows.category))
    removed = kept = 0
    for b in range(60):
        whole = truth[category[3, b], b]
        assert (truth[3, b] <= whole + 1e-6).all()
        overlap = float(torch.minimum(off[3, b], whole).sum())
        removed += overlap > 2
        kept += overlap == 0 and float(off[3, b].sum()) > 2
        if overlap > 2:
            assert float((whole - truth[3, b]).sum()) > 1
    assert removed > 5 and kept > 5


def test_twins_are_told_apart(pictures: Pictures, pool: Pool) -> None:
    drawer = Drawer(Catalogue(pictures.videos), Shares(layers=(1.0, 1.0, 0.0), twin=1.0))
    clips = drawer.draw(Program(96, ("click",), 0, 0, -1, 16), 12, 2, np.random.default_rng(0))
    assert np.array_equal(clips.frames[:, 1], clips.frames[:, 2])
    assert np.array_equal(clips.cut_id[:, 1], clips.cut_id[:, 2])
    assert not np.allclose(clips.matrix[:, 1], clips.matrix[:, 2])
    # Only one of them is meant.
    owners = clips.want_owner[:, 3]
    assert not (owners[:, 1] & owners[:, 2] & (owners.sum(1) == 2)).any()


def test_bad_frames_come_after_the_hint_alone(pictures: Pictures, pool: Pool) -> None:
    drawer = Drawer(Catalogue(pictures.videos), Shares(bad=1.0))
    clips = drawer.draw(WHAT, 4, 4, np.random.default_rng(0))
    assert not clips.bad[:, :2].any() and clips.bad[:, 2:].all()
    scene = compose(clips, pool, 96)
    seen = photograph(scene.images, clips, WHAT, torch.Generator().manual_seed(0))
    assert seen.min() >= 0 and seen.max() <= 1
    dark = torch.from_numpy(clips.bad.ravel() == 1)
    assert seen[dark].mean() < 0.1
    again = photograph(scene.images, clips, WHAT, torch.Generator().manual_seed(0))
    assert torch.equal(seen, again)


def test_compression_keeps_the_picture_and_loses_detail() -> None:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fine, coarse = compressed(x, torch.full((2,), 1e-4)), compressed(x, torch.full((2,), 0.5))
    assert torch.allclose(fine, x, atol=2e-3)
    assert coarse.std() < 0.5 * x.std()
    assert coarse.mean() == pytest.approx(float(x.mean()), abs=0.05)


# ------------------------------------------------------------------------------------------------ hints
def blob(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    out = torch.zeros(len(boxes), 24, 24)
    for one, (x0, y0, x1, y1) in zip(out, boxes, strict=True):
        one[y0:y1, x0:x1] = 1
    return out


def cells(coords: torch.Tensor) -> torch.Tensor:
    return ((coords + 0.5) / hints.STRIDE).long()


def test_points_lie_where_they_should() -> None:
    truth, off = blob((3, 4, 9, 12), (14, 2, 20, 6)), blob((15, 15, 20, 20), (2, 2, 6, 6))
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        for hint, count in (("click", 1), ("box", 2), ("clicks", 3), ("negative", 1)):
            coords, labels = hints.points(hint, truth, off, generator)
            assert coords.shape == (2, count, 2) and labels.shape == (2, count)
            for row in range(2):
                for (x, y), label in zip(cells(coords)[row].tolist(), labels[row].tolist(), strict=True):
                    if label == 1:
                        assert truth[row, y, x] == 1
                    elif label == 0:
                        assert truth[row, y, x] == 0
                    else:
                        assert label in (2, 3)
            if hint == "negative":
                assert all(off[row, y, x] == 1 for row, ((x, y),) in enumerate(cells(coords).tolist()))


def test_a_box_is_the_targets_or_a_little_off() -> None:
    truth = blob((3, 4, 9, 12)).repeat(200, 1, 1)
    coords, labels = hints.points("box", truth, torch.zeros_like(truth), torch.Generator().manual_seed(0))
    assert labels.tolist() == [[2, 3]] * 200
    exact = torch.tensor([[12.0, 16.0], [36.0, 48.0]])
    error = (coords - exact).abs()
    assert (error.flatten(1).sum(1) == 0).float().mean() > 0.3
    assert (error[:, :, 0] <= 2.41).all() and (error[:, :, 1] <= 3.21).all()


def test_what_is_not_seen_gets_no_points() -> None:
    for hint in ("click", "box", "clicks", "negative"):
        nothing = torch.zeros(1, 24, 24)
        _, labels = hints.points(hint, nothing, nothing, torch.Generator().manual_seed(0))
        assert (labels == -1).all()


def test_a_correction_is_on_the_error() -> None:
    truth = blob((4, 4, 12, 12), (4, 4, 12, 12), (4, 4, 12, 12))
    found = blob((4, 4, 8, 12), (4, 4, 20, 12), (4, 4, 12, 12)) > 0
    coords, labels = hints.correction(found, truth, torch.Generator().manual_seed(0))
    assert labels[:, 0].tolist() == [1, 0, -1]
    for row in (0, 1):
        x, y = cells(coords)[row, 0].tolist()
        assert found[row, y, x] != (truth[row, y, x] > 0.5)


def test_a_wrong_mask_is_mended_by_its_click() -> None:
    truth, off = blob((4, 4, 12, 12)).repeat(60, 1, 1), blob((14, 14, 20, 20)).repeat(60, 1, 1)
    logits, (coords, labels) = hints.wrong_mask(truth, off, torch.Generator().manual_seed(0))
    mask = logits[:, 0] > 0
    kinds = set()
    for row in range(60):
        x, y = cells(coords)[row, 0].tolist()
        label = int(labels[row, 0])
        kinds.add(label)
        if label == 0:
            assert off[row, y, x] == 1 and (mask[row] & (off[row] > 0)).sum() > 20
        elif label == 1:
            assert truth[row, y, x] == 1 and mask[row].sum() < 64
    assert {0, 1} <= kinds


def test_categories_are_those_of_the_class_tokens() -> None:
    assert CATEGORIES[2] == tuple(a or b for a, b in zip(CATEGORIES[0], CATEGORIES[1], strict=True))
    assert NANO.name == "nano"
