# SPDX-License-Identifier: Apache-2.0
"""``robotseg average``: the weighted mean of weight files of one architecture, tensor by tensor.

Weights that were trained on from the same start lie in one basin, and their mean is often better than either (model
soups, Wortsman et al. 2022; WiSE-FT for a fine-tuned model and what it began from).  It costs nothing at run time.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robotseg_core.config import PRESETS
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.weights.files import WeightsError, find_weights, sha256_of
from robotseg_core.weights.load import read_state_dict, save_safetensors

PROVENANCE = "averaged_from"
"""Entry of the header: JSON, a list of file name, SHA-256, share and the file's own header."""


@dataclass(frozen=True)
class Ingredient:
    """A file and its share, above 0 and below 1."""

    path: Path
    share: float


@dataclass(frozen=True)
class Averaged:
    """The mean.

    Attributes:
        tensors: by name, float32 where they are floating-point.
        preset: whose architecture it is.
        provenance: what went in, as it is written into the header.
    """

    tensors: dict[str, Tensor]
    preset: str
    provenance: list[dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg average``."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE[=SHARE]",
        help="weight files and their shares, which add up to 1; without any, equal shares",
    )
    parser.add_argument("--out", required=True, type=Path, help="file to write, .safetensors")


def run(arguments: argparse.Namespace) -> int:
    """Average, write, say what was done."""
    ingredients = parse_ingredients(arguments.files)
    if arguments.out.exists():
        raise FileExistsError(f"{arguments.out} exists; it is not overwritten")
    averaged = average(ingredients)
    metadata = {"preset": averaged.preset, PROVENANCE: json.dumps(averaged.provenance)}
    save_safetensors(averaged.tensors, arguments.out, metadata)
    for one in averaged.provenance:
        print(f"{one['share']:.4g} of {one['file']} (SHA-256 {one['sha256']})")
    print(f"{averaged.preset}, {len(averaged.tensors)} tensors -> {arguments.out} (SHA-256 {sha256_of(arguments.out)})")
    return 0


def parse_ingredients(words: Sequence[str]) -> list[Ingredient]:
    """Files and shares from ``FILE=SHARE``, or from names of files alone.

    Raises:
        ValueError: fewer than two files, one given twice, shares for some only, out of range or of another sum.
        WeightsError: a file is absent.
    """
    if len(words) < 2:
        raise ValueError(f"{len(words)} weight file is given, a mean needs two or more")
    # A file whose name holds a = is that file.
    split = [(word, "") if Path(word).exists() else word.rpartition("=")[::2] for word in words]
    split = [(name or share, share if name else "") for name, share in split]
    given = [share for _, share in split if share]
    if given and len(given) < len(split):
        raise ValueError(f"{len(given)} of {len(split)} files have a share, must be all or none")
    try:
        shares = [float(share) for share in given] or [1 / len(split)] * len(split)
    except ValueError:
        raise ValueError(f"shares are {', '.join(given)}, must be numbers") from None
    for share in shares:
        if not 0 < share < 1:
            raise ValueError(f"a share is {share}, must be above 0 and below 1")
    if not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError(f"the shares add up to {sum(shares):g}, must be 1")
    paths = [find_weights(name) for name, _ in split]
    for path in paths:
        if [other.resolve() for other in paths].count(path.resolve()) > 1:
            raise ValueError(f"{path} is given twice")
    return [Ingredient(path, share) for path, share in zip(paths, shares, strict=True)]


def average(ingredients: Sequence[Ingredient]) -> Averaged:
    """The weighted mean; counters, which are no weights, are those of the file with the largest share.

    Raises:
        WeightsError: a file is damaged, or not of the same architecture as the first, or of none that is known.
    """
    tensors: dict[str, Tensor] = {}
    provenance = []
    largest = max(ingredients, key=lambda one: one.share)
    first: dict[str, Tensor] = {}
    for one in ingredients:
        state, metadata = read_state_dict(one.path)
        first = first or state
        check_same(ingredients[0].path, first, one.path, state)
        for key, value in state.items():
            if value.is_floating_point():
                # Double: the order of the files must not matter.
                tensors[key] = tensors.get(key, torch.zeros((), dtype=torch.float64)) + one.share * value.double()
            elif one is largest:
                tensors[key] = value
        provenance.append(
            {"file": one.path.name, "sha256": sha256_of(one.path), "share": one.share, "header": metadata}
        )
    mean = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    return Averaged(mean, preset_of(mean, ingredients[0].path), provenance)


def check_same(path: Path, first: Mapping[str, Tensor], other_path: Path, other: Mapping[str, Tensor]) -> None:
    """Raise WeightsError where two state dicts are not of one architecture; the first difference is named."""
    for key in sorted(first.keys() ^ other.keys()):
        has, lacks = (path, other_path) if key in first else (other_path, path)
        raise WeightsError(f"{has} and {lacks} are of different architectures: only the first has {key}")
    for key, value in first.items():
        if value.shape != other[key].shape or value.is_floating_point() != other[key].is_floating_point():
            raise WeightsError(
                f"{path} and {other_path} are of different architectures: {key} is {value.dtype} "
                f"{tuple(value.shape)} and {other[key].dtype} {tuple(other[key].shape)}"
            )


def preset_of(state: Mapping[str, Tensor], path: Path) -> str:
    """Name of the preset whose names and shapes these are.

    Raises:
        WeightsError: of none.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    for name, config in PRESETS.items():
        with torch.device("meta"):
            own = RobotSegModel(config).state_dict()
        if shapes == {key: tuple(value.shape) for key, value in own.items()}:
            return name
    raise WeightsError(f"{path} has {len(shapes)} tensors, which are those of none of {', '.join(PRESETS)}")
