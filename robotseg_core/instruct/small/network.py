# SPDX-License-Identifier: Apache-2.0
"""The network of the small policy: words and cells meet in joint layers, a decoder writes the tokens.

Glossary: F frames, B requests, L words, C = 144 cells, G answers to a request, T tokens, d width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.instruct.candidates import COLOURS
from robotseg_core.instruct.small import tokens as tk
from robotseg_core.instruct.small.inputs import CELL_EXTRA, MOST_PIECES, FrameInputs
from robotseg_core.instruct.small.layers import DecoderLayer, EncoderLayer, JointLayer
from robotseg_core.instruct.small.text import BUCKETS, MAX_WORDS, WordBatch
from robotseg_core.types import PARTS


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes.

    Attributes:
        features: channels of the frozen encoder's stride-16 map.
        words: entries of the vocabulary, the unknown word's included.
        width, heads: of all layers.
        frame_layers, joint_layers, decoder_layers: how many.
    """

    features: int = 128
    words: int = 512
    width: int = 192
    heads: int = 6
    frame_layers: int = 2
    joint_layers: int = 2
    decoder_layers: int = 2


QUARTERS = 2
"""Values along a side of a cell of :meth:`SmallNetwork.where` and of :class:`Instances`."""
FINDING_SIZES = (1, MOST_PIECES, MOST_PIECES, 4, len(COLOURS))
FINDINGS = sum(FINDING_SIZES)
"""Values that :class:`Instances` finds of a part in a quarter of a cell."""


class Instances(nn.Module):
    """Who is where, whatever is asked: for each quarter of a cell and each part, which arm, gripper or robot covers it.

    Learned from the instances of training frames.  Its findings go back to the cells, so that words like "left",
    "second" or "white" find what they speak of.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.found = nn.Linear(width, QUARTERS**2 * len(PARTS) * FINDINGS)
        self.noted = nn.Linear(QUARTERS**2 * len(PARTS) * FINDINGS, width)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Cells [F, C, d] to cells with what was found, and the findings [F, C, 4, 3, :data:`FINDINGS`], before any
        softmax: is somebody there; number from the left, from the right; distances to the sides of the box, as steps
        over all steps; colour.
        """
        found = self.found(cells).unflatten(-1, (QUARTERS**2, len(PARTS), FINDINGS))
        there, left, right, box, colour = found.float().split(FINDING_SIZES, -1)
        known = torch.cat([there.sigmoid(), left.softmax(-1), right.softmax(-1), box, colour.softmax(-1)], -1)
        return cells + self.noted(known.flatten(2).to(cells.dtype)), found


@dataclass(frozen=True)
class Scene:
    """What the decoder reads of B requests.

    Attributes:
        cells: [B, C, d] keys of the pointer.
        keys: of each decoder layer.
        mask: [B, 1, 1, L + C] True where there is something.
    """

    cells: Tensor
    keys: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor


class SmallNetwork(nn.Module):
    """All weights of the small policy."""

    code: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        d, heads = config.width, config.heads
        # Of all layers, and of all that is known of a cell; training sets its share.
        self.drop = nn.Dropout(0.0)
        self.cell = nn.Linear(4 * (config.features + CELL_EXTRA), d)
        self.frame = nn.ModuleList(EncoderLayer(d, heads, self.drop) for _ in range(config.frame_layers))
        self.instances = Instances(d)
        self.word = nn.Embedding(config.words, d)
        self.gram = nn.EmbeddingBag(BUCKETS, d, mode="mean")
        self.order = nn.Embedding(2 * MAX_WORDS, d)
        self.joint = nn.ModuleList(JointLayer(d, heads, self.drop) for _ in range(config.joint_layers))
        self.joint_norm = nn.LayerNorm(d)
        self.token = nn.Embedding(tk.CELLS, d)
        self.place = nn.Embedding(tk.PLACES, d)
        self.step = nn.Embedding(tk.MAX_TOKENS, d)
        self.decoder = nn.ModuleList(DecoderLayer(d, heads, self.drop) for _ in range(config.decoder_layers))
        self.out_norm = nn.LayerNorm(d)
        self.table = nn.Linear(d, tk.CELLS)
        self.pointer = nn.Linear(d, d)
        self.pointed = nn.Linear(d, d)
        self.covered = nn.Linear(d, QUARTERS**2)
        self.register_buffer("code", _positions(d), persistent=False)
        for embedding in (self.order, self.token, self.place, self.step):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.normal_(self.word.weight, std=0.05)
        nn.init.normal_(self.gram.weight, std=0.1)

    # ------------------------------------------------------------------------------------ scene
    def frames(self, inputs: FrameInputs) -> Tensor:
        """F frames to cells [F, C, d]; the same for all requests about them."""
        return self.look(inputs)[0]

    def look(self, inputs: FrameInputs) -> tuple[Tensor, Tensor]:
        """The same, and who was found where, see :class:`Instances`."""
        fine = inputs.cells().transpose(1, 2).unflatten(2, inputs.f16.shape[-2:])
        x = self.cell(self.drop(F.pixel_unshuffle(fine, 2).flatten(2).transpose(1, 2))) + self.code
        for layer in self.frame:
            x = layer(x)
        found: tuple[Tensor, Tensor] = self.instances(x)
        return found

    def words(self, batch: WordBatch) -> tuple[Tensor, Tensor]:
        """Vectors [B, L, d] and where there are any, [B, L]."""
        there = batch.index >= 0
        kinds = self.word(batch.own) + self.gram(batch.grams, batch.starts)
        x = kinds[batch.index.clamp(min=0)]
        return x, there

    def scene(self, cells: Tensor, text: tuple[Tensor, Tensor]) -> Scene:
        """Requests [B, L, d] about cells [B, C, d], the latter of :meth:`frames`, one row a request."""
        x, there = text
        x = x + self.order.weight[: x.shape[1]]
        cells = cells.to(x.dtype)
        for layer in self.joint:
            x, cells = layer(x, cells, there[:, None, None])
        there = torch.cat([there, there.new_ones(cells.shape[:2])], 1)[:, None, None]
        x = torch.cat([x, cells], 1)
        x = self.joint_norm(x)
        own = x[:, -cells.shape[1] :]
        return Scene(own, tuple(layer.scene.keys(x) for layer in self._layers()), there)

    def where(self, scene: Scene) -> Tensor:
        """How much of each quarter of a cell the target covers: logits [B, 2 * 12, 2 * 12].

        No answer is read off it.  It is what training tells every cell, where an answer tells one of them.
        """
        covered = self.covered(scene.cells).transpose(1, 2).unflatten(2, (tk.GRID, tk.GRID))
        return F.pixel_shuffle(covered, QUARTERS)[:, 0].float()

    # ------------------------------------------------------------------------------------ answer
    def _embed(self, scene: Scene, before: Tensor, places: Tensor, group: int) -> Tensor:
        """Token before each step, -1 at the start, [B * G, T], and the place that stands there -> [B * G, T, d]."""
        x = self.token.weight.new_zeros(*before.shape, self.config.width)
        plain = (before >= 0) & (before < tk.CELLS)
        x = x + self.token(before.clamp(0, tk.CELLS - 1)) * plain[..., None]
        pointed = before >= tk.CELLS
        number = (before - tk.CELLS).clamp(min=0).unflatten(0, (-1, group)).flatten(1)
        chosen = scene.cells.gather(1, number[..., None].expand(-1, -1, self.config.width))
        code = self.code[number]
        cell = self.pointed(chosen) + code
        x = x + cell.view_as(x) * pointed[..., None]
        return x + self.place(places)

    def _logits(self, scene: Scene, x: Tensor, group: int) -> Tensor:
        """[B * G, T, d] -> [B * G, T, VOCABULARY] float32."""
        x = self.out_norm(x)
        pointer = self.pointer(x).unflatten(0, (-1, group)).flatten(1, 2)
        scores = pointer @ scene.cells.transpose(1, 2) / math.sqrt(self.config.width)
        return torch.cat([self.table(x), scores.view(*x.shape[:2], -1)], -1).float()

    def _layers(self) -> list[DecoderLayer]:
        return cast("list[DecoderLayer]", list(self.decoder))

    def forward(self, scene: Scene, tokens: Tensor, group: int) -> Tensor:
        """Logits of each token of written answers [B * G, T], constraints applied: [B * G, T, VOCABULARY]."""
        masks, places = tk.masks_of(tokens)
        before = torch.cat([tokens.new_full((tokens.shape[0], 1), -1), tokens[:, :-1]], 1)
        x = self._embed(scene, before, places, group) + self.step.weight[: tokens.shape[1]]
        for layer, keys in zip(self._layers(), scene.keys, strict=True):
            normed = layer.norm(x)
            x = x + layer.attention(normed, layer.attention.keys(normed), causal=True)
            folded = x.unflatten(0, (-1, group)).flatten(1, 2)
            x = layer.look(folded, keys, scene.mask).view_as(x)
        return self._logits(scene, x, group).masked_fill(~masks, float("-inf"))

    @torch.no_grad()
    def generate(
        self, scene: Scene, group: int = 1, *, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Write ``group`` answers to each request; ``temperature`` 0: the likeliest token each time.

        Returns:
            Tokens [B * G, T], mask [B * G, T] up to the end, log-probabilities [B * G, T].
        """
        count = scene.cells.shape[0] * group
        device = scene.cells.device
        reading = tk.start(count, device)
        before = torch.full((count,), -1, dtype=torch.int64, device=device)
        kept: list[list[Tensor]] = [[] for _ in self.decoder]
        tokens, mask, logps = [], [], []
        for step in range(tk.MAX_TOKENS):
            alive = reading.place != tk.DONE
            if not bool(alive.any()):
                break
            x = self._embed(scene, before[:, None], reading.place[:, None], group) + self.step.weight[step]
            for i, (layer, keys) in enumerate(zip(self._layers(), scene.keys, strict=True)):
                normed = layer.norm(x)
                kept[i].append(normed)
                x = x + layer.attention(normed, layer.attention.keys(torch.cat(kept[i], 1)))
                x = layer.look(x.view(-1, group, self.config.width), keys, scene.mask).view(count, 1, -1)
            logits = self._logits(scene, x, group)[:, 0].masked_fill(~tk.allowed(reading), float("-inf"))
            logp = F.log_softmax(logits / (temperature or 1.0), -1)
            if temperature:
                token = torch.multinomial(logp.exp(), 1, generator=generator)[:, 0]
            else:
                token = logp.argmax(-1)
            token = torch.where(alive, token, tk.PAD)
            tokens.append(token)
            mask.append(alive)
            logps.append(torch.where(alive, logp.gather(1, token[:, None])[:, 0], 0.0))
            reading, before = tk.advance(reading, token), token
        return torch.stack(tokens, 1), torch.stack(mask, 1), torch.stack(logps, 1)


def _positions(width: int) -> Tensor:
    """Sines of row and column of each cell, [C, d]."""
    at = (torch.arange(tk.GRID) + 0.5) / tk.GRID
    waves = 2 ** (torch.arange(width // 4) / (width // 4) * 5) * math.pi
    one = torch.cat([(at[:, None] * waves).sin(), (at[:, None] * waves).cos()], 1)
    rows = one[:, None].expand(-1, tk.GRID, -1)
    columns = one[None].expand(tk.GRID, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
