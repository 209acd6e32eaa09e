# SPDX-License-Identifier: Apache-2.0
"""The image encoder as a TensorRT engine.  NEVER RUN ON A GPU YET.

Checked without one: the graph against PyTorch, every name and argument below against the bindings of TensorRT 10.13
and 11, and the cache with a stand-in for TensorRT.  Building and running engines waits for whoever has a GPU.

Networks are strongly typed: types are those of the ONNX graph (:mod:`robotseg_core.backends.onnx_graph`).
"""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from robotseg_core.backends.engine_cache import EngineError, EngineKey, cached_engine
from robotseg_core.backends.onnx_files import encoder_hash, onnx_file
from robotseg_core.backends.onnx_graph import check_precision
from robotseg_core.model.robotseg_model import Features, RobotSegModel
from robotseg_core.storage.user_cache import writable_cache_folder

INPUT = "image"
OUTPUTS = ("h4", "h8", "f16")


def import_tensorrt() -> Any:
    """The module ``tensorrt``.

    Raises:
        EngineError: it is not installed or its libraries do not load.
    """
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise EngineError(
            f"TensorRT cannot be loaded ({error}); install the wheel for the CUDA version of PyTorch, "
            "tensorrt-cu12 or tensorrt-cu13"
        ) from error


def cuda_device(device: torch.device) -> torch.device:
    """The device with its index.

    Raises:
        EngineError: it is no CUDA device, or PyTorch finds none.
    """
    if device.type != "cuda":
        raise EngineError(f"TensorRT runs on CUDA devices, device is {device}")
    if not torch.cuda.is_available():
        raise EngineError("TensorRT needs a GPU, and PyTorch finds no CUDA device here")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def engine_key(model: RobotSegModel, device: torch.device, precision: str, batch: int, trt: Any) -> EngineKey:
    """What the engine of this model on this GPU depends on."""
    major, minor = torch.cuda.get_device_capability(device)
    return EngineKey(
        preset=model.config.name,
        size=model.config.image_size,
        precision=precision,
        batch=batch,
        weights=encoder_hash(model),
        tensorrt=trt.__version__,
        gpu=torch.cuda.get_device_name(device),
        capability=f"{major}.{minor}",
    )


def build_plan(onnx_path: Path, key: EngineKey, trt: Any, logger: Any) -> bytes:
    """Build an engine for 1 to ``key.batch`` frames on the current CUDA device; returns it serialised.

    Raises:
        EngineError: TensorRT does not take the graph, or finds no engine for it.
    """
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineError(f"TensorRT {trt.__version__} does not take {onnx_path}: {reasons}")
    config = builder.create_builder_config()
    # On by default, and not what "fp32" promises.
    config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    one, most = ((frames, 3, key.size, key.size) for frames in (1, key.batch))
    # Tuned for the largest batch, which is when the machine is busiest.
    profile.set_shape(INPUT, one, most, most)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT {trt.__version__} built no engine from {onnx_path}; its log says why")
    return bytes(plan)


def load_or_build(model: RobotSegModel, key: EngineKey, trt: Any) -> tuple[Any, Path]:
    """The engine and its file, from the cache or built now on the current CUDA device.

    Raises:
        EngineError: it can be neither loaded nor built.
    """
    # One for all: TensorRT complains of a second one.
    logger = trt.Logger(trt.Logger.WARNING)
    runtime = trt.Runtime(logger)

    def build() -> bytes:
        with onnx_file(model, key.precision) as path:
            return build_plan(path, key, trt, logger)

    folder = writable_cache_folder()
    if folder is not None:
        return cached_engine(folder, key, load=runtime.deserialize_cuda_engine, build=build)
    with TemporaryDirectory(prefix="robotseg_") as temporary:
        return cached_engine(Path(temporary), key, load=runtime.deserialize_cuda_engine, build=build)


class TensorRTEncoder:
    """A TensorRT engine that works on PyTorch's tensors and on its current stream.

    On the default stream TensorRT synchronises more than it must: whoever counts milliseconds runs the loop under
    a ``torch.cuda.stream`` of their own.

    Args:
        model: its encoder is exported, and built where the cache has no engine of it (minutes, once).
        device: CUDA device.
        precision: of the computation, ``fp32`` or ``fp16``; inputs and outputs are float32.
        batch: largest number of frames at once; an engine is built for 1 to this many.
        trt: the module ``tensorrt``; None imports it.

    Raises:
        EngineError: no TensorRT, no GPU, or no engine for this model.
        ValueError: unknown precision, or a batch below 1.
    """

    name = "tensorrt"

    def __init__(
        self,
        model: RobotSegModel,
        device: torch.device,
        precision: str = "fp32",
        *,
        batch: int = 1,
        trt: Any = None,
    ) -> None:
        check_precision(precision)
        if batch < 1:
            raise ValueError(f"batch is {batch}, must be at least 1")
        self.max_batch: int | None = batch
        self._device = cuda_device(device)
        trt = trt or import_tensorrt()
        with torch.cuda.device(self._device):
            engine, self.path = load_or_build(model, engine_key(model, self._device, precision, batch, trt), trt)
            context = engine.create_execution_context()
        if context is None:
            raise EngineError(f"no memory on {self._device} to run {self.path}")
        self._context = context
        # Without the first axis, which is the number of frames.
        self._shapes = {name: tuple(engine.get_tensor_shape(name))[1:] for name in (INPUT, *OUTPUTS)}
        self._frames = 0
        # A context works for one caller and on one stream at a time, while streams of frames share the encoder.
        self._lock = threading.Lock()
        self._last: torch.cuda.Stream | None = None

    def encode(self, image: Tensor) -> Features:
        """Encode frames [B, 3, S, S] float32 on the device; nothing is copied, the host does not wait.

        Raises:
            ValueError: shape, type or device of the image is off.
            EngineError: TensorRT refuses to run.
        """
        frames, most = image.shape[0], self.max_batch or 1
        fits = image.shape[1:] == self._shapes[INPUT] and 1 <= frames <= most
        if not fits or image.dtype != torch.float32 or image.device != self._device:
            raise ValueError(
                f"image is {tuple(image.shape)} {image.dtype} on {image.device}, "
                f"must be {('1 to ' + str(most), *self._shapes[INPUT])} float32 on {self._device}"
            )
        tensors = {INPUT: image.contiguous()}
        # Fresh ones: features of the last frame may still be in use.  PyTorch's allocator makes them free of charge.
        for name in OUTPUTS:
            tensors[name] = torch.empty((frames, *self._shapes[name]), dtype=torch.float32, device=self._device)
        stream = torch.cuda.current_stream(self._device)
        with self._lock, torch.cuda.device(self._device):
            if self._last is not None and self._last != stream:
                stream.wait_stream(self._last)
            self._last = stream
            context = self._context
            if frames != self._frames:
                if not context.set_input_shape(INPUT, tuple(image.shape)):
                    raise EngineError(f"TensorRT refuses {frames} frames at once in {self.path}")
                self._frames = frames
            for name, tensor in tensors.items():
                if not context.set_tensor_address(name, tensor.data_ptr()):
                    raise EngineError(f"TensorRT refuses {name} as a binding of {self.path}")
            if not context.execute_async_v3(stream.cuda_stream):
                raise EngineError(f"TensorRT cannot run {self.path}; its log says why")
        return Features(h4=tensors["h4"], h8=tensors["h8"], f16=tensors["f16"])
