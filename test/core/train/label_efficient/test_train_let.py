# SPDX-License-Identifier: Apache-2.0
"""Each term of LET against a case worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from robotseg_core.model.mask_decoder import Candidates, choose
from robotseg_core.stream.prompting import Decoded
from robotseg_core.train.label_efficient.let_losses import cycle_loss, embed, let_losses, patch_loss, semantic_loss
from robotseg_core.train.losses import structure_loss
from robotseg_core.train.settings import LetWeights, Phase
from robotseg_core.train.unroll import FrameResult, competing

LN2 = math.log(2)


def test_cycle_takes_the_candidate_of_the_least_focal_and_dice():
    truth = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    # Candidate 0 knows nothing; candidate 1 is right everywhere by a logit of 2.
    logits = torch.stack([torch.zeros(2, 2), 2 * (2 * truth[0] - 1)])[None]
    ious = torch.tensor([[0.9, 0.25]])
    p = 1 / (1 + math.exp(-2.0))
    # Probability of the truth is p in each of four cells: focal = mean(alpha_t) (1 - p)^2 (-ln p).
    focal = (0.25 + 3 * 0.75) / 4 * (1 - p) ** 2 * -math.log(p)
    dice = 1 - (2 * p + 1) / (p + 3 * (1 - p) + 1 + 1)
    # Its mask is exact, so its IoU is 1 and was predicted 0.25; the other candidate's 0.9 does not count.
    expected = 5 * focal + dice + 0.75 + LN2
    assert float(cycle_loss(logits, ious, torch.zeros(1), truth)) == pytest.approx(expected, rel=1e-5)


def test_cycle_of_an_absent_part_teaches_the_score_alone():
    truth = torch.zeros(2, 2, 2)
    truth[1, 0, 0] = 1
    logits = torch.zeros(2, 1, 2, 2)
    score = torch.tensor([3.0, -1.0], requires_grad=True)
    loss = cycle_loss(logits, torch.full((2, 1), 0.25), score, truth)
    # Second row: focal = 0.625 / 4 ln 2, dice = 1 - 2 / 4, IoU of nothing above 0 is 0; mean over two rows.
    mask = 5 * 0.625 * 0.25 * LN2 + 0.5 + 0.25
    present = (math.log(1 + math.exp(3.0)) + math.log(1 + math.exp(1.0))) / 2
    assert float(loss.detach()) == pytest.approx(mask / 2 + present, rel=1e-5)
    loss.backward()
    assert score.grad is not None and score.grad[0] > 0 > score.grad[1]


def test_semantic_is_the_angle_between_mean_features():
    # Left half of the map has feature (1, 0), right half (0, 1).
    f16 = torch.zeros(1, 2, 2, 2)
    f16[0, 0, :, 0] = f16[0, 1, :, 1] = 1
    left, whole = torch.zeros(1, 32, 32), torch.ones(1, 32, 32)
    left[..., :16] = 1
    anchor = embed(f16, left)
    torch.testing.assert_close(anchor, torch.tensor([[1.0, 0.0]]))
    assert float(semantic_loss(f16, left, anchor)) == pytest.approx(0, abs=1e-6)
    # The whole picture's mean is (1/2, 1/2), at 45 degrees.
    assert float(semantic_loss(f16, whole, anchor)) == pytest.approx(1 - math.sqrt(0.5), rel=1e-5)
    assert float(semantic_loss(f16, whole - left, anchor)) == pytest.approx(1)


def test_semantic_moves_features_and_mask():
    f16 = torch.rand(1, 4, 2, 2, requires_grad=True)
    probability = torch.rand(1, 32, 32, requires_grad=True)
    semantic_loss(f16, probability, embed(f16, torch.ones(1, 32, 32))).sum().backward()
    assert f16.grad is not None and f16.grad.abs().sum() > 0
    assert probability.grad is not None and probability.grad.abs().sum() > 0


def test_patch_is_soft_iou_of_stride_16_cells():
    probability, pseudo = torch.zeros(1, 32, 32), torch.zeros(1, 32, 32)
    probability[:, :16, :16], probability[:, :16, 16:] = 0.5, 1.0
    pseudo[:, :16] = 1
    # Cells: p = (0.5, 1, 0, 0), t = (1, 1, 0, 0): I = 1.5, U = 1 + 1.
    assert float(patch_loss(probability, pseudo)) == pytest.approx(1 - 1.5 / 2, rel=1e-5)
    # Only the four central pixels of a cell count: no antialias.
    border = torch.zeros(1, 32, 32)
    border[:, :7] = 1
    assert float(patch_loss(border, pseudo)) == pytest.approx(1, rel=1e-5)
    assert float(patch_loss(torch.zeros(1, 32, 32), torch.zeros(1, 32, 32))) == pytest.approx(0)


def test_structure_wants_the_outline_at_the_size_of_the_mask():
    truth = torch.zeros(1, 4, 4)
    truth[:, :, 2:] = 1
    # A straight edge: |Laplacian| is 3 in the columns beside it, 0 elsewhere; over its maximum 1 and 0.
    half = structure_loss(torch.zeros(1, 2, 2, 2), truth)
    assert float(half) == pytest.approx(0.5, rel=1e-5)
    right = torch.tensor([-20.0, 20.0, 20.0, -20.0]).expand(1, 1, 4, 4)
    assert float(structure_loss(right, truth)) == pytest.approx(0, abs=1e-5)
    assert float(structure_loss(-right, truth)) == pytest.approx(1, rel=1e-5)


def decoding(logit: float, *, multimask: bool = True) -> Decoded:
    candidates = Candidates(
        logits=torch.full((3, 4, 8, 8), logit),
        ious=torch.full((3, 4), 0.5),
        object_logit=torch.zeros(3),
        tokens=torch.zeros(3, 4, 4),
    )
    choice = choose(candidates, multimask=multimask)
    return Decoded(choice.logits, choice.token, candidates.object_logit, choice.iou, candidates, choice, multimask)


def palindrome(passes: int = 1) -> tuple[list[FrameResult], list[Tensor], Tensor]:
    results = [FrameResult((decoding(1.0),) * (passes if t == 0 else 1), torch.zeros(3, 1, 2, 2)) for t in range(5)]
    masks = torch.zeros(3, 5, 32, 32)
    masks[:, :, :16] = 1
    return results, [torch.rand(3, 4, 2, 2, generator=torch.Generator().manual_seed(t)) for t in range(5)], masks


def test_terms_fall_on_their_frames():
    results, f16, masks = palindrome()
    losses = let_losses(results, f16, masks, LetWeights())
    assert set(losses) == {"first", "cycle", "semantic", "patch", "structure"}
    one = cycle_loss(torch.full((3, 3, 32, 32), 1.0), torch.full((3, 3), 0.5), torch.zeros(3), masks[:, 0])
    torch.testing.assert_close(losses["first"], one)
    torch.testing.assert_close(losses["cycle"], one)
    p = 1 / (1 + math.exp(-1.0))
    # Three frames between, each: two of four cells hold the part.
    assert float(losses["patch"]) == pytest.approx(3 * (1 - 2 * p / (2 + 2 * p)), rel=1e-4)
    # Corrections are decodings of their own: the first frame is counted once for each.
    again = let_losses(*palindrome(passes=4), LetWeights())
    torch.testing.assert_close(again["first"], 4 * one)
    torch.testing.assert_close(again["semantic"], losses["semantic"])


def test_a_weight_of_zero_leaves_its_term_out_and_the_first_frame_stays():
    results, f16, masks = palindrome()
    for name in ("cycle", "semantic", "patch", "structure"):
        losses = let_losses(results, f16, masks, LetWeights(**{name: 0.0}))
        assert set(losses) == {"first", "cycle", "semantic", "patch", "structure"} - {name}
    doubled = let_losses(results, f16, masks, LetWeights(patch=2.0))
    torch.testing.assert_close(doubled["patch"], 2 * let_losses(results, f16, masks, LetWeights())["patch"])


def test_parts_that_the_first_frame_lacks_have_no_mask_terms():
    results, f16, masks = palindrome()
    losses = let_losses(results, f16, torch.zeros_like(masks), LetWeights(structure=0))
    assert float(losses["semantic"]) == float(losses["patch"]) == 0
    assert float(losses["cycle"]) == pytest.approx(LN2)


def test_where_all_masks_are_true_every_frame_is_taught_as_the_last():
    results, f16, masks = palindrome()
    losses = let_losses(results, f16, masks, LetWeights(), all_true=True)
    assert set(losses) == {"first", "cycle", "structure"}
    torch.testing.assert_close(losses["cycle"], 4 * losses["first"])


def test_single_mask_decodings_have_one_candidate():
    single = decoding(0.0, multimask=False)
    assert single.candidates.logits[:, competing(single)].shape[1] == 1
    assert single.candidates.logits[:, competing(decoding(0.0))].shape[1] == 3


def test_a_palindrome_has_a_middle():
    with pytest.raises(ValueError, match="length of a let phase is 6"):
        Phase("let", steps=1, length=6)
