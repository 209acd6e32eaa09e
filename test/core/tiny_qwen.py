# SPDX-License-Identifier: Apache-2.0
"""A Qwen2.5-VL with random weights, through the genuine class, and a processor made by hand."""

import numpy as np

from robotseg_core.instruct.qwen import rounded_size


class ByteProcessor:
    """What a processor does, by hand: the genuine one needs torchvision.  Tokens are bytes."""

    def __init__(self, config):
        self.config = config

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt):
        assert not tokenize and add_generation_prompt
        parts = [part for message in messages for part in message["content"]]
        return "".join("<image>" if part["type"] == "image" else part["text"] for part in parts)

    def __call__(self, text, images, return_tensors="pt"):
        import torch
        from transformers import BatchFeature

        width, height = rounded_size(*images[0].size)
        pixels = np.asarray(images[0].resize((width, height)), np.float32).transpose(2, 0, 1) / 127.5 - 1
        rows, columns = height // 14, width // 14
        # Two equal frames; patches of a 2 x 2 square of patches lie together.
        cut = np.stack([pixels, pixels]).reshape(2, 3, rows // 2, 2, 14, columns // 2, 2, 14)
        patches = cut.transpose(2, 5, 3, 6, 1, 0, 4, 7).reshape(rows * columns, -1)
        before, after = text[0].split("<image>")
        c = self.config
        marks = [c.vision_start_token_id, *[c.image_token_id] * (rows * columns // 4), c.vision_end_token_id]
        tokens = torch.tensor([[*before.encode(), *marks, *after.encode()]])
        return BatchFeature({
            "input_ids": tokens, "attention_mask": torch.ones_like(tokens), "pixel_values": torch.tensor(patches),
            "image_grid_thw": torch.tensor([[1, rows, columns]]),
            "mm_token_type_ids": (tokens == c.image_token_id).long(),
        })  # fmt: skip

    def batch_decode(self, tokens, *, skip_special_tokens):
        assert skip_special_tokens
        return ["".join(chr(t) for t in row if t < 256) for row in tokens.tolist()]


def tiny_qwen(transformers):
    """Random weights of a Qwen2.5-VL of some 100,000 parameters."""
    import torch

    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 264, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
            "bos_token_id": None, "eos_token_id": 261, "pad_token_id": 262,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [1], "window_size": 112,
        },
        image_token_id=256,
        video_token_id=257,
        vision_start_token_id=258,
        vision_end_token_id=259,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.Qwen2_5_VLForConditionalGeneration(config).eval()
