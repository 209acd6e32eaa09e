# SPDX-License-Identifier: Apache-2.0
"""Qwen2.5-VL as GRPO wants it: drawing answers and scoring their tokens, with adapters or with all weights."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.instruct.qwen import Messages
from robotseg_core.train.language.grpo import Rollout
from robotseg_core.train.language.qwen.settings import Lora


@dataclass(frozen=True, eq=False)
class PictureRequest:
    """A picture [S, S, 3] RGB, what is said of it, and the true mask [S, S]."""

    rgb: NDArray[np.uint8]
    messages: Messages
    truth: NDArray[np.bool_]


def with_lora(model: nn.Module, lora: Lora) -> nn.Module:
    """The model with adapters, which alone learn.

    Raises:
        RuntimeError: ``peft`` is not installed.
    """
    try:
        peft = importlib.import_module("peft")
    except ModuleNotFoundError as error:
        raise RuntimeError("adapters need peft: pip install 'robotseg_ros[qwen]'") from error
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets))
    adapted: nn.Module = peft.get_peft_model(model, config)
    return adapted


class QwenLearner(nn.Module):
    """Writes answers token by token.

    Args:
        model: a ``Qwen2_5_VLForConditionalGeneration``, plain or with adapters.
        processor: its processor.
        max_new_tokens: of an answer.
        without_adapters: score with the adapters switched off: the reference of a model with adapters is itself.
    """

    def __init__(self, model: Any, processor: Any, *, max_new_tokens: int, without_adapters: bool = False) -> None:
        super().__init__()
        self.model, self._processor = model, processor
        self._most, self._without = max_new_tokens, without_adapters
        ends = model.config.get_text_config().eos_token_id
        self._ends = list(ends) if isinstance(ends, (list, tuple)) else [ends]
        # Places of pictures are no words: a model that wrote one would be asked for its features.
        self._never = [model.config.image_token_id, model.config.video_token_id]

    def sample(self, requests: Sequence[PictureRequest], group: int, temperature: float) -> Rollout:
        """Draw ``group`` answers to each request, from all tokens but those that stand for pictures."""
        rows = []
        with torch.no_grad():
            for request in requests:
                inputs = self._inputs(request)
                written = self.model.generate(
                    **inputs, max_new_tokens=self._most, do_sample=True, temperature=temperature, top_k=0, top_p=1.0,
                    repetition_penalty=1.0, num_return_sequences=group, pad_token_id=self._ends[0],
                    eos_token_id=self._ends, suppress_tokens=self._never,
                )  # fmt: skip
                rows += list(written[:, inputs["input_ids"].shape[1] :])
        longest = max(len(row) for row in rows)
        tokens = torch.stack([F.pad(row, (0, longest - len(row)), value=self._ends[0]) for row in rows])
        ended = torch.isin(tokens, torch.tensor(self._ends, device=tokens.device))
        # The end itself counts, what follows does not.
        mask = (ended.long().cumsum(1) - ended.long()) == 0
        rollout = Rollout(tokens, mask, torch.zeros(tokens.shape, device=tokens.device))
        with torch.no_grad():
            logp = self.log_probs(requests, rollout, group, temperature)
        return Rollout(tokens, mask, logp)

    def log_probs(self, requests: Sequence[PictureRequest], rollout: Rollout, group: int, temperature: float) -> Tensor:
        """[B * G, T] log-probabilities of drawn tokens."""
        found = []
        with self._as_asked():
            for i, request in enumerate(requests):
                own = slice(i * group, (i + 1) * group)
                found.append(self._scored(request, rollout.tokens[own], rollout.mask[own], temperature))
        return torch.cat(found)

    def texts(self, rollout: Rollout) -> list[str]:
        """The answers as they are written."""
        rows = [row[kept] for row, kept in zip(rollout.tokens, rollout.mask, strict=True)]
        return [str(self._processor.batch_decode(row[None], skip_special_tokens=True)[0]) for row in rows]

    def _scored(self, request: PictureRequest, tokens: Tensor, mask: Tensor, temperature: float) -> Tensor:
        inputs = self._inputs(request)
        group, before = tokens.shape[0], inputs["input_ids"].shape[1]
        whole = torch.cat([inputs["input_ids"].expand(group, -1), tokens], 1)
        seen = torch.cat([inputs["attention_mask"].expand(group, -1), mask.to(inputs["attention_mask"].dtype)], 1)
        more: dict[str, Any] = {}
        if "mm_token_type_ids" in inputs:
            kinds = inputs["mm_token_type_ids"]
            more["mm_token_type_ids"] = torch.cat([kinds.expand(group, -1), kinds.new_zeros(tokens.shape)], 1)
        logits = self.model(
            input_ids=whole, attention_mask=seen,
            pixel_values=inputs["pixel_values"].repeat(group, *[1] * (inputs["pixel_values"].dim() - 1)),
            image_grid_thw=inputs["image_grid_thw"].repeat(group, 1), **more,
        ).logits[:, before - 1 : -1]  # fmt: skip
        barred = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        barred[self._never] = True
        logits = logits.float().masked_fill(barred, float("-inf"))
        logp = F.log_softmax(logits / temperature, -1).gather(2, tokens[..., None])[..., 0]
        return torch.where(mask, logp, torch.zeros_like(logp))

    def _inputs(self, request: PictureRequest) -> Any:
        from PIL import Image

        text = self._processor.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        found = self._processor(text=[text], images=[Image.fromarray(request.rgb)], return_tensors="pt")
        return found.to(next(self.model.parameters()).device)

    @contextlib.contextmanager
    def _as_asked(self) -> Iterator[None]:
        if not self._without:
            yield
            return
        with self.model.disable_adapter():
            yield
