# SPDX-License-Identifier: Apache-2.0
"""How a model runs, as it was asked for: what ``auto`` means on this machine, and what cannot be had on it."""

from __future__ import annotations

import dataclasses
import logging
import os

import torch

from robotseg_core.backends.calibration import find_sheet
from robotseg_core.backends.choose import CPU_PRECISIONS, make_encoder, profits_from_int8
from robotseg_core.backends.encoder import LARGEST_SIZE, LEAST_SIZE, EncoderBackend
from robotseg_core.backends.graphed_encoder import graphed_or_plain
from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.config import PRESETS, ModelConfig
from robotseg_core.model.robotseg_model import RobotSegModel

log = logging.getLogger(__name__)

PRECISIONS: dict[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": None,
}
"""Types of products by name, as PyTorch computes them; None: no change.  int8 is the encoder's alone."""
LOOPS = ("auto", "eager", "graphs", "compiled")
"""How all but the encoder runs, see :meth:`robotseg_core.stream.robotseg.RobotSeg.of`."""
MOST_THREADS = 1024


def chosen_config(preset: str, image_size: int | None) -> ModelConfig:
    """The sizes of a preset, with another side of its input where one is given.

    Raises:
        ValueError: unknown preset, or a side out of range or not a multiple of 32.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}, must be one of {tuple(PRESETS)}")
    if image_size is None:
        return PRESETS[preset]
    if not LEAST_SIZE <= image_size <= LARGEST_SIZE:
        raise ValueError(f"image_size is {image_size}, must be {LEAST_SIZE} to {LARGEST_SIZE}")
    return dataclasses.replace(PRESETS[preset], image_size=image_size)


def chosen_device(device: str) -> str:
    """The device of ``auto``: CUDA where it works, else the CPU; any other is as it is, also where it is not here."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def usable_device(device: str) -> torch.device:
    """The device by name, ``auto`` as in :func:`chosen_device`.

    Raises:
        ValueError: there is no device of that name, or none here.
    """
    try:
        usable = torch.device(chosen_device(device))
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}, must be auto, cpu, cuda or cuda:N") from error
    if usable.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device here")
    return usable


def chosen_threads(threads: int | None) -> int:
    """Number of threads; None: the cores that this process may use.

    Raises:
        ValueError: it is out of range.
    """
    if threads is None:
        return len(os.sched_getaffinity(0))
    if not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"threads is {threads}, must be 1 to {MOST_THREADS}")
    return threads


def chosen_precision(precision: str, preset: str, device: torch.device, backend: str) -> str:
    """The precision of ``auto``: int8 for nano's encoder on a CPU that profits, else fp32; any other is as it is."""
    if precision != "auto":
        return precision
    if preset != "nano" or device.type != "cpu" or backend == "torch" or not profits_from_int8():
        return "fp32"
    try:
        find_sheet()
    except FileNotFoundError as error:
        log.warning("%s; the encoder runs in float32", error)
        return "fp32"
    return "int8"


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ValueError where a precision is unknown or the device has no arithmetic for it."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, must be one of {tuple(PRECISIONS)}")
    if precision == "int8" and device.type != "cpu":
        raise ValueError(f"precision is 'int8', which is for CPUs, device is {device}; take fp16 or bf16")
    if precision == "fp16" and device.type == "cpu" and not torch.cpu.get_capabilities().get("avx512_fp16", False):
        raise ValueError("precision is 'fp16', for which this processor has no arithmetic; take bf16 or fp32")


def check_loop(loop: str, device: torch.device) -> None:
    """Raise ValueError where a loop is unknown or not for the device."""
    if loop not in LOOPS:
        raise ValueError(f"loop is {loop!r}, must be one of {LOOPS}")
    if loop in ("graphs", "compiled") and device.type != "cuda":
        raise ValueError(f"loop is {loop!r}, which is for CUDA; the device is {device}")


def chosen_encoder(
    model: RobotSegModel,
    device: torch.device,
    *,
    backend: str,
    precision: str,
    loop: str,
    threads: int,
    batch: int,
) -> EncoderBackend:
    """The image encoder of a loaded model.

    Args:
        model: whose encoder runs, on its device.
        device: of the model.
        backend: one of :data:`robotseg_core.backends.encoder.BACKENDS`.
        precision: one of :data:`PRECISIONS`: what the whole model was asked to compute in.
        loop: one of :data:`LOOPS`; on CUDA all but ``eager`` record PyTorch's encoder as a graph as well.
        threads: of ONNX Runtime and OpenVINO.
        batch: frames at once that it must take.

    Raises:
        ValueError: backend, precision and device do not go together.
        RuntimeError: a graph was asked for and cannot be recorded.
    """
    if precision == "bf16" and backend == "auto" and device.type == "cuda":
        # Our TensorRT graph knows float16 and float32 only.
        backend = "torch"
    inside = precision if device.type == "cuda" and backend in ("auto", "tensorrt") else "fp32"
    if precision == "int8" or (precision == "bf16" and device.type == "cpu" and backend == "openvino"):
        inside = precision
    encoder = make_encoder(model, backend, device, threads, precision=inside, batch=batch)
    if device.type == "cuda" and encoder.name == TorchEncoder.name and loop != "eager":
        return graphed_or_plain(model, device, PRECISIONS[precision], loop)
    return encoder


def runs_as_graphs(encoder: EncoderBackend, device: torch.device, precision: str, loop: str) -> bool:
    """Whether all but the encoder is to run as graphs, in the runtime of the encoder on a CPU."""
    if loop == "eager":
        return False
    return device.type != "cpu" or precision in CPU_PRECISIONS.get(encoder.name, ())
