# SPDX-License-Identifier: Apache-2.0
"""The loop of a small model (all but the encoder) as two ONNX graphs for the CPU.

At 256 pixels a frame passes through some 600 operators of a few microseconds each; calling them one by one from
Python costs more than computing them.  ONNX Runtime runs them as two calls, with the same answers.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robotseg_core.backends.encoder import Graph
from robotseg_core.backends.onnx_files import model_hash, write_onnx
from robotseg_core.backends.stage_shares import kept_shares
from robotseg_core.model.folded_decoder import FoldedDecoder
from robotseg_core.model.robotseg_model import Conditioned, Features, Memory, ProjectedKeys, RobotSegModel
from robotseg_core.storage.user_cache import kept
from robotseg_core.stream.frame_state import Answer
from robotseg_core.stream.loops.loop import Loop
from robotseg_core.stream.loops.torch_loop import TorchLoop
from robotseg_core.stream.memory_bank import Entry, MemoryBank
from robotseg_core.stream.preprocess import cell_edges
from robotseg_core.stream.stage_clock import StageClock

log = logging.getLogger(__name__)

LARGEST_GRID = 48
"""Larger models are limited by their products, not by calls: PyTorch runs them."""

FIND_STAGES, KEEP_STAGES = ("memory_attention", "decoder"), ("memory_encoder", "prompt_generator")
"""Stages that each graph holds."""

_FIND_INPUTS = (
    "edge h4 h8 f16 features time_index pointers offsets object_tokens empty empty_pointers keys classes".split()
)
_FIND_OUTPUTS = "logits iou object_logit pointer tokens object_prompts token_mask".split()


class Find(nn.Module):
    """A frame and the memory -> masks: memory attention, decoder, choice."""

    def __init__(self, model: RobotSegModel, time_keys: Tensor) -> None:
        super().__init__()
        self.model, self.time_keys = model, nn.Parameter(time_keys.clone(), requires_grad=False)
        self.last_gate = not model.memory_attention.last_gate_cancels
        self.sam_mask_decoder = FoldedDecoder(model.sam_mask_decoder)

    def forward(
        self,
        edge: Tensor,
        h4: Tensor,
        h8: Tensor,
        f16: Tensor,
        features: Tensor,
        time_index: Tensor,
        pointers: Tensor,
        offsets: Tensor,
        object_tokens: Tensor,
        empty: Tensor,
        empty_pointers: Tensor,
        keys: Tensor,
        classes: Tensor,
    ) -> tuple[Tensor, ...]:
        """Edge [1, 1, g, g], class tokens [B]; the rest as in :class:`Features`, :class:`Memory`, :class:`Answer`."""
        memory = Memory(
            features=features,
            time_index=time_index,
            pointers=pointers,
            offsets=offsets,
            object_tokens=object_tokens,
            empty=empty,
            empty_pointers=empty_pointers,
            keys=ProjectedKeys(keys, self.time_keys, None),
        )
        frame = Features(h4, h8, f16)
        conditioned = self.model.condition(frame, edge, memory, last_gate=self.last_gate)
        assert conditioned.token_mask is not None
        prompts, parts = self.model.sam_prompt_encoder, len(classes)
        choice, object_logit = self.sam_mask_decoder(
            conditioned.image + prompts.dense(parts, None),
            prompts.dense_pe(),
            prompts.no_points(parts)[:, :1],
            (h4, h8),
            part=classes,
            object_tokens=conditioned.object_tokens,
            token_mask=conditioned.token_mask,
        )
        return (
            choice.logits,
            choice.iou,
            object_logit,
            self.model.pointer(choice, object_logit),
            conditioned.image,
            conditioned.object_tokens,
            conditioned.token_mask,
        )


class Remember(nn.Module):
    """A frame and its masks -> what the memory keeps of it."""

    def __init__(self, model: RobotSegModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, f16: Tensor, logits: Tensor, object_logit: Tensor, binary: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """f16 [1, d, g, g], logits [B, h, w], object_logit [B], binary [B] -> features, keys, object tokens."""
        frame = Features(f16, f16, f16)
        features = self.model.remember(frame, logits, object_logit, binary)
        kept = self.model.pool_memory(features)
        return kept, self.model.frame_keys(kept), self.model.object_tokens(features, logits)


class OnnxLoop:
    """Both graphs in ONNX Runtime, for ``parts`` parts and a memory of fixed size."""

    def __init__(
        self, model: RobotSegModel, bank: MemoryBank, time_keys: Tensor, opened: Callable[[bytes], Graph]
    ) -> None:
        bare = copy.deepcopy(model).cpu()
        # Its encoder is not part of the graphs.
        bare.image_encoder = nn.Identity()
        parts, slots = bank.features.shape[:2]
        key = hashlib.sha256(f"{model_hash(model)} {parts} {slots} {bank.pointers.shape[1]}".encode()).hexdigest()[:16]
        find, keep = self._find_example(bare, bank), self._remember_example(bare, parts)
        self._find = opened(self._graph(f"find_{key}.onnx", Find(bare, time_keys), find))
        self._keep = opened(self._graph(f"keep_{key}.onnx", Remember(bare), keep))
        kind = f"{key}_{type(self._find).__name__}.json"
        self._find_shares = kept_shares(self._find, f"find_{kind}", used(self._find, find), FIND_STAGES)
        self._keep_shares = kept_shares(self._keep, f"keep_{kind}", used(self._keep, keep), KEEP_STAGES)

    @staticmethod
    def _graph(name: str, module: nn.Module, example: dict[str, Tensor]) -> bytes:
        outputs = _FIND_OUTPUTS if isinstance(module, Find) else ["features", "keys", "object_tokens"]
        return kept(name, lambda path: write_onnx(module, tuple(example.values()), list(example), outputs, path))

    @staticmethod
    def _find_example(model: RobotSegModel, bank: MemoryBank) -> dict[str, Tensor]:
        config = model.config
        g, parts = config.grid, bank.features.shape[0]
        values = (
            torch.zeros(1, 1, g, g),
            torch.zeros(1, config.d_model // 8, 4 * g, 4 * g),
            torch.zeros(1, config.d_model // 4, 2 * g, 2 * g),
            torch.zeros(1, config.d_model, g, g),
            *memory_inputs(bank.whole(1)),
            torch.zeros(parts, dtype=torch.long),
        )
        return dict(zip(_FIND_INPUTS, values, strict=True))

    @staticmethod
    def _remember_example(model: RobotSegModel, parts: int) -> dict[str, Tensor]:
        g, d = model.config.grid, model.config.d_model
        return {
            "f16": torch.zeros(1, d, g, g),
            "logits": torch.zeros(parts, 4 * g, 4 * g),
            "object_logit": torch.ones(parts),
            "binary": torch.zeros(parts, dtype=torch.bool),
        }

    def find(
        self, image: Tensor, features: Features, bank: MemoryBank, frame: int, classes: Tensor, clock: StageClock
    ) -> tuple[Conditioned, Answer]:
        """See :class:`~robotseg_core.stream.loops.loop.Loop`; without a memory all slots are empty ones."""
        # Where the gate of a single layer cancels, nothing reads the edges.
        edge = cell_edges(image) if "edge" in self._find.inputs else torch.zeros(1, 1, 1, 1)
        values = (edge, features.h4, features.h8, features.f16, *memory_inputs(bank.whole(frame)), classes)
        out = run(self._find, dict(zip(_FIND_INPUTS, values, strict=True)))
        clock.lap_shared(self._find_shares)
        return Conditioned(out[4], out[5], out[6], None), Answer(*out[:4])

    def keep(self, features: Features, answer: Answer, binary: Tensor, clock: StageClock) -> Entry:
        """See :class:`~robotseg_core.stream.loops.loop.Loop`."""
        inputs = {
            "f16": features.f16,
            "logits": answer.logits,
            "object_logit": answer.object_logit,
            "binary": binary,
        }
        kept, keys, tokens = run(self._keep, inputs)
        clock.lap_shared(self._keep_shares)
        return Entry(kept, keys, tokens, answer.pointer)


def memory_inputs(memory: Memory) -> tuple[Tensor, ...]:
    """In the order of the graph's inputs."""
    assert memory.keys is not None and memory.empty is not None and memory.empty_pointers is not None
    return (
        memory.features,
        memory.time_index,
        memory.pointers,
        memory.offsets,
        memory.object_tokens,
        memory.empty,
        memory.empty_pointers,
        memory.keys.frames,
    )


def run(graph: Graph, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Run a graph on tensors; those that it does not use are left out."""
    return [torch.from_numpy(x) for x in graph.run(used(graph, inputs))]


def used(graph: Graph, inputs: dict[str, Tensor]) -> dict[str, NDArray[Any]]:
    """The inputs that a graph uses, as arrays."""
    return {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items() if name in graph.inputs}


def make_loop(model: RobotSegModel, bank: MemoryBank, time_keys: Tensor, opened: Callable[[bytes], Graph]) -> Loop:
    """The loop as graphs where that is faster and works, else in PyTorch; a failure is said in the log.

    ``opened`` makes a graph ready to run.
    """
    config, plain = model.config, time_keys.device.type == "cpu" and time_keys.dtype == torch.float32
    if not plain or config.grid > LARGEST_GRID or not config.real_edges:
        return TorchLoop(model)
    try:
        return OnnxLoop(model, bank, time_keys, opened)
    except Exception as error:
        log.warning("graphs cannot run the loop (%s); PyTorch does", error)
        return TorchLoop(model)
