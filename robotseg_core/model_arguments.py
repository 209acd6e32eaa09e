# SPDX-License-Identifier: Apache-2.0
"""The arguments by which every command chooses its model."""

from __future__ import annotations

import argparse

from robotseg_core.backends.encoder import BACKENDS
from robotseg_core.stream.choices import PRECISIONS
from robotseg_core.stream.robotseg import RobotSeg


def load_model(
    arguments: argparse.Namespace,
    *,
    memory_frames: int | None = None,
    encoder_batch: int = 1,
    loop: str = "auto",
) -> RobotSeg:
    """The model that :func:`add_model_arguments` asks for, not warm; the rest as in :meth:`RobotSeg.load`."""
    return RobotSeg.load(
        arguments.preset,
        device=arguments.device,
        backend=arguments.backend,
        weights=arguments.weights,
        adapter=arguments.adapter,
        image_size=arguments.image_size,
        precision=arguments.precision,
        memory_frames=memory_frames,
        encoder_batch=encoder_batch,
        loop=loop,
        hygiene={"auto": None, "on": True, "off": False}[getattr(arguments, "hygiene", "auto")],
        warm=False,
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments by which every command chooses its model."""
    group = parser.add_argument_group("the model")
    group.add_argument("--preset", default="nano", help="nano (default) or base")
    group.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    group.add_argument("--backend", default="auto", choices=BACKENDS, help="of the encoder (default auto)")
    group.add_argument("--weights", default=None, help="weight file (default: the shipped weights of nano)")
    group.add_argument(
        "--adapter",
        metavar="NAME|FILE",
        help="what `robotseg finetune --adapter` has learned of one robot: a name, or a file (default: none)",
    )
    group.add_argument(
        "--precision",
        default="auto",
        choices=("auto", *PRECISIONS),
        help="auto (default): int8 for nano on CPUs that profit, else fp32",
    )
    group.add_argument("--image-size", type=int, help="side of the model's input, pixels, a multiple of 32")


def add_hygiene_argument(parser: argparse.ArgumentParser) -> None:
    """The argument of commands whose masks are a stream's."""
    parser.add_argument(
        "--hygiene",
        default="auto",
        choices=("auto", "on", "off"),
        help="take specks far from the robot and small holes out of the masks (default auto: nano does)",
    )
