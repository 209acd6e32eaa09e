# SPDX-License-Identifier: Apache-2.0
"""Training pictures: labels move with their pixels, draws repeat, what covers a robot is background."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import torch
from train_videos import make_videos

from robotseg_core.train.data import sources as train_data
from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.batches import BatchStream
from robotseg_core.train.data.prompts import NUMBERS
from robotseg_core.train.data.sources import STORE_SIZE, CutoutStore, DataConfig, MixedClips
from robotseg_core.train.losses import PARTS


def clips(tmp_path, *, augment=None, length=2):
    data = DataConfig(videos=(str(tmp_path / "videos"),), photo_share=0.2)
    return MixedClips(data, augment or AugmentConfig(), size=64, length=length, cache=tmp_path / "cache")


def stream(tmp_path, **arguments):
    return BatchStream(clips(tmp_path), batch=2, seed=3, **arguments)


def test_data_is_aligned_after_augmentation_and_repeats_by_seed(tmp_path):
    make_videos(tmp_path / "videos")
    source = clips(tmp_path, augment=AugmentConfig(background=0, recolour=0, occlude=0, blur=0, noise=0, jpeg=0))
    gaps = []
    for n in range(12):
        images, labels = source.draw(np.random.default_rng(n))
        same, _ = source.draw(np.random.default_rng(n))
        assert images.shape == (2, 64, 64, 3) and labels.shape == (2, 64, 64) and images.dtype == np.uint8
        assert np.array_equal(images, same)
        gray = images.mean(-1)
        if (labels == 1).sum() > 50 and (labels == 2).sum() > 50:
            gaps.append(float(gray[labels == 1].mean() - gray[labels == 2].mean()))
    # The arm is drawn bright and the gripper dark: labels moved with their pixels.
    assert gaps and min(gaps) > 20


def test_batches_do_not_depend_on_interruptions_workers_and_processes(tmp_path):
    make_videos(tmp_path / "videos")
    whole = list(itertools.islice(stream(tmp_path), 4))
    images, labels, numbers = whole[0]
    assert images.shape == (2, 2, 3, 64, 64) and labels.shape == (2, 2, 64, 64) and images.dtype == torch.uint8
    assert numbers.shape == (2, PARTS, NUMBERS) and 0 <= float(numbers.min()) and float(numbers.max()) < 1
    for a, b in zip(next(iter(stream(tmp_path, start=3))), whole[3], strict=True):
        assert torch.equal(a, b)
    loader = torch.utils.data.DataLoader(stream(tmp_path), batch_size=None, num_workers=2)
    for batch, expected in zip(itertools.islice(loader, 4), whole, strict=True):
        assert torch.equal(batch[0], expected[0])
    for rank in range(2):
        shares = list(itertools.islice(stream(tmp_path, rank=rank, world=2), 4))
        for share, expected in zip(shares, whole, strict=True):
            assert torch.equal(share[0], expected[0][rank : rank + 1])
    with pytest.raises(ValueError, match="multiple of the number of processes, 3"):
        stream(tmp_path, world=3)


def test_missing_mask_is_named(tmp_path):
    root = make_videos(tmp_path / "videos")
    gone = root / "mask_gt" / "v1" / "001" / "00002.png"
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=r"v1.001.00002\.png"):
        clips(tmp_path)


ROBOT, THING = (slice(60, 140), slice(60, 140)), (slice(200, 350), slice(100, 300))
"""Patches of the cut-out: a robot's arm in red, and a green thing that is none."""


def make_cutouts(folder, *, alpha_of_robot=255):
    """One shard with one cut-out."""
    folder.mkdir()
    rgb = np.zeros((1, STORE_SIZE, STORE_SIZE, 3), np.uint8)
    label, alpha = (np.zeros((1, STORE_SIZE, STORE_SIZE), np.uint8) for _ in range(2))
    rgb[0][ROBOT], label[0][ROBOT], alpha[0][ROBOT] = (200, 0, 0), 1, alpha_of_robot
    rgb[0][THING], alpha[0][THING] = (0, 200, 0), 255
    for name, array in (("rgb", rgb), ("label", label), ("alpha", alpha)):
        np.save(folder / f"{name}_000.npy", array)
    return folder


@pytest.mark.parametrize("alpha_of_robot", [255, 0])
def test_a_cutout_covers_with_its_robots_and_with_what_stands_beside_them(tmp_path, alpha_of_robot):
    store = CutoutStore(make_cutouts(tmp_path / "cutouts", alpha_of_robot=alpha_of_robot))
    rgb, label, covers = store.sample(np.random.default_rng(0))
    assert rgb.shape == (STORE_SIZE, STORE_SIZE, 3) and covers.dtype == bool
    expected = np.zeros((STORE_SIZE, STORE_SIZE), bool)
    expected[ROBOT] = expected[THING] = True
    assert np.array_equal(covers, expected)
    assert (label[ROBOT] == 1).all() and label.sum() == label[ROBOT].size


def test_what_a_cutout_covers_is_in_the_picture_and_hides_the_robot_under_it(tmp_path, monkeypatch):
    make_videos(tmp_path / "videos")
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "wall.jpg"), np.full((480, 480, 3), 100, np.uint8))
    settings = DataConfig(
        videos=(str(tmp_path / "videos"),),
        cutouts=str(make_cutouts(tmp_path / "cutouts")),
        photos=str(tmp_path / "photos"),
        cutout_share=1.0,
        photo_share=0.0,
    )
    # As it is put together, before it is warped and coloured.
    monkeypatch.setattr(train_data, "augment_clip", lambda frames, labels, *_: (frames, labels))
    source = MixedClips(settings, AugmentConfig(), size=STORE_SIZE, length=2, cache=tmp_path / "cache")
    robot, thing = np.zeros((2, STORE_SIZE, STORE_SIZE), bool)
    robot[ROBOT] = thing[THING] = True
    inside = cv2.erode(thing.astype(np.uint8), np.ones((9, 9))) > 0
    over_photo = over_robot = 0
    for seed in range(12):
        images, labels = source.draw(np.random.default_rng(seed))
        assert images.shape == (2, STORE_SIZE, STORE_SIZE, 3) and labels.shape == images.shape[:3]
        red, green, blue = images[0].astype(int)[inside].T
        assert (green > 60).all() and (red < 30).all() and (blue < 30).all()
        assert (labels[0][robot] == 1).all()
        # The gripper of every frame, and the lower end of the arm, lie under the thing.
        assert not labels[0][thing].any() and not (labels[0] == 2).any()
        if (labels[0][~robot & ~thing] == 1).any():
            over_robot += 1
        else:
            over_photo += 1
    assert over_photo and over_robot
