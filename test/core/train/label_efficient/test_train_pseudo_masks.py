# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_models import small_model
from torch.nn import functional as F
from train_videos import make_videos

from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.sources import DataConfig
from robotseg_core.train.label_efficient.first_frames import FirstFrameClips, FirstFrameStore, palindrome
from robotseg_core.train.label_efficient.frame_features import DinoFeatures, EncoderFeatures, make_extractor
from robotseg_core.train.label_efficient.pseudo_masks import carry, harden, neighbours, propagate


def test_neighbours_lie_within_a_disk():
    near = neighbours(3, 4, radius=1.0)
    assert near.shape == (12, 12)
    # Patch (1, 1) is number 5: itself, above, below, left, right.
    assert near[5].nonzero().flatten().tolist() == [1, 4, 5, 6, 9]


def test_classes_are_mixed_by_the_five_most_similar_patches():
    # Context of six patches at cosines 1, 0.8, 0.6, 0.4, 0.2 and -1; the last is cut off.
    cosines = torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, -1.0])
    context = torch.stack([cosines, (1 - cosines**2).sqrt()], 1)
    classes = F.one_hot(torch.tensor([0, 1, 0, 2, 2, 1]), 3).float()
    got = carry(torch.tensor([[1.0, 0.0]]), [context], [classes], torch.ones(1, 6, dtype=torch.bool))
    weight = [math.exp(c / 0.2) for c in (1.0, 0.8, 0.6, 0.4, 0.2)]
    expected = [weight[0] + weight[2], weight[1], weight[3] + weight[4]]
    torch.testing.assert_close(got[0], torch.tensor(expected) / sum(weight))


def test_ties_with_the_fifth_are_kept_and_far_patches_are_not_seen():
    context = torch.tensor([[1.0, 0.0]]).repeat(8, 1)
    classes = F.one_hot(torch.tensor([0, 0, 0, 0, 1, 1, 1, 2]), 3).float()
    everywhere = torch.ones(1, 8, dtype=torch.bool)
    got = carry(torch.tensor([[1.0, 0.0]]), [context], [classes], everywhere)
    torch.testing.assert_close(got[0], torch.tensor([4.0, 3.0, 1.0]) / 8)
    near = everywhere.clone()
    near[0, :4] = False
    got = carry(torch.tensor([[1.0, 0.0]]), [context], [classes], near)
    torch.testing.assert_close(got[0], torch.tensor([0.0, 3.0, 1.0]) / 4)


def moving_square(frames: int) -> tuple[list[torch.Tensor], list[np.ndarray]]:
    """Features that say what a patch is, and its label, a square that moves to the right."""
    labels = []
    for t in range(frames):
        label = np.zeros((16, 16), np.uint8)
        label[4:9, 2 + t : 5 + t], label[9:12, 2 + t : 5 + t] = 1, 2
        labels.append(label)
    return [F.one_hot(torch.from_numpy(x).long(), 3).float() for x in labels], labels


def test_a_mask_follows_its_features():
    features, labels = moving_square(6)
    soft = list(propagate(features, np.kron(labels[0], np.ones((4, 4), np.uint8))))
    for mixed, label in zip(soft, labels, strict=True):
        torch.testing.assert_close(mixed.sum(-1), torch.ones(16, 16))
        assert np.array_equal(harden(mixed, (16, 16)), label)
    assert harden(soft[-1], (64, 48)).shape == (64, 48)


def test_each_class_is_spread_over_the_frame_before_the_choice():
    # The part is never above a half, but it is the most of its kind where it is 0.4.
    part = torch.tensor([[0.0, 0.4], [0.1, 0.0]])
    soft = torch.stack([1 - part, part, torch.zeros(2, 2)], -1)
    # Background spread: 1, 0, 0.75, 1; part: 0, 1, 0.25, 0; a class that is nowhere divides by zero and counts 0.
    assert harden(soft, (2, 2)).tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize(("frames", "strides"), [(12, {1, 2, 3}), (7, {1, 2}), (4, {1}), (2, {1}), (1, {1})])
def test_palindromes_run_forth_and_back(frames, strides):
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(40):
        index = palindrome(rng, frames, 7)
        assert len(index) == 7 and np.array_equal(index, index[::-1]) and index[0] == 0 and index.max() < frames
        found.add(int(index[1]) if frames > 1 else 1)
    assert found == strides if frames > 3 else found <= {0, 1}
    assert np.array_equal(palindrome(rng, 4, 7), [0, 1, 2, 3, 2, 1, 0])


def test_only_the_first_mask_of_a_video_is_opened(tmp_path):
    root = make_videos(tmp_path / "videos", videos=1)
    extractor = EncoderFeatures(small_model(), side=64)
    store = FirstFrameStore(root, tmp_path / "cache", extractor)
    true_first, others = store.label[0].copy(), store.label[1:].copy()
    for part in ("000", "001", "002"):
        for frame in range(1, 4):
            (root / "mask_gt" / "v0" / part / f"{frame:05d}.png").unlink()
    again = FirstFrameStore(root, tmp_path / "other_cache", extractor)
    assert np.array_equal(again.label[0], true_first) and np.array_equal(again.label[1:], others)
    rng = np.random.default_rng(0)
    frames, labels = again.palindrome(rng, 5)
    assert np.array_equal(frames[0], frames[4]) and np.array_equal(labels[0], true_first)
    assert np.array_equal(labels[4], true_first) and not np.array_equal(frames[0], frames[2])
    frames, labels = again.first(rng, 3)
    assert all(np.array_equal(labels[i], true_first) and np.array_equal(frames[i], frames[0]) for i in range(3))


def test_clips_are_never_composed_by_pseudo_masks(tmp_path):
    root = make_videos(tmp_path / "videos")
    clips = FirstFrameClips(
        DataConfig(videos=(str(root),)),
        AugmentConfig(background=1.0, recolour=1.0, absent=1.0),
        EncoderFeatures(small_model(), side=64),
        kind="let",
        size=64,
        length=5,
        cache=tmp_path / "cache",
    )
    assert (clips.augment.background, clips.augment.recolour, clips.augment.absent) == (0, 0, 0)
    images, labels = clips.draw(np.random.default_rng(1))
    assert images.shape == (5, 64, 64, 3) and labels.shape == (5, 64, 64)


def test_encoder_features_have_unit_length_and_leave_the_model_as_it_was():
    model = small_model()
    model.train()
    extractor = make_extractor("encoder", model)
    features = extractor(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    assert features.shape[:2] == (32, 32) and model.image_encoder.training
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(32, 32))
    model.eval()


def test_dino_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(RuntimeError, match="pip install transformers"):
        make_extractor("facebook/some-dinov3", small_model())


def test_dino_gives_patches_without_its_class_and_register_tokens(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_register_tokens=4
    )
    transformers.DINOv3ViTModel(config).save_pretrained(tmp_path)
    features = DinoFeatures(str(tmp_path), torch.device("cpu"))(np.zeros((30, 40, 3), np.uint8))
    # Short side 960, long side 1280, in patches of 16.
    assert features.shape == (60, 80, 16)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(60, 80))
