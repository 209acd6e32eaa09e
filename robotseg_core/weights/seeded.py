# SPDX-License-Identifier: Apache-2.0
"""Seeded weights by the rule of the golden data: anyone can build them from names and shapes alone.

The released weights are not needed to prove that this model computes what the reference computes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

# Last name component -> (mean, standard deviation).
_BY_NAME: dict[str, tuple[float, float]] = {
    "positional_encoding_gaussian_matrix": (0.0, 1.0),
    "structure_strength": (1.0, 0.1),
    "gamma": (0.5, 0.1),
    "maskmem_tpos_enc": (0.0, 0.5),
    "no_mem_embed": (0.0, 0.3),
    "no_mem_pos_enc": (0.0, 0.3),
    "no_obj_ptr": (0.0, 0.5),
    "no_obj_embed_spatial": (0.0, 0.5),
    "pos_embed": (0.0, 0.3),
    "pos_embed_window": (0.0, 0.3),
}
_TABLES = frozenset(
    (
        "point_embeddings",
        "not_a_point_embed",
        "no_mask_embed",
        "iou_token",
        "mask_tokens",
        "obj_score_token",
        "robot_token_embedding",
        "no_memory_prompt_embeddings_fg",
    )
)
# The last one that occurs in the key wins.
_GAINS: tuple[tuple[str, float], ...] = (
    ("q_proj", 1.5),
    ("k_proj", 1.5),
    (".mlp.layers.1.weight", 1.4),
    (".linear2.weight", 1.4),
    ("image_encoder.neck.convs", 0.4),
    ("sam_mask_decoder.conv_s", 2.0),
    ("memory_encoder.out_proj", 0.8),
    ("cross_attn_structure.q_proj", 3.0),
    ("cross_attn_structure.k_proj", 2.0),
    ("structure_head", 2.0),
)
OBJECT_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
_TRANSPOSED = ("sam_mask_decoder.output_upscaling.0.weight", "sam_mask_decoder.output_upscaling.3.weight")


def moments(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of the weights of a key."""
    path = key.split(".")
    if path[-1] in _BY_NAME:
        return _BY_NAME[path[-1]]
    if key == OBJECT_BIAS:
        return 2.0, 0.0
    if path[-1] == "bias":
        return 0.0, 0.1
    if path[-1] != "weight":
        raise ValueError(f"the golden rule has no row for {key}")
    if len(shape) == 1:
        return 1.0, 0.1
    if _TABLES.intersection(path):
        return 0.0, 1.0
    fan_in = shape[0] if key in _TRANSPOSED else math.prod(shape[1:])
    gain = 1.0
    for part, value in _GAINS:
        if part in key:
            gain = value
    return 0.0, gain / math.sqrt(fan_in)


def golden_tensor(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """float32 weights of one key."""
    digest = hashlib.sha256(f"robotseg-golden-v1/{seed}/{key}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))
    mean, std = moments(key, shape)
    values = mean + std * generator.standard_normal(size=shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def golden_state_dict(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Golden weights for every key of a state dict (only its names and shapes are read)."""
    return {key: golden_tensor(key, tuple(value.shape), seed) for key, value in state.items()}


def load_golden_weights(module: nn.Module, seed: int) -> None:
    """Fill a model with golden weights."""
    state = module.state_dict()
    module.load_state_dict({key: golden_tensor(key, tuple(v.shape), seed) for key, v in state.items()})
