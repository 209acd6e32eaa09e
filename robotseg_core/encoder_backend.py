# SPDX-License-Identifier: Apache-2.0
"""The image encoder behind one small interface: torch or ONNX Runtime."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from robotseg_core.conv_encoder import fold_batch_norm
from robotseg_core.model import Features, RobotSegModel

log = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "onnxruntime")


class EncoderBackend(Protocol):
    """Normalised image [1, 3, S, S] float32 -> :class:`Features`."""

    name: str

    def encode(self, image: Tensor) -> Features:
        """Encode one frame."""
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
        """Normalised image [1, 3, S, S] -> (H4, H8, F16)."""
        f4, f8, f16 = self.image_encoder(image)
        return self.conv_s0(f4), self.conv_s1(f8), f16


class TorchEncoder:
    """Eager PyTorch on any device."""

    name = "torch"

    def __init__(self, model: RobotSegModel, device: torch.device) -> None:
        self._graph = EncoderGraph(model).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, image: Tensor) -> Features:
        """Encode one frame [1, 3, S, S]."""
        h4, h8, f16 = self._graph(image.contiguous(memory_format=torch.channels_last))
        return Features(h4=h4, h8=h8, f16=f16)


class OnnxEncoder:
    """ONNX Runtime on the CPU; the graph is exported once per set of weights into the user's cache folder."""

    name = "onnxruntime"

    def __init__(self, model: RobotSegModel, threads: int) -> None:
        import onnxruntime

        path = cached_onnx(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A spinning pool would take the cores from PyTorch, which runs the rest of the frame.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def encode(self, image: Tensor) -> Features:
        """Encode one frame [1, 3, S, S]."""
        outputs = self._session.run(None, {self._input: np.ascontiguousarray(image.numpy())})
        h4, h8, f16 = (torch.from_numpy(np.asarray(x)) for x in outputs)
        return Features(h4=h4, h8=h8, f16=f16)


def cache_folder() -> Path:
    """Where exported encoders are kept: ``$XDG_CACHE_HOME/robotseg``, by default ``~/.cache/robotseg``."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "robotseg"


def encoder_hash(model: RobotSegModel) -> str:
    """Hash of everything that determines the exported graph: weights, size, PyTorch version."""
    digest = hashlib.sha256(f"{model.config} {torch.__version__}".encode())
    modules = (model.image_encoder, model.sam_mask_decoder.conv_s0, model.sam_mask_decoder.conv_s1)
    for module in modules:
        for key, value in module.state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def cached_onnx(model: RobotSegModel) -> Path:
    """Path of the exported encoder; exported now if it is not there yet."""
    name = f"encoder_{model.config.name}_{model.config.image_size}_{encoder_hash(model)}.onnx"
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        folder = Path(tempfile.mkdtemp(prefix="robotseg_"))
        log.warning("cache folder %s is not writable; the encoder is exported to %s", cache_folder(), folder)
    path = folder / name
    if not path.exists():
        export_onnx(model, path)
    return path


def export_onnx(model: RobotSegModel, path: Path) -> None:
    """Write the encoder as ONNX with static shapes; the file appears complete or not at all."""
    size = model.config.image_size
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with warnings.catch_warnings():
        # The TorchScript exporter announces its successor; it needs no further package and its graph is checked
        # against PyTorch in the tests.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            EncoderGraph(model).float().cpu(),
            (torch.zeros(1, 3, size, size),),
            str(partial),
            input_names=["image"],
            output_names=["h4", "h8", "f16"],
            opset_version=17,
            dynamo=False,
        )
    os.replace(partial, path)


def make_encoder(model: RobotSegModel, backend: str, device: torch.device, threads: int) -> EncoderBackend:
    """The backend by name; ``auto`` takes ONNX Runtime on a CPU where it is installed, else torch."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, must be one of {BACKENDS}")
    if backend == "onnxruntime" and device.type != "cpu":
        raise ValueError(f"backend 'onnxruntime' runs on the CPU here, device is {device}")
    if backend == "torch" or device.type != "cpu":
        return TorchEncoder(model, device)
    try:
        return OnnxEncoder(model, threads)
    except Exception as error:
        if backend == "onnxruntime":
            raise
        log.warning("ONNX Runtime cannot be used (%s); the encoder runs in PyTorch", error)
        return TorchEncoder(model, device)
