# SPDX-License-Identifier: Apache-2.0
"""The image encoder behind one small interface: torch, ONNX Runtime or TensorRT."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from robotseg_core.conv_encoder import fold_batch_norm
from robotseg_core.image_encoder import PATCH_STRIDE, HieraTrunk
from robotseg_core.model import Features, RobotSegModel
from robotseg_core.onnx_graph import check_precision, folded, to_half

log = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "onnxruntime", "tensorrt")

GRAPH_VERSION = 3
"""Raised when the export changes, so that no graph or engine of before is taken from the cache."""


class EncoderBackend(Protocol):
    """Normalised images [B, 3, S, S] float32 -> :class:`Features` of B frames.

    Attributes:
        name: one of :data:`BACKENDS`.
        max_batch: largest B; None: any.
    """

    name: str
    max_batch: int | None

    def encode(self, image: Tensor) -> Features:
        """Encode B frames at once; each gets what it would get alone, but for roundings."""
        ...


class EncoderGraph(nn.Module):
    """Encoder and conv_s0 / conv_s1 as one graph with folded norms, for export and for eager use."""

    def __init__(self, model: RobotSegModel) -> None:
        super().__init__()
        self.image_encoder = fold_batch_norm(copy.deepcopy(model.image_encoder).eval())
        self.conv_s0 = copy.deepcopy(model.sam_mask_decoder.conv_s0)
        self.conv_s1 = copy.deepcopy(model.sam_mask_decoder.conv_s1)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images [B, 3, S, S] -> (H4, H8, F16)."""
        f4, f8, f16 = self.image_encoder(image)
        return self.conv_s0(f4), self.conv_s1(f8), f16


class TorchEncoder:
    """Eager PyTorch on any device."""

    name = "torch"
    max_batch: int | None = None

    def __init__(self, model: RobotSegModel, device: torch.device) -> None:
        self._graph = EncoderGraph(model).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, image: Tensor) -> Features:
        """Encode frames [B, 3, S, S]."""
        h4, h8, f16 = self._graph(image.contiguous(memory_format=torch.channels_last))
        return Features(h4=h4, h8=h8, f16=f16)


def session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A spinning pool would take the cores from what else runs for the frame.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class OnnxEncoder:
    """ONNX Runtime on the CPU; the graph is exported once per set of weights into the user's cache folder."""

    name = "onnxruntime"
    max_batch: int | None = None

    def __init__(self, model: RobotSegModel, threads: int) -> None:
        self._session = session(cached_onnx(model), threads)
        self._input = self._session.get_inputs()[0].name

    def encode(self, image: Tensor) -> Features:
        """Encode frames [B, 3, S, S]."""
        outputs = self._session.run(None, {self._input: np.ascontiguousarray(image.numpy())})
        h4, h8, f16 = (torch.from_numpy(np.asarray(x)) for x in outputs)
        return Features(h4=h4, h8=h8, f16=f16)


def cache_folder() -> Path:
    """Where exported encoders are kept: ``$XDG_CACHE_HOME/robotseg``, by default ``~/.cache/robotseg``."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "robotseg"


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


def writable_cache_folder() -> Path:
    """The cache folder, made if need be; a temporary one where it cannot be written to, said in the log."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        folder = Path(tempfile.mkdtemp(prefix="robotseg_"))
        log.warning("cache folder %s is not writable; the encoder is exported to %s", cache_folder(), folder)
    return folder


def cached_onnx(model: RobotSegModel, precision: str = "fp32") -> Path:
    """Path of the exported encoder; exported now if it is not there yet."""
    kind = "" if precision == "fp32" else f"_{precision}"
    name = f"encoder_{model.config.name}_{model.config.image_size}{kind}_{encoder_hash(model)}.onnx"
    path = writable_cache_folder() / name
    if not path.exists():
        export_onnx(model, path, precision)
    return path


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
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # The exporter records PyTorch's own operators, which inference mode replaces (robotseg_core.attention).
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
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def tensorrt_or_torch(
    model: RobotSegModel, device: torch.device, precision: str = "fp32", *, batch: int = 1, trt: Any = None
) -> EncoderBackend:
    """TensorRT where it works, else torch in float32, said in the log; arguments as of ``TensorRTEncoder``."""
    from robotseg_core.tensorrt_encoder import TensorRTEncoder

    try:
        return TensorRTEncoder(model, device, precision, batch=batch, trt=trt)
    except Exception as error:
        log.warning("TensorRT cannot be used (%s); the encoder runs in PyTorch, in float32", error)
        return TorchEncoder(model, device)


def make_encoder(
    model: RobotSegModel,
    backend: str,
    device: torch.device,
    threads: int,
    *,
    precision: str = "fp32",
    batch: int = 1,
) -> EncoderBackend:
    """The backend by name.

    Args:
        model: whose encoder runs.
        backend: one of :data:`BACKENDS`; ``auto`` takes ONNX Runtime on a CPU and TensorRT on CUDA where they are
            installed, else torch.
        device: of the model.
        threads: for ONNX Runtime.
        precision: in which TensorRT computes, ``fp32`` or ``fp16``; the other backends know ``fp32`` only.
        batch: frames at once that it must take; the others than TensorRT take any number.

    Raises:
        ValueError: unknown backend or precision, or the two or the device do not go together.
    """
    check_precision(precision)
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, must be one of {BACKENDS}")
    if backend == "onnxruntime" and device.type != "cpu":
        raise ValueError(f"backend 'onnxruntime' runs on the CPU here, device is {device}")
    if backend == "tensorrt" and device.type != "cuda":
        raise ValueError(f"backend 'tensorrt' runs on CUDA devices, device is {device}")
    if precision != "fp32" and (backend in ("torch", "onnxruntime") or device.type != "cuda"):
        raise ValueError(f"precision is {precision!r}, which only backend 'tensorrt' on a CUDA device knows")
    if backend == "tensorrt":
        from robotseg_core.tensorrt_encoder import TensorRTEncoder

        return TensorRTEncoder(model, device, precision, batch=batch)
    if backend == "auto" and device.type == "cuda":
        return tensorrt_or_torch(model, device, precision, batch=batch)
    if backend == "torch" or device.type != "cpu":
        return TorchEncoder(model, device)
    try:
        return OnnxEncoder(model, threads)
    except Exception as error:
        if backend == "onnxruntime":
            raise
        log.warning("ONNX Runtime cannot be used (%s); the encoder runs in PyTorch", error)
        return TorchEncoder(model, device)
