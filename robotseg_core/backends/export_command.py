# SPDX-License-Identifier: Apache-2.0
"""``robotseg export``: the image encoder as an ONNX file, with precision and all sizes but the batch in the graph."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from robotseg_core.backends.encoder import LARGEST_SIZE, LEAST_SIZE
from robotseg_core.backends.onnx_files import export_onnx
from robotseg_core.backends.onnx_graph import PRECISIONS
from robotseg_core.config import PRESETS
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.option_limits import check_option
from robotseg_core.weights.load import load_weights


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which encoder is meant."""
    parser.add_argument("--preset", default="nano", choices=tuple(PRESETS), help="nano (default) or base")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS, help="of the computation (default fp32)")
    parser.add_argument("--image-size", type=int, help="side of the image, pixels (default: the preset's)")
    parser.add_argument("--weights", default=None, help="weight file (default: that of the preset)")


def check_numbers(arguments: argparse.Namespace) -> None:
    """Raise ValueError where a size is out of range, or not a multiple of 32."""
    size = arguments.image_size
    check_option("--image-size", size, LEAST_SIZE, LARGEST_SIZE)
    if size is not None and size % 32:
        raise ValueError(f"--image-size is {size}, must be a multiple of 32")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg export``."""
    add_encoder_arguments(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.onnx", help="file to write")


def load_model(arguments: argparse.Namespace) -> RobotSegModel:
    """The model that the arguments name, on the CPU.

    Raises:
        ValueError: the size is out of range, or not a multiple of 32.
        WeightsError: absent, damaged or unfit weights.
    """
    config = PRESETS[arguments.preset]
    check_numbers(arguments)
    if arguments.image_size is not None:
        config = dataclasses.replace(config, image_size=arguments.image_size)
    model = RobotSegModel(config)
    load_weights(model, arguments.weights or arguments.preset)
    return model.eval().requires_grad_(False)


def run(arguments: argparse.Namespace) -> int:
    """Write the file and say what it takes and gives."""
    check_numbers(arguments)
    if not arguments.out.parent.is_dir():
        raise ValueError(f"--out is {arguments.out}, but there is no folder {arguments.out.parent}")
    model = load_model(arguments)
    export_onnx(model, arguments.out, arguments.precision)
    size = model.config.image_size
    print(f"{arguments.out}: encoder of {model.config.name}, {arguments.precision} inside")
    print(f"image [batch, 3, {size}, {size}] float32, ImageNet-normalised -> h4, h8, f16 float32")
    return 0
