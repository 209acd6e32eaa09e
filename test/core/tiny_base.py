# SPDX-License-Identifier: Apache-2.0
"""The base model with small numbers: every module and rule, milliseconds instead of seconds."""

from robotseg_core.config import HieraConfig, ModelConfig

TINY = ModelConfig(
    name="tiny",
    image_size=128,
    encoder=HieraConfig(embed_dim=8),
    fpn_channels=(32, 32, 32),
    d_model=32,
    mem_dim=8,
    memory_layers=2,
    attention_dim=32,
    memory_ffn=64,
    decoder_heads=4,
    decoder_ffn=64,
    head_hidden=32,
    mask_channels=(2, 4, 8, 16),
    memory_frames=4,
    max_pointers=5,
)
