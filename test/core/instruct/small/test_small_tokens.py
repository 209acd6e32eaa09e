# SPDX-License-Identifier: Apache-2.0
"""Answers as tokens: whatever the state machine lets through can be read, and reading gives back what was written."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robotseg_core.instruct.prompt_set import Answer
from robotseg_core.instruct.small import tokens as tk
from robotseg_core.instruct.small.tokens import Target, Written, read_answer, to_prompt_set, write_answer

BOX = Target((0.3, 0.4), (0.2, 0.25, 0.5, 0.7), ((0.35, 0.5, 1), (0.45, 0.3, 0)))


def drawn(seed, count=64):
    """Random answers: every allowed token alike."""
    generator = torch.Generator().manual_seed(seed)
    reading = tk.start(count, torch.device("cpu"))
    rows = []
    for _ in range(tk.MAX_TOKENS):
        token = torch.multinomial(tk.allowed(reading).float(), 1, generator=generator)[:, 0]
        rows.append(token)
        reading = tk.advance(reading, token)
    assert bool((reading.place == tk.DONE).all()), "no answer is longer than MAX_TOKENS"
    return torch.stack(rows, 1)


@pytest.mark.parametrize("seed", range(3))
def test_every_random_answer_can_be_read_and_becomes_prompts(seed):
    ops = set()
    for row in drawn(seed).tolist():
        written = read_answer(row)
        ops.add(written.op)
        prompts = to_prompt_set(written, (64, 48))
        assert (prompts.answer is Answer.FOUND) == bool(written.targets)
        assert prompts.invert == (written.op == "invert")
        for instance in prompts.instances:
            x0, y0, x1, y1 = instance.box
            assert 0 <= x0 < x1 <= 63 and 0 <= y0 < y1 <= 47
            assert len(instance.points) <= tk.MAX_ANSWER_POINTS
        assert {"one": len(written.targets) == 1, "many": len(written.targets) >= 2}.get(written.op, True)
    assert ops == set(tk.OPS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.02, 0.98), min_size=6, max_size=6))
def test_boxes_come_back_nearly_as_they_were(numbers):
    x0, x1 = sorted(numbers[:2])
    y0, y1 = sorted(numbers[2:4])
    place = (x0 + numbers[4] * (x1 - x0), y0 + numbers[5] * (y1 - y0))
    (back,) = read_answer(write_answer("one", "arm", [Target(place, (x0, y0, x1, y1))])).targets
    # Half a square of the place, and half a step of the distance, which grows with it.
    for got, want in zip(back.box, (x0, y0, x1, y1), strict=True):
        assert abs(got - want) < 0.5 / 48 + 0.045
    np.testing.assert_allclose(back.place, place, atol=0.5 / 48 + 1e-9)


def test_answers_come_back():
    for op, targets in (("one", [BOX]), ("many", [BOX, BOX]), ("invert", [BOX]), ("none", []), ("unknown", [])):
        written = read_answer(write_answer(op, "gripper", targets))
        assert (written.op, len(written.targets)) == (op, len(targets))
        if targets:
            assert written.part == "gripper"
            assert [label for _, _, label in written.targets[0].points] == [1, 0]


@pytest.mark.parametrize(("op", "targets"), [("one", []), ("many", [BOX]), ("none", [BOX]), ("invert", [BOX] * 5)])
def test_op_and_targets_must_fit(op, targets):
    with pytest.raises(ValueError, match=f"'{op}' with {len(targets)} targets"):
        write_answer(op, "arm", targets)


def test_distances_are_their_own_inverse_and_finer_where_short():
    steps = [float(tk.to_distance(i)) for i in range(tk.DISTANCES)]
    assert [tk.to_step(d) for d in steps] == list(range(tk.DISTANCES))
    assert steps[0] == 0 and steps[-1] == pytest.approx(1)
    assert np.all(np.diff(steps, 2) > 0)


def test_what_the_machine_does_not_allow_is_refused():
    with pytest.raises(ValueError, match="cannot follow"):
        read_answer([tk.END])
    with pytest.raises(ValueError, match="has no end"):
        read_answer(write_answer("one", "arm", [BOX])[:-1])


def test_instances_go_from_left_to_right():
    right = Target((0.8, 0.5), (0.7, 0.4, 0.9, 0.6))
    prompts = to_prompt_set(Written("many", "arm", (right, BOX)), (100, 100))
    assert [round(i.box[0]) for i in prompts.instances] == [20, 70]
