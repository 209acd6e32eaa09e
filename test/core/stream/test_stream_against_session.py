# SPDX-License-Identifier: Apache-2.0
"""The fast stream (parts as a batch, ring memory) gives what the plain session of the reference gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from tiny_base import TINY

from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream import stream as part_stream
from robotseg_core.stream.policy import REFERENCE, StreamPolicy
from robotseg_core.stream.preprocess import frame_tensor
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.session import Frame, Session, encode_frame
from robotseg_core.stream.session_memory import Output
from robotseg_core.types import PARTS, MaskPrompt, Prompt, PromptKind, State
from robotseg_core.weights.seeded import OBJECT_BIAS, load_golden_weights

FIXED = replace(REFERENCE, compat="fixed")
SIZE = 128
COUNT = 9
PART = "gripper"


def click(*points: tuple[float, float, int]) -> list[Prompt]:
    return [Prompt(PART, PromptKind.POINT, (x, y), label) for x, y, label in points]


def ellipse() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return ((x - 50) / 30) ** 2 + ((y - 60) / 40) ** 2 <= 1


BOX = [Prompt(PART, PromptKind.BOX, (20.0, 30.0, 90.0, 110.0))]
MASK = [MaskPrompt(PART, ellipse())]


@dataclass(frozen=True)
class Script:
    """Prompts by frame: before the step, and corrections after it; ``discarded`` frames take theirs back."""

    prompts: dict[int, list] = field(default_factory=dict)
    corrections: dict[int, list[list]] = field(default_factory=dict)
    discarded: frozenset[int] = frozenset()


SCRIPTS = {
    "auto": Script(),
    "click": Script({0: click((30, 70, 1))}),
    "three clicks": Script(
        {0: click((30, 70, 1))},
        {0: [click((30, 70, 1), (90, 40, 0)), click((30, 70, 1), (90, 40, 0), (60, 60, 1))]},
    ),
    "box": Script({0: BOX}),
    "mask": Script({0: MASK}),
    "click while streaming": Script({3: click((30, 70, 1))}),
    "mask while streaming": Script({5: MASK}),
    "correction": Script({}, {4: [click((90, 100, 0)), click((90, 100, 0), (45, 30, 1))]}),
    "late correction": Script({}, {7: [click((90, 100, 0))]}),
    "correction by a mask": Script({}, {2: [MASK]}),
    "correction taken back": Script({}, {4: [click((90, 100, 0))]}, frozenset({4})),
}


@pytest.fixture(scope="module")
def model() -> RobotSegModel:
    model = RobotSegModel(TINY).eval().requires_grad_(False)
    load_golden_weights(model, 6)
    return model


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(COUNT)]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Low-res logits [3, h, w] of every step and correction."""
    seen: list[np.ndarray] = []
    original = part_stream.part_masks

    def spy(logits: np.ndarray, *rest: object):
        seen.append(logits.copy())
        return original(logits, *rest)

    monkeypatch.setattr(part_stream, "part_masks", spy)
    return seen


def loaded(model: RobotSegModel, **options: object) -> RobotSeg:
    device = torch.device("cpu")
    return RobotSeg(model, TorchEncoder(model, device), device, "tiny", **options)  # type: ignore[arg-type]


def give(session: Session, index: int, frame: Frame, prompts: list) -> Output:
    """The same prompts as a stream gets, to a session."""
    if isinstance(prompts[-1], MaskPrompt):
        return session.prompt_mask(index, frame, torch.from_numpy(prompts[-1].mask.astype(np.float32)))
    xy, labels = [], []
    for p in prompts:
        xy += [p.xy] if p.kind is PromptKind.POINT else [p.xy[:2], p.xy[2:]]
        labels += [p.label] if p.kind is PromptKind.POINT else [2, 3]
    return session.prompt_points(index, frame, torch.tensor(xy), torch.tensor(labels))


def session_logits(model: RobotSegModel, row: int, frames: list[Frame], script: Script, compat: str) -> list:
    """Logits [h, w] of every step and correction, in their order."""
    session = Session(model, row, compat=compat)  # type: ignore[arg-type]
    mine = PARTS[row] == PART
    out = []
    for index, frame in enumerate(frames):
        session.preflight()
        if mine and index in script.prompts:
            output = give(session, index, frame, script.prompts[index])
        elif index == 0:
            output = session.prompt_auto(index, frame)
        else:
            output = session.track(index, frame)
        out.append(output.logits[0].numpy())
        for prompts in script.corrections.get(index, []):
            out.append(give(session, index, frame, prompts).logits[0].numpy() if mine else out[-1])
        if mine and index in script.discarded:
            session.discard(index)
    return out


def assert_equal_to_sessions(
    model: RobotSegModel, frames: list[np.ndarray], seen: list[np.ndarray], script: Script, policy: StreamPolicy
) -> None:
    stream = loaded(model).stream(policy)
    for index, frame in enumerate(frames):
        for prompt in script.prompts.get(index, []):
            stream.prompt(prompt)
        stream.step(frame)
        for prompts in script.corrections.get(index, []):
            stream.correct(*prompts)
        if index in script.discarded:
            stream.discard()
    with torch.inference_mode():
        encoded = [encode_frame(model, frame_tensor(frame, TINY.image_size, exact=True)) for frame in frames]
        for row, part in enumerate(PARTS):
            expected = session_logits(model, row, encoded, script, policy.compat)
            assert len(expected) == len(seen)
            for i, (ours, logits) in enumerate(zip(seen, expected, strict=True)):
                np.testing.assert_allclose(ours[row], logits, atol=1e-3, err_msg=f"answer {i}, {part}")


@pytest.mark.parametrize("name", SCRIPTS)
def test_parts_of_a_stream_equal_sessions(
    model: RobotSegModel, frames: list[np.ndarray], seen: list[np.ndarray], name: str
) -> None:
    assert_equal_to_sessions(model, frames, seen, SCRIPTS[name], FIXED)


def test_and_with_a_pooled_memory(frames: list[np.ndarray], seen: list[np.ndarray]) -> None:
    pooled = RobotSegModel(replace(TINY, memory_pool=2)).eval().requires_grad_(False)
    load_golden_weights(pooled, 6)
    assert loaded(pooled).stream(FIXED).bank.features.shape[2] == (TINY.grid // 2) ** 2
    assert_equal_to_sessions(pooled, frames, seen, SCRIPTS["correction"], FIXED)


@pytest.mark.parametrize("name", ["correction taken back", "click while streaming"])
def test_and_with_the_references_quirks(
    model: RobotSegModel, frames: list[np.ndarray], seen: list[np.ndarray], name: str
) -> None:
    assert_equal_to_sessions(model, frames, seen, SCRIPTS[name], REFERENCE)


@pytest.mark.parametrize(("policy", "locks_on"), [(REFERENCE, True), (FIXED, False)])
def test_a_first_frame_without_the_robot(frames: list[np.ndarray], policy: StreamPolicy, locks_on: bool) -> None:
    model = RobotSegModel(TINY).eval().requires_grad_(False)
    load_golden_weights(model, 6)
    state = model.state_dict()
    model.load_state_dict(state | {OBJECT_BIAS: torch.full_like(state[OBJECT_BIAS], -50.0)})
    stream = loaded(model).stream(policy)
    assert stream.step(frames[0]).state is State.SEARCHING
    assert stream.bank.started.all() == locks_on


def test_a_part_alone_is_what_it_is_among_three(
    model: RobotSegModel, frames: list[np.ndarray], seen: list[np.ndarray]
) -> None:
    three, one, two = (loaded(model).stream(FIXED, parts=parts) for parts in (PARTS, PARTS[2:], PARTS[1:]))
    for frame in frames[:4]:
        for stream in (three, one, two):
            result = stream.step(frame)
            assert tuple(part.name for part in result.parts) == stream.parts
        np.testing.assert_allclose(seen[-2][0], seen[-3][2], atol=1e-3)
        np.testing.assert_allclose(seen[-1], seen[-3][1:], atol=1e-3)


@pytest.mark.parametrize(("options", "close"), [({"precision": "bf16"}, 0.9), ({"memory_frames": 2}, 0.0)])
def test_knobs_give_masks_like_the_plain_ones(
    model: RobotSegModel, frames: list[np.ndarray], options: dict, close: float
) -> None:
    plain, turned = loaded(model).stream(FIXED), loaded(model, **options).stream(FIXED)
    both, either = 0, 0
    for frame in frames:
        a, b = (stream.step(frame)["robot"].mask > 0 for stream in (plain, turned))
        both, either = both + int((a & b).sum()), either + int((a | b).sum())
    assert either > 0 and both / either > close


def test_a_memory_of_fewer_frames_looks_up_the_latest_ones(model: RobotSegModel, frames: list[np.ndarray]) -> None:
    for length in range(1, TINY.memory_frames + 1):
        stream = loaded(model, memory_frames=length).stream(replace(FIXED, conditioning_frames=1))
        for frame in frames:
            stream.step(frame)
        view = stream.bank.view(COUNT)
        assert view is not None
        # The conditioning frame has the last row of the time codes, the latest frame the first.
        assert sorted(view.time_index.tolist()) == [*range(length - 1), TINY.memory_frames - 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"memory_frames": 0}, "memory_frames is 0"), ({"memory_frames": 5}, "must be 1 to 4"), ({"precision": "x"}, "x")],
)
def test_knobs_out_of_range_are_refused(model: RobotSegModel, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loaded(model, **options)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda stream: stream.prompt(Prompt("arm", PromptKind.RESET)), "this stream has"),
        (lambda stream: stream.correct(Prompt("robot", PromptKind.RESET)), "RESET"),
    ],
)
def test_prompts_that_make_no_sense_are_refused(
    model: RobotSegModel, frames: list[np.ndarray], misuse: Callable, message: str
) -> None:
    stream = loaded(model).stream(FIXED, parts=("robot",))
    with pytest.raises(RuntimeError, match="first step"):
        stream.correct()
    stream.step(frames[0])
    with pytest.raises(ValueError, match=message):
        misuse(stream)
    with pytest.raises(ValueError, match="the robot among them"):
        loaded(model).stream(FIXED, parts=("arm",))
