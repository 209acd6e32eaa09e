# SPDX-License-Identifier: Apache-2.0
"""Exported graphs: written whole or not at all, kept, and found again by the hash of what they were made from."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robotseg_core.backends.calibration import calibrate, shipped_frames, tensors
from robotseg_core.backends.encoder import EncoderGraph
from robotseg_core.backends.int8_graph import Layer, to_int8
from robotseg_core.backends.onnx_graph import check_precision, folded, to_half
from robotseg_core.model.image_encoder_base import PATCH_STRIDE, HieraTrunk
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.storage.user_cache import cache_folder, kept
from robotseg_core.storage.whole import replacing

GRAPH_VERSION = 9
"""Raised when the export changes, so that no graph or engine of before is taken from the cache."""


def encoder_hash(model: RobotSegModel) -> str:
    """Hash of everything that determines the exported encoder: weights, size, PyTorch version."""
    return _hash(model, (model.image_encoder, model.sam_mask_decoder.conv_s0, model.sam_mask_decoder.conv_s1))


def model_hash(model: RobotSegModel) -> str:
    """The same of the whole model."""
    return _hash(model, (model,))


def _hash(model: RobotSegModel, modules: tuple[nn.Module, ...]) -> str:
    digest = hashlib.sha256(f"{model.config} {torch.__version__} {GRAPH_VERSION}".encode())
    for module in modules:
        for key, value in module.state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def encoder_name(model: RobotSegModel, precision: str = "fp32") -> str:
    """File name of the exported encoder."""
    kind = "" if precision == "fp32" else f"_{precision}"
    return f"encoder_{model.config.name}_{model.config.image_size}{kind}_{encoder_hash(model)}.onnx"


def cached_onnx(model: RobotSegModel, precision: str = "fp32") -> bytes:
    """The encoder's graph in ``fp32``, ``fp16`` or ``int8``; made now if there is no good one in the cache."""
    name = encoder_name(model, precision)
    if precision == "int8":
        return kept(name, lambda path: _ignored(write_int8(model, path, shipped_frames())))
    return kept(name, lambda path: export_onnx(model, path, precision))


def _ignored(_: object) -> None:
    pass


@contextmanager
def onnx_file(model: RobotSegModel, precision: str = "fp32") -> Iterator[Path]:
    """The same as a file, for readers that want a path: that of the cache, or one that is gone afterwards."""
    graph, folder, name = cached_onnx(model, precision), cache_folder(), encoder_name(model, precision)
    if folder is not None and (folder / name).is_file():
        yield folder / name
        return
    with TemporaryDirectory(prefix="robotseg_") as temporary:
        path = Path(temporary) / name
        path.write_bytes(graph)
        yield path


def write_int8(model: RobotSegModel, path: Path, frames: Sequence[NDArray[np.uint8]]) -> list[Layer]:
    """Write the encoder in 8 bits, calibrated on ``frames`` [H, W, 3] uint8 RGB -> what became of each layer.

    The file appears complete or not at all.

    Raises:
        ValueError: no frames, or an encoder that is not convolutional.
    """
    import onnx

    exact = onnx.load_model_from_string(cached_onnx(model))
    known = calibrate(exact, tensors(frames, model.config.image_size))
    with replacing(path) as partial:
        partial.write_bytes(to_int8(exact, known).SerializeToString())
    return known.layers


def export_onnx(model: RobotSegModel, path: Path, precision: str = "fp32") -> None:
    """Write the encoder as ONNX; the file appears complete or not at all.

    Inputs and outputs are float32 in every precision; all sizes but the number of frames are fixed.

    Raises:
        ValueError: unknown precision, or a weight that float16 cannot hold.
    """
    check_precision(precision)
    size = model.config.image_size
    graph = EncoderGraph(model).float().cpu()
    trunk = getattr(graph.image_encoder, "trunk", None)
    if isinstance(trunk, HieraTrunk):
        # A constant of the graph: TensorRT has no bicubic resize.  (The trunk's own cache does not outlive the
        # exporter's change of mode; the trunk is a copy of ours.)
        code = trunk.position(size // PATCH_STRIDE, size // PATCH_STRIDE)
        trunk.position = lambda height, width: code  # type: ignore[method-assign]
    # Two frames, so that nothing is taken for fixed because it is 1.
    example = (torch.zeros(2, 3, size, size),)
    write_onnx(graph, example, ["image"], ["h4", "h8", "f16"], path, batched=True, half=precision == "fp16")


def write_onnx(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    path: Path,
    *,
    batched: bool = False,
    half: bool = False,
) -> None:
    """Trace ``graph`` on an example and write it; the file appears complete or not at all.

    ``batched``: the first axis of all inputs and outputs is of any length; otherwise shapes are those of the example.
    """
    with replacing(path) as partial:
        # The exporter records PyTorch's own operators, which inference mode replaces (robotseg_core.model.attention).
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            # The TorchScript exporter announces its successor; it needs no further package and its graph is checked
            # against PyTorch in the tests.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                tuple(x.clone() for x in example),
                str(partial),
                input_names=inputs,
                output_names=outputs,
                dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)} if batched else None,
                opset_version=17,
                dynamo=False,
            )
        exported = folded(partial)
        if half:
            to_half(exported)
        partial.write_bytes(exported.SerializeToString())
