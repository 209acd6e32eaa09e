# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines on disk: what one was built for, and that it is built once.

An engine serves one set of weights, one TensorRT version and one kind of GPU.  All of this is in the file's name
and, because files are renamed and copied, once more in its first lines together with a checksum.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robotseg_core.storage.user_cache import read_trusted
from robotseg_core.storage.whole import locked, replacing

log = logging.getLogger(__name__)

MAGIC = b"robotseg engine 1\n"


class EngineError(RuntimeError):
    """No engine can be had or run here; the message says why."""


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on.

    Attributes:
        preset: name of the model's preset.
        size: side of the image, pixels.
        precision: one of :data:`robotseg_core.backends.onnx_graph.PRECISIONS`.
        batch: largest number of frames at once.
        weights: hash of weights and graph.
        tensorrt: version of TensorRT.
        gpu: name of the GPU.
        capability: its compute capability, e.g. ``9.0``.
    """

    preset: str
    size: int
    precision: str
    batch: int
    weights: str
    tensorrt: str
    gpu: str
    capability: str

    @property
    def family(self) -> str:
        """Start of the file name: the same for all weights, batches, versions and GPUs."""
        return f"encoder_{self.preset}_{self.size}_{self.precision}_"

    @property
    def filename(self) -> str:
        """Name of the engine's file."""
        gpu = re.sub(r"[^A-Za-z0-9]+", "-", self.gpu).strip("-")
        return f"{self.family}{self.weights}_b{self.batch}_trt{self.tensorrt}_{gpu}_sm{self.capability}.engine"


def write_engine(path: Path, key: EngineKey, plan: bytes) -> None:
    """Write an engine; the file appears complete or not at all."""
    header = {**asdict(key), "sha256": hashlib.sha256(plan).hexdigest()}
    with replacing(path) as partial:
        partial.write_bytes(MAGIC + json.dumps(header).encode() + b"\n" + plan)


def read_engine(path: Path, key: EngineKey) -> bytes:
    """The serialised engine in a file.

    Raises:
        EngineError: the file is damaged, or was made for something else than ``key``.
        OSError: it cannot be read, or may be another user's.
    """
    content = read_trusted(path)
    if not content.startswith(MAGIC):
        raise EngineError("it is not an engine file of this program")
    first, _, plan = content[len(MAGIC) :].partition(b"\n")
    try:
        header = dict(json.loads(first))
    except (ValueError, TypeError) as error:
        raise EngineError("its header is damaged") from error
    expected = header.pop("sha256", None)
    wanted = asdict(key)
    if header != wanted:
        differing = sorted(name for name in wanted.keys() | header.keys() if header.get(name) != wanted.get(name))
        parts = (f"{name} {header.get(name)}, not {wanted.get(name)}" for name in differing)
        raise EngineError(f"it was made for {'; '.join(parts)}")
    if hashlib.sha256(plan).hexdigest() != expected:
        raise EngineError("its checksum is wrong")
    return plan


def cached_engine(
    folder: Path, key: EngineKey, *, load: Callable[[bytes], Any | None], build: Callable[[], bytes]
) -> tuple[Any, Path]:
    """The engine of a key, built now if there is no good one yet.

    Args:
        folder: existing folder of the engines.
        key: what the engine is for.
        load: serialised engine -> engine, None where TensorRT does not accept it.
        build: makes the serialised engine; minutes.

    Returns:
        The engine and its file.

    Raises:
        EngineError: it cannot be built, or what was built cannot be loaded.
    """
    path = folder / key.filename
    with locked(path, waiting=f"another process is busy with {path.name}; waiting for it"):
        if path.exists():
            try:
                engine = load(read_engine(path, key))
                if engine is not None:
                    return engine, path
                reason = f"TensorRT {key.tensorrt} does not accept it"
            except (EngineError, OSError) as error:
                reason = str(error)
            log.warning("engine %s is built anew: %s", path.name, reason)
        elif others := sorted(other.name for other in folder.glob(f"{key.family}*.engine")):
            log.warning(
                "engines of other weights, batches, TensorRT versions or GPUs are not used: %s", ", ".join(others)
            )
        log.warning("building %s: takes minutes, once", path)
        plan = build()
        engine = load(plan)
        if engine is None:
            raise EngineError(f"TensorRT {key.tensorrt} does not accept the engine it has just built")
        try:
            write_engine(path, key, plan)
        except OSError as error:
            # Good for this run all the same.
            log.warning("engine %s cannot be kept: %s", path.name, error)
    return engine, path
