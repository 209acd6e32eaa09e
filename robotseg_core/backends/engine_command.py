# SPDX-License-Identifier: Apache-2.0
"""``robotseg engine``: build the TensorRT engine of the image encoder for the GPU at hand, ahead of its first use."""

from __future__ import annotations

import argparse

import torch

from robotseg_core.backends.export_command import add_encoder_arguments, check_numbers, load_model
from robotseg_core.backends.tensorrt_encoder import cuda_device, engine_key, import_tensorrt, load_or_build
from robotseg_core.config import MAX_BATCH
from robotseg_core.option_limits import check_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg engine``."""
    add_encoder_arguments(parser)
    parser.add_argument("--batch", type=int, default=1, help="frames at once at most, 1 (default) to 8: the cameras")
    parser.add_argument("--device", default="cuda", help="cuda (default) or cuda:N; the engine is for this GPU")


def run(arguments: argparse.Namespace) -> int:
    """Build the engine unless the cache has it, and print its path."""
    check_numbers(arguments)
    check_option("--batch", arguments.batch, 1, MAX_BATCH)
    try:
        device = torch.device(arguments.device)
    except RuntimeError as error:
        raise ValueError(f"--device is {arguments.device!r}, must be cuda or cuda:N") from error
    # Before anything that takes time.
    device = cuda_device(device)
    trt = import_tensorrt()
    model = load_model(arguments)
    with torch.cuda.device(device):
        key = engine_key(model, device, arguments.precision, arguments.batch, trt)
        _, path = load_or_build(model, key, trt)
    print(path)
    return 0
