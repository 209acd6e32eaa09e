# SPDX-License-Identifier: Apache-2.0
"""Features by which pseudo masks are propagated: of the model's own encoder, or of DINOv3 where weights can be had.

The published method uses DINOv3 ViT-H+/16 (SPEC 9.2), whose weights are given out under Meta's terms only and are not
needed here: nano's trunk has learned from photographs too.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.model.image_encoder_nano import ConvEncoder
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.preprocess import normalise

ENCODER_SIDE = 512
"""Side of the square picture that the model's own encoder sees, pixels: 32 x 32 patches."""
DINO_SIDE, DINO_PATCH = 960, 16
"""Short side of the picture that DINOv3 sees, and its patch, pixels."""


class FeatureExtractor(Protocol):
    """Describes the patches of a frame."""

    @property
    def name(self) -> str:
        """A name for files, by which results of different extractors are told apart."""
        ...

    def __call__(self, rgb: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3] -> float32 [h, w, C], each vector of unit length."""
        ...


def _tensor(rgb: NDArray[np.uint8], device: torch.device) -> Tensor:
    """RGB [H, W, 3] -> normalised [1, 3, H, W]."""
    return normalise(torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None].to(device))


class EncoderFeatures:
    """Stride-16 features of the model's own encoder: of nano's trunk, before its neck; of Hiera with its neck."""

    name = "encoder"

    def __init__(self, model: RobotSegModel, side: int = ENCODER_SIDE) -> None:
        self.encoder, self.side = model.image_encoder, side

    @torch.no_grad()
    def __call__(self, rgb: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3], resized to a square -> [side / 16, side / 16, C]."""
        training = self.encoder.training
        self.encoder.eval()
        device = next(self.encoder.parameters()).device
        x = _tensor(np.asarray(cv2.resize(rgb, (self.side, self.side), interpolation=cv2.INTER_AREA), np.uint8), device)
        maps = self.encoder.trunk(x) if isinstance(self.encoder, ConvEncoder) else self.encoder(x)
        self.encoder.train(training)
        return F.normalize(maps[2][0].float(), dim=0).permute(1, 2, 0).contiguous()


class DinoFeatures:
    """Last-layer patch features of a DINOv3 through ``transformers``, an optional package.

    Args:
        source: name on the hub or folder, e.g. ``facebook/dinov3-vith16plus-pretrain-lvd1689m``.
        device: of the computation.

    Raises:
        RuntimeError: ``transformers`` is not installed.
        ValueError: weights cannot be had from there, or are of another kind of model.
    """

    def __init__(self, source: str, device: torch.device) -> None:
        try:
            from transformers import AutoModel
        except ImportError as error:
            raise RuntimeError(
                f"features is {source!r}, which needs the package transformers (pip install transformers); "
                "`features: encoder` needs nothing"
            ) from error
        try:
            self.model: Any = AutoModel.from_pretrained(source).eval().to(device)
        except OSError as error:
            raise ValueError(f"no DINOv3 weights from {source!r}: {str(error).splitlines()[0]}") from error
        if getattr(self.model.config, "patch_size", None) != DINO_PATCH:
            raise ValueError(f"{source!r} is no vision transformer of patch {DINO_PATCH}")
        self.name = "".join(c if c.isalnum() else "_" for c in source)
        self.device = device

    @torch.no_grad()
    def __call__(self, rgb: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3], short side enlarged to 960 -> [h, w, C]."""
        height, width = (_round_up(DINO_SIDE * n / min(rgb.shape[:2])) for n in rgb.shape[:2])
        large = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
        tokens = self.model(pixel_values=_tensor(large, self.device)).last_hidden_state[0]
        h, w = height // DINO_PATCH, width // DINO_PATCH
        # Class and register tokens come before the patches.
        patches = tokens[len(tokens) - h * w :].float()
        return F.normalize(patches, dim=-1).view(h, w, -1)


def _round_up(side: float) -> int:
    return -(-int(np.ceil(side)) // DINO_PATCH) * DINO_PATCH


def make_extractor(features: str, model: RobotSegModel) -> FeatureExtractor:
    """The extractor that ``features`` of a training configuration names."""
    if features == "encoder":
        return EncoderFeatures(model)
    return DinoFeatures(features, next(model.parameters()).device)
