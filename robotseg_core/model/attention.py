# SPDX-License-Identifier: Apache-2.0
"""Attention of RobotSeg: the decoder's multi-head form and the memory's rotary form; small layers they share."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robotseg_core.cuda import attention as on_cuda


class MLP(nn.Module):
    """Linear layers with ReLU between them; keys ``layers.N``."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Apply: [..., widths[0]] -> [..., widths[-1]]."""
        layers = cast("list[nn.Linear]", list(self.layers))
        for layer in layers[:-1]:
            x = linear(layer, x, relu=True)
        return linear(layers[-1], x)


FEW_CHANNELS = 16
"""So many or fewer, and graphs normalise them without changing the storage of the map."""


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of [B, C, H, W], eps 1e-6 (SPEC, notation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W] over C."""
        if torch.onnx.is_in_onnx_export() and x.shape[1] <= FEW_CHANNELS:
            # Runtimes normalise rows; here a row would be a few numbers long.
            centred = x - x.mean(1, keepdim=True)
            scale = (centred.square().mean(1, keepdim=True) + 1e-6).rsqrt()
            return centred * scale * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)
        # In one pass over channels-last storage, in which the convolutions around it work as well.
        channels_last = x.permute(0, 2, 3, 1).float()
        return F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


NO_WEIGHT = -1e4
"""In graphs, added to the score of what must not count; finite, so that half types and differences can hold it."""
SCORES_AT_ONCE = 1 << 24
"""Attention scores held at once, bytes: they stay in the processor's cache between the two products."""


def uses_onednn(x: Tensor) -> bool:
    """Whether products of ``x`` go to oneDNN directly.

    PyTorch gives float32 products to MKL, which reaches half of oneDNN's rate on AMD processors.  The operator has
    no gradient, hence inference mode alone.
    """
    return x.device.type == "cpu" and torch.is_inference_mode_enabled() and _ONEDNN is not None


_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def product(a: Tensor, b: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """``a b^T + bias`` by oneDNN: a [..., K], b [N, K], bias [N] -> [..., N]; all of one type."""
    assert _ONEDNN is not None
    out: Tensor = _ONEDNN(a, b, bias, "relu" if relu else "none", [], "")
    return out


def linear(layer: nn.Linear, x: Tensor, *, relu: bool = False) -> Tensor:
    """``layer(x)``, followed by ReLU if asked for, at the processor's best rate."""
    if not uses_onednn(x):
        out: Tensor = layer(x)
        return F.relu(out) if relu else out
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return product(x.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype), relu=relu)


def autocast_type(device: torch.device) -> torch.dtype | None:
    """The type of products under autocast; None where it is off, or the device has none."""
    kind = device.type
    on = kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """``softmax(q k^T / sqrt(width) + mask) v``: q [1 or B, N, e], k [B, L, e], v [B, L, m] -> [B, N, m].

    ``mask`` [B, 1, L] or None.  Written out on the CPU, because PyTorch's fused kernels want values as wide as keys,
    and its fallback holds all scores and looks for empty rows, which costs more than the products at these sizes.
    On CUDA half types go to a kernel of ours, see :mod:`robotseg_core.cuda.attention`.
    """
    dtype = autocast_type(q.device)
    if dtype is not None and on_cuda.takes(q.device, dtype):
        found: Tensor = on_cuda.attend(q.to(dtype), k.to(dtype), v.to(dtype), mask)
        return found
    q = q * q.shape[-1] ** -0.5
    if torch.onnx.is_in_onnx_export():
        if mask is not None:
            # What is added to all scores of a key is one more channel of it: no pass over the scores.
            q = torch.cat([q, torch.ones_like(q[..., :1])], -1)
            k = torch.cat([k, mask.transpose(1, 2).clamp(min=NO_WEIGHT)], -1)
        return torch.matmul(torch.matmul(q, k.transpose(1, 2)).softmax(-1), v)
    if dtype is not None:
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    batch, queries, keys = k.shape[0], q.shape[1], k.shape[1]
    rows = max(1, SCORES_AT_ONCE // (keys * q.element_size()))
    if not uses_onednn(q) or batch * queries <= rows:
        scores = torch.matmul(q, k.transpose(1, 2))
        return torch.matmul((scores if mask is None else scores + mask).softmax(-1).to(v.dtype), v)
    out = v.new_empty(batch, queries, v.shape[2])
    for i in range(batch):
        values = v[i].T.contiguous()
        bias = None if mask is None else mask[i, 0].to(q.dtype)
        for some, part in zip(q[i % q.shape[0]].split(rows), out[i].split(rows), strict=True):
            scores = product(some, k[i], bias)
            part.copy_(product(torch.softmax(scores, -1, out=scores), values))
    return out


class Attention(nn.Module):
    """Multi-head attention of the two-way transformer (SPEC 4.2): projections to ``d_internal`` and back."""

    def __init__(self, *, d_model: int, d_internal: int, heads: int) -> None:
        super().__init__()
        if d_internal % heads:
            raise ValueError(f"d_internal is {d_internal}, must be a multiple of heads {heads}")
        self.heads = heads
        self.q_proj = nn.Linear(d_model, d_internal)
        self.k_proj = nn.Linear(d_model, d_internal)
        self.v_proj = nn.Linear(d_model, d_internal)
        self.out_proj = nn.Linear(d_internal, d_model)

    def _heads(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """[B, n, d] -> [B, heads, n, d_internal / heads]."""
        return linear(layer, x).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend: q [B, n, d], k and v [B, l, d] -> [B, n, d]; ``mask`` [B, 1, l] is added to the logits."""
        heads = self._heads(self.q_proj, q), self._heads(self.k_proj, k), self._heads(self.v_proj, v)
        added = None if mask is None else mask[:, None].to(heads[0].dtype)
        out = F.scaled_dot_product_attention(*heads, attn_mask=added)
        return linear(self.out_proj, out.transpose(1, 2).flatten(2))


def rope_table(grid: int, width: int, pool: int = 1) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the axial rotary code, each [n, width / 2] for ``n = (grid / pool) ** 2`` (SPEC 5.2).

    Channels 0..width/4-1 turn with x, the rest with y; frequencies ``10000 ** (-4 k / width)``.  Of squares of
    ``pool`` x ``pool`` cells the code is that of their centres.
    """
    frequency = 10000.0 ** (-4 * torch.arange(width // 4, dtype=torch.float32) / width)
    if pool > 1:
        centre = torch.arange(grid // pool) * pool + (pool - 1) / 2
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        angle = torch.cat([x.reshape(-1, 1) * frequency, y.reshape(-1, 1) * frequency], 1)
        return angle.cos(), angle.sin()
    t = torch.arange(grid * grid)
    angle = torch.cat([(t % grid)[:, None] * frequency, (t // grid)[:, None] * frequency], 1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (2c, 2c + 1) of x [..., n, width] by the table [n, width / 2], in real numbers."""
    re, im = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([re * cos - im * sin, re * sin + im * cos], -1).flatten(-2)


def turned(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """:func:`rotate`, on CUDA in one kernel where the type allows it."""
    out: Tensor = on_cuda.turn(x, *rope) if on_cuda.takes(x.device, x.dtype) else rotate(x, *rope)
    return out


class RoPEAttention(nn.Module):
    """One-head attention with axial rotary code (SPEC 5.2), over the frame itself or over the memory.

    Values stay ``d_kv`` wide in the attention and are projected after it: rows of the softmax sum to one, so
    ``A (M W + b) = (A M) W + b`` exactly, and memory values are narrower than the model.  (Where they are wider than
    ``d_internal``, they are projected before.)  Keys come from
    :meth:`keys`, so that those of a memory frame can be made once.
    """

    def __init__(self, *, d_model: int, d_kv: int, d_internal: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(d_model, d_internal)
        self.k_proj = nn.Linear(d_kv, d_internal)
        self.v_proj = nn.Linear(d_kv, d_internal)
        self.out_proj = nn.Linear(d_internal, d_model)

    def keys(self, tokens: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """Rotated keys of whole frames: tokens [..., N, d_kv] -> [..., N, e]."""
        return turned(linear(self.k_proj, tokens), rope)

    def forward(
        self, q: Tensor, keys: Tensor, v: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None = None
    ) -> Tensor:
        """q [1 or B, N, d], keys [B, L, e], v [B, L, d_kv] -> [B, N, d]; ``mask`` [B, 1, L] is added."""
        wide = v.shape[-1] > self.v_proj.out_features
        if wide:
            v = linear(self.v_proj, v)
        looked_up = attend(turned(linear(self.q_proj, q), rope), keys, v, mask)
        if wide:
            return linear(self.out_proj, looked_up)
        if torch.onnx.is_in_onnx_export():
            # Constants of the graph: one product instead of two.
            out = self.out_proj
            return F.linear(looked_up, out.weight @ self.v_proj.weight, out.weight @ self.v_proj.bias + out.bias)
        return linear(self.out_proj, linear(self.v_proj, looked_up))
