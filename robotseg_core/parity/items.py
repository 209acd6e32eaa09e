# SPDX-License-Identifier: Apache-2.0
"""Golden items: the arrays that were recorded of each output, by name.

A golden file holds arrays named ``<run>/f<frame>[call<i>]/<item>``.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from robotseg_core.model.mask_decoder import STABILITY_OFFSET
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.session import Frame
from robotseg_core.stream.session_memory import Output


def output_item(item: str, model: RobotSegModel, output: Output, frame: Frame) -> NDArray[Any]:
    """The array that a golden item's name means, of one output.

    Raises:
        KeyError: no such item.
    """
    stem, stride = split_item(item)
    trace = output.trace
    g = model.config.grid
    value: Tensor
    if stem == "logits":
        value = output.logits[0, ::stride, ::stride]
    elif stem == "mask_bits":
        return np.packbits((output.logits[0] > 0).cpu().numpy())
    elif stem == "logits_stats":
        x = output.logits[0].double()
        shares = [(x > 0).double().mean(), (x.abs() < 0.01).double().mean()]
        value = torch.stack([x.mean(), x.std(), x.min(), x.max(), *shares])
    elif stem == "object_score":
        value = output.object_logit
    elif stem == "obj_ptr":
        value = output.pointer[0]
    elif stem.startswith("maskmem") and output.memory is not None:
        x = output.memory[0].float()
        if stem == "maskmem_stats":
            value = torch.stack([x.double().mean(), x.double().std()])
        else:
            value = x.T.unflatten(1, (g, g))[:, ::stride, ::stride]
    elif stem == "edges_small":
        value = frame.edge[0, 0]
    elif trace is None:
        raise KeyError(item)
    elif stem == "ious":
        value = trace.candidates.ious[0, 1:] if trace.multimask else trace.choice.iou
    elif stem == "all_ious4":
        value = trace.candidates.ious[0]
    elif stem == "all_logits4":
        value = trace.candidates.logits[0, :, ::stride, ::stride]
    elif stem == "chosen":
        value = trace.choice.index
    elif stem == "multimask":
        value = torch.tensor([trace.multimask])
    elif stem == "stability":
        x = trace.candidates.logits[0, 0]
        value = ((x > STABILITY_OFFSET).sum() / (x > -STABILITY_OFFSET).sum()).view(1)
    elif stem == "rpg_tokens":
        value = trace.conditioned.object_tokens[0]
    elif stem == "sparse":
        value = trace.sparse[0]
    elif stem == "ma_out_tokens":
        value = trace.conditioned.image[0, :: stride or 16]
    elif stem == "structure" and trace.conditioned.structure is not None:
        large = F.interpolate(trace.conditioned.structure, scale_factor=16.0, mode="bilinear")
        value = large[0, :, ::stride, ::stride]
    elif trace.memory is not None and stem in ("num_obj_ptr_tokens", "memory_len", "memory_pos", "memory_pos_ptr"):
        codes = model.memory_codes(trace.memory)[0]
        spatial = trace.memory.features.shape[1] * g * g
        if stem == "num_obj_ptr_tokens":
            value = torch.tensor([codes.shape[0] - spatial])
        elif stem == "memory_len":
            value = torch.tensor([codes.shape[0]])
        else:
            value = codes[:spatial:stride] if stem == "memory_pos" else codes[spatial:]
    else:
        raise KeyError(item)
    # A copy: some values are views of weights, which the next run changes.
    return np.array(value.cpu().numpy())


def split_item(item: str) -> tuple[str, int | None]:
    """``logits_s4_f16`` -> (``logits``, 4): an item's name without stride and type."""
    match = re.fullmatch(r"(.+?)(?:_s(\d+))?(?:_f16|_f32)?", item)
    assert match is not None
    return match[1], int(match[2]) if match[2] else None
