# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from tiny_base import TINY

from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.session import Frame, Session, encode_frame
from robotseg_core.weights.seeded import OBJECT_BIAS, load_golden_weights


@pytest.fixture(scope="module")
def model() -> RobotSegModel:
    model = RobotSegModel(TINY).eval()
    load_golden_weights(model, 3)
    return model


@pytest.fixture(scope="module")
def frames(model: RobotSegModel) -> list[Frame]:
    torch.manual_seed(0)
    with torch.inference_mode():
        return [encode_frame(model, torch.randn(1, 3, 128, 128)) for _ in range(12)]


@pytest.fixture(autouse=True)
def inference() -> None:
    with torch.inference_mode():
        yield


CLICK = torch.tensor([[40.0, 50.0]]), torch.tensor([1])


def track(session: Session, frames: list[Frame], first: int, last: int) -> None:
    for index in range(first, last + 1):
        session.track(index, frames[index])


def test_tracking_before_a_prompt_is_refused(model: RobotSegModel, frames: list[Frame]) -> None:
    session = Session(model, 0)
    assert not session.ready
    with pytest.raises(RuntimeError, match="prompted"):
        session.track(0, frames[0])


def test_memory_slots_and_time_codes(model: RobotSegModel, frames: list[Frame]) -> None:
    session = Session(model, 2)
    session.prompt_auto(0, frames[0])
    looked_up = []
    for index in range(9):
        output = session.track(index, frames[index])
        if output.trace is not None:
            looked_up.append(output.trace.memory)
    assert [memory.features.shape[1] for memory in looked_up] == [1, 2, 3, 4, 4, 4, 4, 4]
    # One row per slot: the conditioning frame has the last one, then oldest to newest.
    assert looked_up[0].time_index.tolist() == [3]
    assert looked_up[-1].time_index.tolist() == [3, 2, 1, 0]
    # Five pointers: the conditioning one, then newest to oldest; its offset grows without bound.
    torch.testing.assert_close(looked_up[-1].offsets, torch.tensor([[8.0, 1, 2, 3, 4]]) / 4)


def test_short_clips_divide_pointer_offsets_by_their_length(model: RobotSegModel, frames: list[Frame]) -> None:
    session = Session(model, 2, video_length=3)
    session.prompt_auto(0, frames[0])
    track(session, frames, 0, 1)
    memory = session.track(2, frames[2]).trace.memory
    torch.testing.assert_close(memory.offsets, torch.tensor([[2.0, 1]]) / 2)


def test_nothing_grows_without_bound(model: RobotSegModel, frames: list[Frame]) -> None:
    session = Session(model, 2)
    session.prompt_auto(0, frames[0])
    for index in range(60):
        session.track(index, frames[index % len(frames)])
    assert len(session.memory.others) == 5 and len(session._tracked) <= 6 and not session._pending


def test_first_click_has_three_candidates_two_clicks_one(model: RobotSegModel, frames: list[Frame]) -> None:
    session = Session(model, 1)
    assert session.prompt_points(0, frames[0], *CLICK).trace.multimask
    two = torch.tensor([[40.0, 50.0], [80.0, 90.0]])
    assert not session.prompt_points(0, frames[0], two, torch.tensor([1, 0])).trace.multimask
    assert not session.prompt_points(0, frames[0], two, torch.tensor([2, 3])).trace.multimask


def test_the_next_click_sees_the_mask_of_the_last(model: RobotSegModel, frames: list[Frame]) -> None:
    session = Session(model, 1)
    first = session.prompt_points(0, frames[0], *CLICK)
    again = session.prompt_points(0, frames[0], *CLICK)
    assert not torch.equal(first.logits, again.logits)


def test_malformed_clicks_are_refused(model: RobotSegModel, frames: list[Frame]) -> None:
    with pytest.raises(ValueError, match=r"\[n, 2\]"):
        Session(model, 1).prompt_points(0, frames[0], torch.zeros(2, 2), torch.tensor([1]))


def test_a_mask_is_taken_as_it_is(model: RobotSegModel, frames: list[Frame]) -> None:
    mask = torch.zeros(64, 64)
    mask[16:40, 8:32] = 1
    session = Session(model, 1)
    output = session.prompt_mask(0, frames[0], mask)
    assert output.logits.shape == (1, 32, 32) and output.object_logit.item() == 10
    assert (output.logits > 0).sum() == 12 * 12
    session.track(0, frames[0])
    assert session.track(1, frames[1]).trace.memory.features.shape[1] == 1


def test_an_empty_mask_means_absent(model: RobotSegModel, frames: list[Frame]) -> None:
    output = Session(model, 1).prompt_mask(0, frames[0], torch.zeros(64, 64))
    assert output.object_logit.item() == -10 and torch.equal(output.pointer, model.no_obj_ptr)


def test_a_correction_changes_the_memory_of_later_frames_only_after_preflight(
    model: RobotSegModel, frames: list[Frame]
) -> None:
    session = Session(model, 2)
    session.prompt_auto(0, frames[0])
    track(session, frames, 0, 2)
    before = session.stored(2)
    session.prompt_points(2, frames[2], *CLICK)
    assert session.stored(2) is before
    session.preflight()
    assert session.stored(2) is not before
    assert session.memory.conditioning.keys() == {0}


def test_a_prompt_on_a_new_frame_is_a_second_conditioning_frame(model: RobotSegModel, frames: list[Frame]) -> None:
    session = Session(model, 2)
    session.prompt_auto(0, frames[0])
    track(session, frames, 0, 2)
    assert session.prompt_points(3, frames[3], *CLICK).trace.memory is None
    session.preflight()
    track(session, frames, 3, 3)
    assert session.track(4, frames[4]).trace.memory.time_index.tolist() == [3, 3, 2, 1]


@pytest.mark.parametrize(("compat", "kept"), [("reference", False), ("fixed", True)])
def test_a_correction_of_the_first_frame(model: RobotSegModel, frames: list[Frame], compat: str, kept: bool) -> None:
    session = Session(model, 2, compat=compat)
    session.prompt_auto(0, frames[0])
    track(session, frames, 0, 1)
    before = session.stored(0)
    session.prompt_points(0, frames[0], *CLICK)
    session.preflight()
    assert (session.stored(0) is not before) == kept


@pytest.mark.parametrize(("compat", "leaks"), [("reference", True), ("fixed", False)])
def test_a_correction_that_was_not_accepted(
    model: RobotSegModel, frames: list[Frame], compat: str, leaks: bool
) -> None:
    session = Session(model, 2, compat=compat)
    session.prompt_auto(0, frames[0])
    track(session, frames, 0, 2)
    before = session.stored(2)
    session.prompt_points(2, frames[2], *CLICK)
    session.discard(2)
    session.preflight()
    assert (session.stored(2) is not before) == leaks


@pytest.mark.parametrize(("compat", "locks_on"), [("reference", True), ("fixed", False)])
def test_a_first_frame_without_the_part(frames: list[Frame], compat: str, locks_on: bool) -> None:
    model = RobotSegModel(TINY).eval()
    load_golden_weights(model, 3)
    state = model.state_dict()
    model.load_state_dict(state | {OBJECT_BIAS: torch.full_like(state[OBJECT_BIAS], -50.0)})
    session = Session(model, 2, compat=compat)
    output = session.prompt_auto(0, frames[0])
    assert (output.logits == -1024).all()
    assert session.ready == locks_on
