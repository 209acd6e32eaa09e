# SPDX-License-Identifier: Apache-2.0
"""Adapters: what one robot adds to the weights, in a small file that fits one base and no other.

A change of a matrix is the product of two thin ones (low-rank adaptation, Hu et al. 2021, arXiv 2106.09685), a change
of a bias, a norm or an embedding is a sum.  It is merged into the weights when they are loaded: a frame costs no more.

Shape glossary: a weight [O, ...] is taken as a matrix [O, I]; up [O, r], down [r, I].
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from robotseg_core.weights.files import WeightsError, anybodys, sha256_of
from robotseg_core.weights.load import read_state_dict, save_safetensors

KIND = "robotseg adapter 1"
"""In the header of every adapter; the number changes when what its tensors mean does."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
UP, DOWN, ADD = ":up", ":down", ":add"
"""Ends of the names of the tensors, after the name of the weight that they change."""


@dataclass(frozen=True)
class Adapter:
    """A file of :func:`save_adapter`.

    Attributes:
        name: of the robot.
        path: the file.
        sha256: of the file, in hex.
        base_sha256: of the weight file that it was trained on.
        preset: of these weights.
        tensors: factors and sums by name.
        metadata: all that the header says.
    """

    name: str
    path: Path
    sha256: str
    base_sha256: str
    preset: str
    tensors: dict[str, Tensor] = field(repr=False)
    metadata: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return sum(tensor.numel() for tensor in self.tensors.values())


def check_name(name: str) -> str:
    """The name of an adapter.

    Raises:
        ValueError: it could not be the name of a file.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"adapter name is {name!r}, must be letters, digits, '_', '.' and '-', at most 64")
    return name


def adapter_folder() -> Path | None:
    """Where adapters are found by name: $ROBOTSEG_ADAPTERS, else ``robotseg/adapters`` in the user's configuration.

    As the XDG specification says, a relative path in $XDG_CONFIG_HOME counts for nothing; None without a home.
    """
    if chosen := os.environ.get("ROBOTSEG_ADAPTERS"):
        return Path(chosen)
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        config = Path(configured) if os.path.isabs(configured) else Path.home() / ".config"
    except RuntimeError:
        return None
    return config / "robotseg" / "adapters"


def find_adapter(source: str | Path) -> Path:
    """Path of an adapter.

    Args:
        source: path of a file, with a ``/`` in it or ``.safetensors`` at its end; else a name, which is looked for in
            :func:`adapter_folder` alone and never in the current folder.

    Raises:
        WeightsError: there is none; says which there are.
    """
    text = str(source)
    if isinstance(source, Path) or "/" in text or text.endswith(".safetensors"):
        if not Path(source).expanduser().is_file():
            raise WeightsError(f"no adapter file {source}")
        return Path(source).expanduser()
    folder = adapter_folder()
    if folder is None or not folder.is_dir() or anybodys(folder):
        why = "can be written by anybody" if folder and folder.is_dir() else "is not there"
        raise WeightsError(f"no adapter {text!r}: the folder {folder} {why}; a path of a file goes too")
    path = folder / f"{text}.safetensors"
    if not NAME.fullmatch(text) or not path.is_file():
        there = ", ".join(sorted(file.stem for file in folder.glob("*.safetensors"))) or "none"
        raise WeightsError(f"no adapter {text!r} in {folder}; there: {there}")
    return path


def save_adapter(
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    name: str,
    base_sha256: str,
    preset: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an adapter as safetensors in float16; the file appears complete or not at all.

    Args:
        tensors: ``<weight>:up`` [O, r] and ``<weight>:down`` [r, I], or ``<weight>:add`` of the weight's shape.
        path: file to write.
        name: of the robot.
        base_sha256: of the weight file that it was trained on, in hex.
        preset: of these weights.
        metadata: more for the header.

    Raises:
        ValueError: a name that cannot be one, or a value that float16 cannot hold.
    """
    header = {"kind": KIND, "name": check_name(name), "base_sha256": base_sha256, "preset": preset}
    save_safetensors(tensors, path, {**(metadata or {}), **header})


def read_adapter(source: str | Path) -> Adapter:
    """Read an adapter by name or path (:func:`find_adapter`).

    Raises:
        WeightsError: absent, damaged, or no adapter.
    """
    path = find_adapter(source)
    tensors, metadata = read_state_dict(path)
    if metadata.get("kind") != KIND:
        said = metadata.get("kind", "none; whole weights go with --weights")
        raise WeightsError(f"{path} is no adapter: its kind is {said!r}, must be {KIND!r}")
    missing = [key for key in ("name", "base_sha256", "preset") if not metadata.get(key)]
    if missing:
        raise WeightsError(f"{path} does not say its {' and '.join(missing)}")
    return Adapter(
        name=metadata["name"],
        path=path,
        sha256=sha256_of(path),
        base_sha256=metadata["base_sha256"],
        preset=metadata["preset"],
        tensors=tensors,
        metadata=metadata,
    )


def apply_adapter(model: nn.Module, adapter: Adapter, base_sha256: str) -> None:
    """Merge an adapter into the weights of a model, in place.

    Args:
        model: with the weights of the base.
        adapter: what to add.
        base_sha256: of the file that the model's weights are from.

    Raises:
        WeightsError: it was trained on other weights, or its tensors do not fit; the model is as it was then.
    """
    if adapter.base_sha256 != base_sha256:
        raise WeightsError(
            f"adapter {adapter.path} was trained on weights with SHA-256 {adapter.base_sha256[:16]}..., "
            f"these have {base_sha256[:16] or 'none'}...: take those weights, or train it anew on these"
        )
    own = dict(model.named_parameters())
    changed: dict[str, Tensor] = {}
    for weight in sorted({key.rpartition(":")[0] for key in adapter.tensors}):
        if weight not in own:
            raise WeightsError(f"{adapter.path} changes {weight[:80]!r}, which the model does not have")
        changed[weight] = merged(own[weight].detach(), weight, adapter.tensors, str(adapter.path))
    unread = [key for key in adapter.tensors if not key.endswith((UP, DOWN, ADD))]
    if unread:
        raise WeightsError(f"{adapter.path} has the tensor {unread[0][:80]!r}, whose use is not known")
    with torch.no_grad():
        for weight, value in changed.items():
            own[weight].copy_(value)


def merged(value: Tensor, weight: str, tensors: Mapping[str, Tensor], path: str) -> Tensor:
    """A weight with what an adapter adds to it, in the weight's own type.

    Raises:
        WeightsError: the factors are not of its shape.
    """
    add, up, down = (tensors.get(weight + end) for end in (ADD, UP, DOWN))
    shape = tuple(value.shape)
    if add is not None and up is None and down is None:
        if tuple(add.shape) != shape:
            raise WeightsError(f"{path}: {weight}{ADD} is {tuple(add.shape)}, the weight is {shape}")
        return value + add.to(value)
    if add is not None or up is None or down is None:
        raise WeightsError(f"{path}: {weight} needs {UP} and {DOWN}, or {ADD} alone")
    fits = (
        up.ndim == down.ndim == 2
        and up.shape[1] == down.shape[0]
        and len(shape) > 1
        and up.shape[0] == shape[0]
        and up.shape[0] * down.shape[1] == value.numel()
    )
    if not fits:
        raise WeightsError(f"{path}: {weight} is {shape}, its factors are {tuple(up.shape)} and {tuple(down.shape)}")
    return value + (up.to(value) @ down.to(value)).reshape(shape)
