# SPDX-License-Identifier: Apache-2.0
"""Sizes of the two models.  One frozen dataclass; base and nano are the same modules with other numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_BATCH = 8
"""Frames of different cameras that may be asked to go through the encoder at once."""


@dataclass(frozen=True)
class HieraConfig:
    """Hiera trunk (SPEC 2.1): widths, heads and windows per stage."""

    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
    global_blocks: tuple[int, ...] = (5, 7, 9)
    windows: tuple[int, ...] = (8, 4, 14, 7)
    pos_embed_size: int = 7


@dataclass(frozen=True)
class ConvStage:
    """One stage of inverted residual blocks; ``stride`` and the change of channels are the first block's."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


@dataclass(frozen=True)
class ConvConfig:
    """Convolutional encoder: by default the stages of EfficientNet-Lite0, without its classifier."""

    stem: int = 32
    stages: tuple[ConvStage, ...] = (
        ConvStage(1, 3, 1, 1, 16),
        ConvStage(2, 3, 2, 6, 24),
        ConvStage(2, 5, 2, 6, 40),
        ConvStage(3, 3, 2, 6, 80),
        ConvStage(3, 5, 1, 6, 112),
        ConvStage(4, 5, 2, 6, 192),
        ConvStage(1, 3, 1, 6, 320),
    )

    @property
    def outputs(self) -> tuple[int, ...]:
        """Indices of the last stage at each of the strides 4, 8, 16, 32."""
        last = [i for i, stage in enumerate(self.stages[1:]) if stage.stride == 2] + [len(self.stages) - 1]
        return tuple(last[-4:])

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the maps at strides 4, 8, 16, 32."""
        return tuple(self.stages[i].channels for i in self.outputs)


@dataclass(frozen=True)
class ModelConfig:
    """Every number of the model.

    Glossary: ``d`` model width, ``m`` memory width, ``g`` side of the stride-16 grid.  RPG concatenates
    ``rpg_subregions`` prototypes of width ``m`` into one token of width ``d``, hence the check.
    """

    name: str
    image_size: int
    encoder: HieraConfig | ConvConfig
    fpn_channels: tuple[int, int, int] = (256, 256, 256)
    """Channels of the maps at strides 4, 8, 16 before conv_s0 / conv_s1."""
    d_model: int = 256
    mem_dim: int = 64
    # SEMA (SPEC 5)
    memory_layers: int = 4
    attention_dim: int = 256
    memory_ffn: int = 2048
    real_edges: bool = False
    """False: the reference's edge map, practically off (SPEC 5.3).  True: edges of the image in [0, 1]."""
    # decoder (SPEC 4)
    decoder_heads: int = 8
    decoder_ffn: int = 2048
    decoder_layers: int = 2
    head_hidden: int = 256
    # memory encoder and bank (SPEC 7)
    mask_channels: tuple[int, int, int, int] = (4, 16, 64, 256)
    fuser_layers: int = 2
    fuser_kernel: int = 7
    memory_frames: int = 7
    """Frames the memory attention sees: one conditioning frame and the ``memory_frames - 1`` latest others."""
    max_pointers: int = 16
    bounded_age: bool = False
    """True: a pointer's age is clamped to ``max_pointers - 1``.  In the reference the age of the conditioning
    pointer grows without bound (SPEC 7.2, item 5), into times that training never saw."""
    memory_pool: int = 1
    """Side of the squares of cells that the memory keeps the mean of, see :attr:`memory_square`: a frame has so many
    times fewer keys and values to be looked up (efficient memory attention of EfficientTAM).  1: the reference."""
    memory_mask_stride: int = 1
    """Pixels of the image, along a side, to one of the mask that the memory encoder reads: 1, 2 or 4.  1: the
    reference, which enlarges the logits of stride 4 to the image's size and reduces them again; at 4 they are read as
    they are, with the same weights, and the first convolutions no longer halve the map."""
    mask_embed_channels: int = 16
    """Channels of the mask-prompt path (``mask_downscaling``) before its last convolution."""
    dense_hints: bool = False
    """True: clicks and boxes are also drawn into the map of the mask prompt (:mod:`robotseg_core.model.hint_map`), so
    that the image's tokens know of them; False: tokens alone, as in the reference."""
    # RPG (SPEC 6)
    rpg_regions: int = 3
    rpg_subregions: int = 4

    def __post_init__(self) -> None:
        if self.image_size % 32:
            raise ValueError(f"image_size is {self.image_size}, must be a multiple of 32")
        if self.rpg_subregions * self.mem_dim != self.d_model:
            raise ValueError(
                f"rpg_subregions * mem_dim is {self.rpg_subregions} * {self.mem_dim}, must equal d_model {self.d_model}"
            )
        if self.memory_frames < 1:
            raise ValueError(f"memory_frames is {self.memory_frames}, must be at least 1")
        if self.memory_pool < 1:
            raise ValueError(f"memory_pool is {self.memory_pool}, must be at least 1")
        if self.memory_mask_stride not in (1, 2, 4):
            raise ValueError(f"memory_mask_stride is {self.memory_mask_stride}, must be 1, 2 or 4")

    @property
    def grid(self) -> int:
        """Side of the stride-16 grid."""
        return self.image_size // 16

    @property
    def memory_square(self) -> int:
        """Side of the squares in cells: ``memory_pool``, or the largest part of it that divides the grid's side."""
        return math.gcd(self.memory_pool, self.grid)

    @property
    def memory_grid(self) -> int:
        """Side of the grid that is kept of a memory frame."""
        return self.grid // self.memory_square

    @property
    def pointer_tokens(self) -> int:
        """Memory tokens one object pointer is cut into."""
        return self.d_model // self.mem_dim


LITE0 = ConvConfig()
LITE2 = ConvConfig(
    stages=(
        ConvStage(1, 3, 1, 1, 16),
        ConvStage(3, 3, 2, 6, 24),
        ConvStage(3, 5, 2, 6, 48),
        ConvStage(4, 3, 2, 6, 88),
        ConvStage(4, 5, 1, 6, 120),
        ConvStage(5, 5, 2, 6, 208),
        ConvStage(1, 3, 1, 6, 352),
    )
)
"""EfficientNet-Lite2: 1.1 times as wide, 1.2 times as deep."""

BASE = ModelConfig(name="base", image_size=1024, encoder=HieraConfig())

NANO = ModelConfig(
    name="nano",
    image_size=384,
    encoder=LITE2,
    fpn_channels=(32, 64, 128),
    d_model=128,
    mem_dim=32,
    memory_layers=1,
    attention_dim=64,
    memory_ffn=256,
    real_edges=True,
    decoder_ffn=256,
    head_hidden=128,
    mask_channels=(4, 16, 32, 64),
    fuser_layers=1,
    fuser_kernel=7,
    memory_frames=3,
    memory_pool=2,
    memory_mask_stride=4,
    dense_hints=True,
    max_pointers=8,
    bounded_age=True,
)

PRESETS: dict[str, ModelConfig] = {"base": BASE, "nano": NANO}
