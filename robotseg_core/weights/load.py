# SPDX-License-Identifier: Apache-2.0
"""Load and save weights: the official checkpoint, SAM 2.1 and our own safetensors through one function."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from robotseg_core.storage.file_kinds import explain
from robotseg_core.storage.whole import replacing
from robotseg_core.weights.files import WeightsError, expected_sha256, find_weights, sha256_of

log = logging.getLogger(__name__)

# What RobotSeg adds to SAM 2.1 (SPEC, introduction): a SAM 2.1 checkpoint may lack these and nothing else.
ADDED_TO_SAM2 = re.compile(
    r"memory_attention\.layers\.\d+\.(cross_attn_structure|ms_pyramid|structure_head|structure_strength)\b"
    r"|sam_mask_decoder\.robot_token_embedding\.|robot_prompt_generator\."
)


MAX_REPEATED = 2
"""Bytes of all tensors, over those of their file: some models give a tensor two names."""


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_weights` did.

    Attributes:
        path: the file.
        kind: ``robotseg`` (every key), ``sam2`` (all but those that RobotSeg adds) or ``partial``.
        missing: keys of the model that the file lacks; they keep their initialisation.
        unexpected: keys of the file that the model lacks; they are ignored.
        sha256: of the file, in hex.
        sha256_verified: whether a hash was known; it was equal then.
        metadata: of a safetensors file.
    """

    path: Path
    kind: str
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    sha256: str
    sha256_verified: bool
    metadata: dict[str, str] = field(default_factory=dict)


def save_safetensors(
    state_dict: Mapping[str, Tensor],
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write weights as safetensors, floating-point tensors as float16; the file appears complete or not at all.

    Args:
        state_dict: tensors by name, on any device.
        path: file to write; its folder must exist.
        metadata: strings for the file's header (preset, step, figures ...).

    Raises:
        ValueError: a value is not finite, or not representable in float16; the key is named.
    """
    tensors: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        tensor = value.detach().cpu()
        tensor = tensor.to(torch.float16) if tensor.is_floating_point() else tensor
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{key} has values that are not finite in float16")
        tensors[key] = tensor.clone().contiguous()
    with replacing(Path(path)) as partial:
        safetensors.torch.save_file(tensors, partial, metadata=dict(metadata or {}))


def read_pickle(path: Path, device: str | torch.device = "cpu") -> Any:
    """What ``torch.save`` has written, if it holds nothing but tensors, numbers, texts and containers of them.

    Raises:
        WeightsError: damaged, packed (``torch.save`` does not pack, and a small file could unpack to a huge one), or a
            pickle that wants to run code.
        OSError: it cannot be read.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
            packed = next((entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED), None)
            if packed is not None:
                raise WeightsError(f"{path} is refused: its entry {packed.filename[:80]} is packed")
            size, there = sum(entry.file_size for entry in entries), path.stat().st_size
            if size > there:
                raise WeightsError(f"{path} is damaged: its entries have {size} bytes, the file has {there}")
        return torch.load(path, map_location=device, weights_only=True)
    except (WeightsError, OSError):
        raise
    except Exception as error:  # Whatever a damaged pickle makes of its reader.
        said = str(error).strip() or type(error).__name__
        raise WeightsError(
            f"{path}{explain(path)} is damaged, or holds more than tensors and is refused: {said[:400]}"
        ) from error


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a weight file: safetensors, or a pickle with nothing but tensors in it.

    A checkpoint whose entry ``model`` is a dict stands for that dict (the official layout).

    Raises:
        WeightsError: damaged, a pickle that wants to run code, or a tensor that no weight can be: complex, sparse,
            with values that are not finite; the message names it.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        try:
            with safetensors.safe_open(path, framework="pt") as opened:
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}
                metadata = dict(opened.metadata() or {})
        except OSError:
            raise
        except Exception as error:  # Whatever a damaged header makes of its reader.
            raise WeightsError(f"{path} is a damaged safetensors file: {error}") from error
        check_tensors(path, tensors)
        return tensors, metadata
    content = read_pickle(path)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path} holds no state dict (neither at the top nor under 'model')")
    check_tensors(path, content)
    return content, {}


def check_tensors(path: Path, tensors: Mapping[Any, Tensor]) -> None:
    """Raise WeightsError for names that are no text and for tensors that no weight can be; the first is named.

    A pickle's tensor is a view of what the file holds: of few numbers many can be made, by repeating each, or by giving
    the same ones many names.
    """
    left = MAX_REPEATED * path.stat().st_size
    for key, value in tensors.items():
        if not isinstance(key, str):
            # Not shown: tuples of tuples may be endless on paper.
            raise WeightsError(f"{path} has a tensor whose name is a {type(key).__name__}, names must be text")
        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type == "meta":
            kind = f"{value.dtype}, {value.layout}"
            raise WeightsError(f"{path}: {key[:80]} is {kind}; weights must be plain real numbers")
        size, held = value.numel() * value.element_size(), value.untyped_storage().nbytes()
        left -= size
        if size > held or left < 0:
            what = f"has {size} bytes, of which the file holds {held}" if size > held else "repeats others of the file"
            raise WeightsError(f"{path}: {key[:80]} {what}")
        if value.is_floating_point() and not bool(value.float().isfinite().all()):
            raise WeightsError(f"{path}: {key[:80]} has values that are not finite")


def load_weights(model: nn.Module, source: str | Path, *, allow_partial: bool = False) -> LoadReport:
    """Copy weights from a file into a model; which keys it lacked or had in excess is logged and returned.

    What is known about its hash (``SHA256SUMS`` beside it, or the known files) is checked.

    Args:
        model: whose state dict names and shapes count; values are converted to its types.
        source: path, preset (``nano``, ``base``) or name of a known file (:mod:`robotseg_core.weights.files`).
        allow_partial: accept a file with any missing or unexpected keys.  Without it only a SAM 2.1 checkpoint
            may be incomplete: what RobotSeg adds keeps its initialisation, and is useless until trained.

    Raises:
        WeightsError: absent (says how to obtain it), damaged, wrong hash, wrong shapes or keys.
    """
    path = find_weights(source)
    expected, actual = expected_sha256(path), sha256_of(path)
    if expected and actual != expected.lower():
        raise WeightsError(f"{path} has SHA-256 {actual}, expected {expected}: damaged, or another file of that name")
    tensors, metadata = read_state_dict(path)

    own = model.state_dict()
    missing = tuple(key for key in own if key not in tensors)
    unexpected = tuple(key for key in tensors if key not in own)
    wrong = [
        f"{key}: {tuple(tensors[key].shape)} in the file, {tuple(value.shape)} in the model"
        for key, value in own.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if wrong:
        raise WeightsError(f"{path} was made for another model; shapes differ: {_listed(wrong)}")
    is_sam2 = bool(missing) and not unexpected and all(ADDED_TO_SAM2.match(key) for key in missing)
    if (missing or unexpected) and not is_sam2 and not allow_partial:
        raise WeightsError(
            f"{path} does not fit: {len(missing)} missing keys ({_listed(missing)}), "
            f"{len(unexpected)} unexpected ({_listed(unexpected)})"
        )
    kind = "sam2" if is_sam2 else "partial" if missing or unexpected else "robotseg"
    if kind != "robotseg":
        log.warning("%s (%s): %d keys keep their initialisation: %s", path, kind, len(missing), _listed(missing))
    if unexpected:
        log.warning("%s: %d keys are not of this model and are ignored: %s", path, len(unexpected), _listed(unexpected))
    kinds = [
        f"{key}: {tensors[key].dtype} in the file, {value.dtype} in the model"
        for key, value in own.items()
        if key in tensors and tensors[key].is_floating_point() != value.is_floating_point()
    ]
    if kinds:
        raise WeightsError(f"{path} was made for another model; types differ: {_listed(kinds)}")
    model.load_state_dict({key: value for key, value in tensors.items() if key in own}, strict=False)
    return LoadReport(path, kind, missing, unexpected, actual, expected is not None, metadata)


def _listed(names: tuple[str, ...] | list[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + more
