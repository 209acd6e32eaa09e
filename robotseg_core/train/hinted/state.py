# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: weights to use, and a state to go on from, in files of half precision that travel easily.

``weights.safetensors`` holds the averaged weights; ``raw``, ``slope`` and ``spread`` the weights as they learn and both
moments of AdamW, rounded to 16 bits: a run that goes on does so from values rounded by less than 1 %.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from robotseg_core.storage.whole import replacing
from robotseg_core.train.hinted.learn import Learner
from robotseg_core.weights.load import save_safetensors

MODEL = "model."


LARGEST_VARIANCE = 1e4


def balanced(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same model with no variance too large for float16: where a convolution stands before a normalisation, its
    weights, and the mean and the variance there, are halved as often as needed, channel by channel.
    """
    out = dict(state)
    for name, variance in state.items():
        if not name.endswith(".1.running_var"):
            continue
        block = name[: -len("1.running_var")]
        halvings = torch.ceil(0.5 * torch.log2(variance.float().clamp(min=1e-6) / LARGEST_VARIANCE)).clamp(min=0)
        share = torch.pow(2.0, -halvings)
        out[name] = variance * share.square()
        out[f"{block}1.running_mean"] = state[f"{block}1.running_mean"] * share
        out[f"{block}0.weight"] = state[f"{block}0.weight"] * share[:, None, None, None]
    return out


def _write(tensors: Mapping[str, Tensor], partial: Path) -> None:
    safetensors.torch.save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial)


def save_state(
    out: Path,
    learner: Learner,
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    numbers: Mapping[str, float],
) -> None:
    """Write everything; a file appears complete or not at all, all of them at once, ``state.json`` last.

    Raises:
        ValueError: averaged weights are not finite.
    """
    averaged = balanced({k[len(MODEL) :]: v for k, v in average.items() if k.startswith(MODEL)})
    metadata = {
        "preset": learner.model.config.name,
        "frames_seen": str(numbers["seen"]),
        "updates": str(numbers["updates"]),
    }
    raw = balanced(learner.state_dict())
    names = {id(p): n for n, p in learner.named_parameters()}
    own = {names[id(p)]: s for p, s in optimizer.state.items()}
    step = max((float(s["step"]) for s in own.values()), default=0.0)
    heads = {k: v.tolist() for k, v in average.items() if k.startswith("dense_head")}
    # A state of files of two steps would be none: they take their places when all are written, the first one last.
    with ExitStack() as stack:
        state, spread, slope, own_raw = (
            stack.enter_context(replacing(out / name))
            for name in ("state.json", "spread.safetensors", "slope.safetensors", "raw.safetensors")
        )
        state.write_text(json.dumps({**numbers, "step": step, "heads": heads}))
        _write({n: s["exp_avg_sq"].bfloat16() for n, s in own.items()}, spread)
        _write({n: s["exp_avg"].bfloat16() for n, s in own.items()}, slope)
        _write({k: v.half() if v.is_floating_point() else v for k, v in raw.items()}, own_raw)
        save_safetensors(averaged, out / "weights.safetensors", metadata)


def load_state(
    out: Path, learner: Learner, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, float] | None:
    """Read what :func:`save_state` wrote into all of them -> its numbers; None where there is none."""
    if not (out / "state.json").exists():
        return None
    numbers = json.loads((out / "state.json").read_text())
    learner.load_state_dict(safetensors.torch.load_file(out / "raw.safetensors"))
    averaged = safetensors.torch.load_file(out / "weights.safetensors")
    with torch.no_grad():
        for name, value in average.items():
            if name.startswith(MODEL):
                value.copy_(averaged[name[len(MODEL) :]])
            elif name in numbers["heads"]:
                value.copy_(torch.tensor(numbers["heads"][name]))
    slope = safetensors.torch.load_file(out / "slope.safetensors")
    spread = safetensors.torch.load_file(out / "spread.safetensors")
    for name, parameter in learner.named_parameters():
        if name in slope:
            device = parameter.device
            optimizer.state[parameter] = {
                "step": torch.tensor(numbers["step"], device=device),
                # In the parameter's own strides, which the fused step wants.
                "exp_avg": torch.zeros_like(parameter).copy_(slope[name]),
                "exp_avg_sq": torch.zeros_like(parameter).copy_(spread[name]),
            }
    del numbers["heads"]
    return dict(numbers)


def start_heads(learner: Learner, weights: Path) -> bool:
    """Take the dense head over from the run whose ``weights`` these are, if it lies beside them -> whether it did.

    A head that begins at random would first drag a trained encoder to itself.
    """
    path = weights.with_name("state.json")
    if not path.exists():
        return False
    heads = json.loads(path.read_text()).get("heads", {})
    own = {k: v for k, v in learner.state_dict().items() if k.startswith("dense_head")}
    values = {k: torch.tensor(v) for k, v in heads.items()}
    if {k: v.shape for k, v in values.items()} != {k: v.shape for k, v in own.items()}:
        return False
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(values[name])
    return True
