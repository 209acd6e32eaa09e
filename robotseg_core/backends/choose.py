# SPDX-License-Identifier: Apache-2.0
"""Which backend runs the image encoder: the one asked for, or the best one here."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch

from robotseg_core.backends.encoder import BACKENDS, EncoderBackend, Graph
from robotseg_core.backends.onnx_graph import check_precision
from robotseg_core.backends.onnxruntime_encoder import OnnxEncoder, OnnxGraph
from robotseg_core.backends.openvino_encoder import OpenVinoEncoder, OpenVinoSession, loop_precision
from robotseg_core.backends.tensorrt_encoder import TensorRTEncoder
from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.model.robotseg_model import RobotSegModel

log = logging.getLogger(__name__)

CPU_PRECISIONS = {"onnxruntime": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8")}
"""What the backends that run on the CPU alone compute in."""


def tensorrt_or_torch(
    model: RobotSegModel, device: torch.device, precision: str = "fp32", *, batch: int = 1, trt: Any = None
) -> EncoderBackend:
    """TensorRT where it works, else torch in float32, said in the log; arguments as of ``TensorRTEncoder``."""
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
        threads: for ONNX Runtime and OpenVINO.
        precision: in which it computes: TensorRT ``fp32`` or ``fp16``, ONNX Runtime ``fp32`` or ``int8``, OpenVINO
            ``fp32``, ``bf16`` or ``int8``, torch ``fp32`` only.
        batch: frames at once that it must take; the others than TensorRT take any number.

    Raises:
        ValueError: unknown backend or precision, or the two or the device do not go together.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, must be one of {BACKENDS}")
    if backend in CPU_PRECISIONS and device.type != "cpu":
        raise ValueError(f"backend {backend!r} runs on the CPU here, device is {device}")
    if backend == "tensorrt" and device.type != "cuda":
        raise ValueError(f"backend 'tensorrt' runs on CUDA devices, device is {device}")
    if precision not in ("fp32", *CPU_PRECISIONS.get(backend, ())) and not (
        backend == "auto" and device.type == "cpu" and precision == "int8"
    ):
        check_precision(precision)
        if backend == "torch" or device.type != "cuda":
            raise ValueError(f"precision is {precision!r}, which only backend 'tensorrt' on a CUDA device knows")
    if backend == "tensorrt":
        return TensorRTEncoder(model, device, precision, batch=batch)
    if backend == "auto" and device.type == "cuda":
        return tensorrt_or_torch(model, device, precision, batch=batch)
    if backend == "torch" or device.type != "cpu":
        return TorchEncoder(model, device)
    if backend == "openvino":
        return OpenVinoEncoder(model, threads, precision)
    try:
        return OnnxEncoder(model, threads, "int8" if precision == "int8" else "fp32")
    except Exception as error:
        if backend == "onnxruntime":
            raise
        log.warning("ONNX Runtime cannot be used (%s); the encoder runs in PyTorch, in float32", error)
        return TorchEncoder(model, device)


def graph_opener(encoder: EncoderBackend, threads: int, precision: str) -> Callable[[bytes], Graph]:
    """What opens further ONNX graphs in the CPU runtime that the encoder runs in, ONNX Runtime where it has none.

    Args:
        encoder: made by :func:`make_encoder`.
        threads: of the runtime.
        precision: of the encoder, for OpenVINO, which has one of its own for other graphs.
    """
    if encoder.name == OpenVinoEncoder.name:
        return functools.partial(OpenVinoSession, threads=threads, precision=loop_precision(precision))
    return functools.partial(OnnxGraph, threads=threads)


def profits_from_int8() -> bool:
    """Whether this processor multiplies 8 bits faster than float32 by more than the rounding costs: VNNI or better."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))
