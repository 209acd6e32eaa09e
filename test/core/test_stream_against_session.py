# SPDX-License-Identifier: Apache-2.0
"""The fast stream (parts as a batch, ring memory) gives what the plain session of the reference gives."""

import numpy as np
import pytest
import torch
from tiny import TINY

from robotseg_core import stream as stream_module
from robotseg_core.encoder_backend import TorchEncoder
from robotseg_core.golden import load_golden_weights
from robotseg_core.model import RobotSegModel
from robotseg_core.preprocess import frame_tensor
from robotseg_core.session import Session, encode_frame
from robotseg_core.stream import RobotSeg, StreamPolicy
from robotseg_core.types import PARTS, Prompt, PromptKind

POLICY = StreamPolicy(min_score=0.0, max_coverage=2.0, lost_after=10**9, refresh_after=0)


@pytest.fixture
def model() -> RobotSegModel:
    model = RobotSegModel(TINY).eval().requires_grad_(False)
    load_golden_weights(model, 6)
    return model


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Low-res logits [3, h, w] of every step."""
    seen: list[np.ndarray] = []
    original = stream_module.part_masks

    def spy(logits: np.ndarray, *rest: object):
        seen.append(logits.copy())
        return original(logits, *rest)

    monkeypatch.setattr(stream_module, "part_masks", spy)
    return seen


@pytest.mark.parametrize("click", [False, True])
def test_parts_of_a_stream_equal_sessions(model: RobotSegModel, seen: list[np.ndarray], click: bool) -> None:
    rng = np.random.default_rng(2)
    frames = [rng.integers(0, 256, (128, 128, 3), dtype=np.uint8) for _ in range(10)]
    device = torch.device("cpu")
    stream = RobotSeg(model, TorchEncoder(model, device), device, "tiny").stream(POLICY)
    if click:
        stream.prompt(Prompt("gripper", PromptKind.POINT, (30.0, 70.0)))
    for frame in frames:
        stream.step(frame)
    with torch.inference_mode():
        sessions = [Session(model, row) for row in range(len(PARTS))]
        for index, frame in enumerate(frames):
            encoded = encode_frame(model, frame_tensor(frame, TINY.image_size, exact=True))
            for row, session in enumerate(sessions):
                if index == 0 and click and PARTS[row] == "gripper":
                    session.prompt_points(0, encoded, torch.tensor([[30.0, 70.0]]), torch.tensor([1]))
                elif index == 0:
                    session.prompt_auto(0, encoded)
                logits = session.track(index, encoded).logits[0].numpy()
                np.testing.assert_allclose(seen[index][row], logits, atol=1e-3, err_msg=f"frame {index}, {PARTS[row]}")
