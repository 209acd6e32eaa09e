# SPDX-License-Identifier: Apache-2.0
"""RobotSeg, the model: the boxes of the paper's figure, wired for a batch of parts that share one frame.

A frame goes one way: image encoder -> memory attention (SEMA) -> prompt generator (RPG) -> mask decoder ->
memory encoder.  The model holds weights only; what a stream remembers is in :mod:`robotseg_core.stream.memory_bank`.

Shape glossary: B parts (of one or several frames), N = g * g grid tokens, M = N / ``memory_square ** 2`` tokens of a
memory frame, d model width, m memory width, k memory frames, n pointers, h = w = 4 g low-res logits.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.config import HieraConfig, ModelConfig
from robotseg_core.model.attention import MLP, RoPEAttention
from robotseg_core.model.hint_map import hint_map
from robotseg_core.model.image_encoder_nano import ConvEncoder
from robotseg_core.model.mask_decoder import Candidates, Choice, MaskDecoder, choose
from robotseg_core.model.memory_attention import Keys, MemoryAttention
from robotseg_core.model.memory_encoder import MemoryEncoder
from robotseg_core.model.positions import sine_position_map, sine_time_code
from robotseg_core.model.prompt_encoder import PromptEncoder
from robotseg_core.model.robot_prompt_generator import RobotPromptGenerator, foreground_cells


@dataclass(frozen=True)
class Features:
    """What the image encoder gives for a frame, shared by all parts.

    Attributes:
        h4: [B, d/8, 4g, 4g] after conv_s0.
        h8: [B, d/4, 2g, 2g] after conv_s1.
        f16: [B, d, g, g].
    """

    h4: Tensor
    h8: Tensor
    f16: Tensor


@dataclass(frozen=True)
class ProjectedKeys:
    """Keys of memory frames as they were made when the frames entered the memory.

    Attributes:
        frames: [A, B, k, M, e] for each cross attention, without time codes.
        time: [A, T, M, e] what the time codes add, see ``MemoryAttention.time_keys``.
        space: [B, L or more, e] where the keys of one cross attention are put together; None in a graph, whose
            runtime plans its own.
    """

    frames: Tensor
    time: Tensor
    space: Tensor | None


@dataclass(frozen=True)
class Memory:
    """What the memory attention looks up for one frame (SPEC 7.2).

    Attributes:
        features: [B, k, M, m] memory frames.
        time_index: [k] int64 rows of ``maskmem_tpos_enc``: last row for conditioning frames, 0 for the latest.
        pointers: [B, n, d] object pointers.
        offsets: [1 or B, n] float32, pointer offset divided by (number of pointers - 1).
        object_tokens: [B, k, R, d] RPG tokens of the memory frames.
        empty: [B, k] True where a part has nothing in this slot, or None.
        empty_pointers: [B, n] likewise, or None.
        keys: of the memory frames, or None where they are still to be made.
    """

    features: Tensor
    time_index: Tensor
    pointers: Tensor
    offsets: Tensor
    object_tokens: Tensor
    empty: Tensor | None = None
    empty_pointers: Tensor | None = None
    keys: ProjectedKeys | None = None


@dataclass(frozen=True)
class Conditioned:
    """Frame tokens ready for the decoder: image [B, N, d], object tokens [B, 3k, d], structure [B, layers, g, g]."""

    image: Tensor
    object_tokens: Tensor
    token_mask: Tensor | None
    structure: Tensor | None


def _chosen(first: Tensor, one: Tensor, others: Tensor) -> Tensor:
    """``one`` [1 or B, N, d] for the rows in ``first`` [B], else their own of ``others`` [B, N, d]."""
    if torch.onnx.is_in_onnx_export() and len(one) == 1:
        # Whole maps are copied; runtimes choose number by number otherwise, which takes three times as long.
        rows = torch.arange(len(others), device=others.device) + 1
        return torch.cat([one, others])[torch.where(first, torch.zeros_like(rows), rows)]
    return torch.where(first[:, None, None], one, others)


class RobotSegModel(nn.Module):
    """All weights of RobotSeg; state-dict names are those of the official checkpoint for the base preset."""

    memory_position: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        d, m = config.d_model, config.mem_dim
        self.image_encoder: nn.Module
        if isinstance(config.encoder, HieraConfig):
            from robotseg_core.model.image_encoder_base import HieraEncoder

            self.image_encoder = HieraEncoder(config.encoder, config.fpn_channels)
        else:
            self.image_encoder = ConvEncoder(config.encoder, config.fpn_channels)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        self.robot_prompt_generator = RobotPromptGenerator(config)
        self.obj_ptr_proj = MLP((d, d, d, d))
        self.obj_ptr_tpos_proj = nn.Linear(d, m)
        self.mask_downsample = nn.Conv2d(1, 1, 4, 4)
        self.maskmem_tpos_enc = nn.Parameter(torch.randn(config.memory_frames, 1, 1, m) * 0.02)
        self.no_mem_embed = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        # Never used in the forward pass, but part of every checkpoint (SPEC, parameter budget).
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, d))
        self.no_obj_ptr = nn.Parameter(torch.randn(1, d) * 0.02)
        self.no_obj_embed_spatial = nn.Parameter(torch.randn(1, m) * 0.02)
        position = self.pool_memory(sine_position_map(config.grid, m)[None])[0]
        self.register_buffer("memory_position", position, persistent=False)

    # ------------------------------------------------------------------------------------ encoder
    def encode(self, image: Tensor) -> Features:
        """Normalised images [B, 3, S, S] -> features (SPEC 2)."""
        f4, f8, f16 = self.image_encoder(image)
        return Features(h4=self.sam_mask_decoder.conv_s0(f4), h8=self.sam_mask_decoder.conv_s1(f8), f16=f16)

    # ------------------------------------------------------------------------------------ memory
    def initial(self, features: Features, batch: int) -> Conditioned:
        """A frame without memory (SPEC 7.3)."""
        image = features.f16.flatten(2).transpose(1, 2) + self.no_mem_embed
        return Conditioned(
            image=image.expand(batch, -1, -1),
            object_tokens=self.robot_prompt_generator.no_memory(batch),
            token_mask=None,
            structure=None,
        )

    def frame_codes(self, time_index: Tensor) -> Tensor:
        """Position and time codes of memory frames: rows [k] -> [k, M, m] (SPEC 7.2, item 3)."""
        return self.memory_position[None] + self.maskmem_tpos_enc[time_index, 0]

    def pointer_codes(self, offsets: Tensor) -> Tensor:
        """Time codes of pointer tokens: offsets [1 or B, n] -> [1 or B, n * pointer_tokens, m] (SPEC 7.2, item 5)."""
        code = self.obj_ptr_tpos_proj(sine_time_code(offsets, self.config.d_model))
        return code.repeat_interleave(self.config.pointer_tokens, 1)

    def memory_codes(self, memory: Memory) -> Tensor:
        """Codes of all memory tokens, frames first, [1 or B, L, m]."""
        frames, pointers = self.frame_codes(memory.time_index).flatten(0, 1), self.pointer_codes(memory.offsets)
        return torch.cat([frames[None].expand(pointers.shape[0], -1, -1), pointers], 1)

    def frame_keys(self, features: Tensor) -> Tensor:
        """Keys of a memory frame, to be kept with it: features [B, M, m] -> [A, B, M, e]."""
        return self.memory_attention.frame_keys(features + self.memory_position)

    def time_keys(self) -> Tensor:
        """What every time code adds to a frame's keys, [A, T, M, e]: constant for given weights."""
        return self.memory_attention.time_keys(self.maskmem_tpos_enc[:, 0, 0])

    def _keys(self, memory: Memory, pointers: Tensor) -> list[Keys]:
        """Keys of every cross attention; ``pointers`` [B, n, m]."""
        coded = pointers + self.pointer_codes(memory.offsets)
        cached, attention = memory.keys, self.memory_attention
        if cached is None:
            tokens = memory.features + self.frame_codes(memory.time_index)
            rope = attention.memory_cos, attention.memory_sin

            def anew(lookup: RoPEAttention) -> Tensor:
                return torch.cat([lookup.keys(tokens, rope).flatten(1, 2), lookup.k_proj(coded)], 1)

            return [functools.partial(anew, lookup) for lookup in attention.lookups]
        if cached.space is None:

            def added(i: int, lookup: RoPEAttention) -> Tensor:
                frames = cached.frames[i] + cached.time[i][memory.time_index]
                return torch.cat([frames.flatten(1, 2), lookup.k_proj(coded)], 1)

            return [functools.partial(added, i, lookup) for i, lookup in enumerate(attention.lookups)]
        spatial = memory.features.shape[1] * memory.features.shape[2]
        space = cached.space[:, : spatial + coded.shape[1]]
        frames = space[:, :spatial].unflatten(1, memory.features.shape[1:3])

        def together(i: int, lookup: RoPEAttention) -> Tensor:
            torch.add(cached.frames[i], cached.time[i][memory.time_index], out=frames)
            space[:, spatial:] = lookup.k_proj(coded)
            return space

        return [functools.partial(together, i, lookup) for i, lookup in enumerate(attention.lookups)]

    def condition(self, features: Features, edge: Tensor, memory: Memory, *, last_gate: bool = True) -> Conditioned:
        """A frame that looks up the memory (SPEC 5, 7.2).

        Args:
            edge: [1 or B, 1, g, g].
            last_gate: whether the last layer's structure branch is computed, see ``MemoryAttention.last_gate_cancels``.
        """
        batch, _, cells, width = memory.features.shape
        split = self.config.pointer_tokens
        pointers = memory.pointers.unflatten(-1, (split, width)).flatten(1, 2).to(memory.features.dtype)
        values = torch.cat([memory.features.flatten(1, 2), pointers], 1)

        mask = token_mask = nothing = None
        if memory.empty is not None:
            assert memory.empty_pointers is not None
            nothing = memory.empty.all(1)
            # A part without any memory looks at its empty slots rather than at nothing (no NaN); its result is
            # replaced below.
            dead = torch.cat(
                [memory.empty.repeat_interleave(cells, 1), memory.empty_pointers.repeat_interleave(split, 1)], 1
            )
            dead = dead & ~nothing[:, None]
            mask = torch.zeros(dead.shape, dtype=values.dtype, device=values.device)
            mask = mask.masked_fill(dead, float("-inf"))[:, None]
            token_mask = memory.empty.repeat_interleave(self.config.rpg_regions, 1)
        if self.config.memory_square > 1:
            # A square counts as much as its cells did: beside the pointers it would weigh too little otherwise.
            share = values.new_zeros(1, 1, values.shape[1])
            share[..., : memory.features.shape[1] * cells] = 2 * math.log(self.config.memory_square)
            mask = share.expand(batch, -1, -1) if mask is None else mask + share

        frame = features.f16.flatten(2).transpose(1, 2)
        keys = self._keys(memory, pointers)
        image, structure = self.memory_attention(frame, values, keys, edge, mask, last_gate=last_gate)
        object_tokens = memory.object_tokens.flatten(1, 2)
        if nothing is not None:
            assert token_mask is not None
            regions = self.config.rpg_regions
            image = _chosen(nothing, frame + self.no_mem_embed, image)
            learned = self.robot_prompt_generator.no_memory(batch)
            first = torch.where(nothing[:, None, None], learned, object_tokens[:, :regions])
            object_tokens = torch.cat([first, object_tokens[:, regions:]], 1)
            token_mask = torch.cat([token_mask[:, :regions] & ~nothing[:, None], token_mask[:, regions:]], 1)
        return Conditioned(image=image, object_tokens=object_tokens, token_mask=token_mask, structure=structure)

    # ------------------------------------------------------------------------------------ decoder
    def decode(
        self,
        features: Features,
        conditioned: Conditioned,
        part: Tensor | None,
        *,
        points: tuple[Tensor, Tensor] | None = None,
        mask_logits: Tensor | None = None,
    ) -> Candidates:
        """Candidates for a batch of parts (SPEC 3, 4).

        Args:
            part: [B] class-token rows, or None for mask prompts.
            points: (coords [B, n, 2] in model pixels, labels [B, n]) or None.
            mask_logits: [B, 1, h, w] mask prompt or None.
        """
        batch = conditioned.image.shape[0]
        prompts = self.sam_prompt_encoder
        sparse = prompts.no_points(batch) if points is None else prompts.points(*points)
        if self.config.dense_hints and points is not None:
            mask_logits = hint_map(*points, mask_logits, 4 * self.config.grid)
        dense = prompts.dense(batch, mask_logits)
        candidates: Candidates = self.sam_mask_decoder(
            conditioned.image + dense,
            prompts.dense_pe(),
            sparse,
            (features.h4, features.h8),
            part=part,
            object_tokens=conditioned.object_tokens,
            token_mask=conditioned.token_mask,
        )
        return candidates

    def choose(self, candidates: Candidates, *, multimask: bool = True) -> Choice:
        """Chosen mask and its pointer token (SPEC 4.4)."""
        return choose(candidates, multimask=multimask)

    def pointer(self, choice: Choice, object_logit: Tensor) -> Tensor:
        """Object pointers [B, d]; exactly ``no_obj_ptr`` where absent (SPEC 4.4)."""
        pointer = self.obj_ptr_proj(choice.token)
        return torch.where(object_logit[:, None] > 0, pointer, self.no_obj_ptr.to(pointer.dtype))

    # ------------------------------------------------------------------------------------ memory encoder
    def remember(self, features: Features, logits: Tensor, object_logit: Tensor, binary: Tensor) -> Tensor:
        """Memory features [B, N, m] of a frame from its low-res logits [B, h, w] (SPEC 7.1).

        ``binary`` [B] bool: prompted frames (auto mode's first frame included) enter with a hard mask.
        """
        side = self.config.image_size // self.config.memory_mask_stride
        large = logits[:, None]
        if logits.shape[-1] != side:
            large = F.interpolate(large, (side, side), mode="bilinear")
        mask = torch.where(binary[:, None, None, None], (large > 0).to(large.dtype), large.sigmoid())
        memory: Tensor = self.memory_encoder(features.f16, mask)
        absent = (object_logit <= 0)[:, None, None]
        return memory + torch.where(absent, self.no_obj_embed_spatial, torch.zeros_like(self.no_obj_embed_spatial))

    def pool_memory(self, memory: Tensor) -> Tensor:
        """What is kept of a frame's memory features: means of squares, [B, N, m] -> [B, M, m]."""
        pool, g = self.config.memory_square, self.config.grid
        if pool == 1:
            return memory
        return F.avg_pool2d(memory.transpose(1, 2).unflatten(2, (g, g)), pool).flatten(2).transpose(1, 2)

    def object_tokens(self, memory: Tensor, logits: Tensor) -> Tensor:
        """RPG tokens [B, R, d] of memory features [B, N, m] and stored low-res logits [B, h, w] (SPEC 6)."""
        tokens: Tensor = self.robot_prompt_generator(memory, foreground_cells(logits, self.config.grid))
        return tokens
