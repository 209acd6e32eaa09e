# SPDX-License-Identifier: Apache-2.0
"""``robotseg quantize``: nano's encoder in 8 bits from frames of your camera, and what each layer pays and gains."""

from __future__ import annotations

import argparse
import logging
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotseg_core.backends.calibration import shipped_frames, tensors
from robotseg_core.backends.export_command import check_numbers, load_model
from robotseg_core.backends.int8_graph import Layer
from robotseg_core.backends.onnx_files import cached_onnx, encoder_name, write_int8
from robotseg_core.backends.onnxruntime_encoder import session
from robotseg_core.files.frames import FrameError, open_frames
from robotseg_core.option_limits import check_option
from robotseg_core.storage.user_cache import kept_anew

log = logging.getLogger(__name__)

REPEATS = 15
MOST_READ = 2000
"""Frames of a video that are looked at."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg quantize``."""
    parser.add_argument("--frames", type=Path, help="image, video or folder of your camera (default: shipped frames)")
    parser.add_argument("--count", type=int, default=16, help="frames taken of it, spread over it (default 16)")
    parser.add_argument("--image-size", type=int, help="side of the model's input, pixels")
    parser.add_argument("--weights", default=None, help="weight file (default: the shipped weights of nano)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.onnx",
        help="file to write (default: where --precision int8 takes it from, in place of what is there)",
    )
    parser.set_defaults(preset="nano")


def run(arguments: argparse.Namespace) -> int:
    """Write the graph; print a table of its layers, its error on all frames and its time beside float32's."""
    check_option("--count", arguments.count, 1, 256)
    check_numbers(arguments)
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise ValueError(f"--out is {arguments.out}, but there is no folder {arguments.out.parent}")
    model = load_model(arguments)
    frames = users_frames(arguments.frames, arguments.count) if arguments.frames else shipped_frames()
    began = time.perf_counter()
    layers: list[Layer] = []
    if arguments.out is None:
        name = encoder_name(model, "int8")
        said = f"{name} in the cache"
        # In place of the one of before.
        rounded = kept_anew(name, lambda path: layers.extend(write_int8(model, path, frames)))
    else:
        said = str(arguments.out)
        layers = write_int8(model, arguments.out, frames)
        rounded = arguments.out.read_bytes()
    print(f"{said}: {len(frames)} frames, {time.perf_counter() - began:.1f} s\n")
    print("\n".join(layer_table(layers)))
    exact, near = session(cached_onnx(model), 1), session(rounded, 1)
    images = tensors(frames, model.config.image_size)
    print("\nmean error over mean magnitude: " + ", ".join(f"{n} {e:.3f}" for n, e in errors(exact, near, images)))
    before, after = times(exact, near, images[0])
    print(f"one thread, fastest of {REPEATS}: float32 {before:.1f} ms, int8 {after:.1f} ms, ratio {after / before:.2f}")
    return 0


def users_frames(source: Path, count: int) -> list[NDArray[np.uint8]]:
    """``count`` frames of an image, a video or a folder, spread over it, RGB.

    Raises:
        ValueError: none of its frames can be read, or it is a camera.
    """
    frames = open_frames(str(source))
    if frames.live:
        raise ValueError(f"{source} is a camera; calibration takes files")
    found: list[NDArray[np.uint8]] = []
    iterator = iter(frames.frames)
    every = max(1, min(frames.count or MOST_READ, MOST_READ) // count)
    for index in range(MOST_READ):
        try:
            _, bgr = next(iterator)
        except StopIteration:
            break
        except FrameError as error:
            log.warning("calibration leaves out %s, which cannot be read", error.name)
            continue
        if index % every == 0:
            found.append(np.ascontiguousarray(bgr[..., ::-1]))
    if not found:
        raise ValueError(f"{source} has no frame that can be read")
    return list(islice(found, count))


def layer_table(layers: list[Layer]) -> list[str]:
    """One line a convolution: what rounding does to it, and its share of the work."""
    total = sum(layer.macs for layer in layers)
    lines = [f"{'convolution':52}{'weights':>20}{'share':>8}{'error':>8}  in"]
    for layer in layers:
        shape = "x".join(str(n) for n in layer.shape)
        name = layer.name.removeprefix("/image_encoder").removesuffix("/Conv").strip("/")
        kind = "8 bits" if layer.rounded else "float32"
        lines.append(f"{name:52}{shape:>20}{100 * layer.macs / total:7.1f}%{layer.error:8.3f}  {kind}")
    rounded = [layer for layer in layers if layer.rounded]
    share = 100 * sum(layer.macs for layer in rounded) / total
    return [*lines, f"{len(rounded)} of {len(layers)} convolutions in 8 bits, {share:.0f} % of the multiplications"]


def errors(exact: Any, near: Any, images: list[Any]) -> list[tuple[str, float]]:
    """Mean error of each output over its mean magnitude, over all images."""
    found = []
    for image in images:
        pair = [one.run(None, {"image": image}) for one in (exact, near)]
        found.append([float(np.abs(b - a).mean() / np.abs(a).mean()) for a, b in zip(*pair, strict=True)])
    return list(zip([put.name for put in exact.get_outputs()], np.mean(found, 0).tolist(), strict=True))


def times(exact: Any, near: Any, image: Any) -> tuple[float, float]:
    """Fastest run of both, by turns, ms."""
    found = []
    for _ in range(REPEATS):
        row = []
        for one in (exact, near):
            began = time.perf_counter()
            one.run(None, {"image": image})
            row.append(1e3 * (time.perf_counter() - began))
        found.append(row)
    before, after = np.min(found, 0).tolist()
    return before, after
