# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from tiny_base import TINY as TINY_MODEL

from robotseg_core.backends.onnx_files import export_onnx
from robotseg_core.config import BASE, HieraConfig
from robotseg_core.model.image_encoder_base import HieraEncoder, from_windows, to_windows
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.weights.seeded import load_golden_weights

TINY = HieraConfig(embed_dim=8)


@pytest.fixture
def encoder() -> HieraEncoder:
    torch.manual_seed(0)
    encoder = HieraEncoder(TINY, (16, 24, 32)).eval()
    torch.nn.init.normal_(encoder.trunk.pos_embed)
    torch.nn.init.normal_(encoder.trunk.pos_embed_window)
    return encoder


@pytest.mark.parametrize(("height", "width", "window"), [(8, 8, 4), (5, 7, 4), (14, 14, 14), (9, 3, 7)])
def test_windows_come_back(height: int, width: int, window: int) -> None:
    x = torch.randn(2, height, width, 3)
    windows = to_windows(x, window)
    assert windows.shape == (2 * -(-height // window) * -(-width // window), window, window, 3)
    assert torch.equal(from_windows(windows, height, width), x)


def test_windows_are_padded_with_zeros_at_the_bottom_and_the_right() -> None:
    windows = to_windows(torch.ones(1, 5, 4, 1), 4)
    assert windows[0].sum() == 16 and windows[1, :1].sum() == 4 and windows[1, 1:].sum() == 0


@pytest.mark.parametrize("size", [64, 96, 128])
def test_shapes_at_any_multiple_of_32(encoder: HieraEncoder, size: int) -> None:
    f4, f8, f16 = encoder(torch.randn(2, 3, size, size))
    assert f4.shape == (2, 16, size // 4, size // 4)
    assert f8.shape == (2, 24, size // 8, size // 8)
    assert f16.shape == (2, 32, size // 16, size // 16)


def test_other_sizes_are_refused(encoder: HieraEncoder) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        encoder(torch.randn(1, 3, 100, 100))


def test_base_layout() -> None:
    with torch.device("meta"):
        encoder = HieraEncoder(BASE.encoder, BASE.fpn_channels)
    assert sum(p.numel() for p in encoder.parameters()) == 27_219_136
    assert [block.window for block in encoder.trunk.blocks] == [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]
    assert encoder.trunk.stage_ends == [0, 2, 9, 11]


def test_position_is_cached_only_outside_of_training(encoder: HieraEncoder) -> None:
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = encoder(image)[0]
        assert encoder.trunk.position(16, 16) is encoder.trunk.position(16, 16)
        state = encoder.state_dict()
        state["trunk.pos_embed"] = state["trunk.pos_embed"] + 1
    encoder.load_state_dict(state)
    with torch.inference_mode():
        assert not torch.allclose(encoder(image)[0], before)
    encoder.train()
    encoder(image)[0].sum().backward()
    assert encoder.trunk.pos_embed.grad is not None and encoder.trunk.pos_embed.grad.abs().sum() > 0


def test_cached_position_follows_training(encoder: HieraEncoder) -> None:
    with torch.no_grad():
        before = encoder.trunk.position(16, 16).clone()
        encoder.train()
        encoder.trunk.pos_embed += 1
        encoder.eval()
        torch.testing.assert_close(encoder.trunk.position(16, 16), before + 1)


def test_stochastic_depth_acts_in_training_only(encoder: HieraEncoder) -> None:
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder(image)[2], encoder(image)[2])
        encoder.train()
        results = torch.stack([encoder(image)[2] for _ in range(12)])
    assert (results - results[0]).abs().amax() > 0


def test_exported_graph_gives_the_same(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = RobotSegModel(TINY_MODEL).eval()
    load_golden_weights(model, 4)
    path = tmp_path / "encoder.onnx"
    export_onnx(model, path)
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        features = model.encode(image)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for ours, theirs in zip(
        session.run(None, {"image": image.numpy()}), (features.h4, features.h8, features.f16), strict=True
    ):
        torch.testing.assert_close(torch.from_numpy(ours), theirs, atol=1e-4, rtol=1e-4)
