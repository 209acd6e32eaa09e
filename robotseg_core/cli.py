# SPDX-License-Identifier: Apache-2.0
"""The ``robotseg`` command."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

import cv2
import yaml

from robotseg_core.lifetime import end_in_order
from robotseg_core.storage.shown import ShownFormatter, shown

COMMANDS = {
    "segment": ("robotseg_core.files.segment", "write the masks of an image, a video or a folder of frames"),
    "say": ("robotseg_core.instruct.command", "write the mask of what a request in words asks for"),
    "bag": ("robotseg_ros.tools.bag", "add mask topics to a recorded ROS 2 bag"),
    "report": ("robotseg_core.report.command", "what the model makes of a video or bag, as one HTML page to look at"),
    "augment": (
        "robotseg_core.augment.command",
        "videos with another background, another colour of the robot, no robot or another one",
    ),
    "check-extrinsics": (
        "robotseg_core.posed.check_command",
        "compare a camera's pose with masks of a robot whose joints are known, and refine it",
    ),
    "twin": ("robotseg_core.posed.twin_command", "a MuJoCo scene of a recording: the robot, its poses, the background"),
    "bench": (
        "robotseg_core.bench.command",
        "what a frame costs here, stage by stage; --node: in the ROS node",
    ),
    "export": ("robotseg_core.backends.export_command", "write the image encoder as an ONNX file"),
    "quantize": (
        "robotseg_core.files.quantize",
        "calibrate nano's encoder in 8 bits on your camera's frames",
    ),
    "engine": ("robotseg_core.backends.engine_command", "build the TensorRT engine of the image encoder for this GPU"),
    "train": ("robotseg_core.train.command", "train a model on rendered or own data"),
    "train-hinted": (
        "robotseg_core.train.hinted.run",
        "train with hints and memory, from packed pictures, for a given time",
    ),
    "average": ("robotseg_core.weights.average", "the weighted mean of weight files of one architecture"),
    "train-policy": ("robotseg_core.train.language.command", "train the small policy that reads requests in words"),
    "finetune": ("robotseg_core.train.finetune", "adapt a model to videos of your own robot"),
    "label-set": ("robotseg_core.label_set.command", "write the masks of a whole data set, also on a Ray cluster"),
    "label": ("robotseg_core.train.label_efficient.self_labels", "turn videos without labels into training videos"),
    "ablate": ("robotseg_core.train.ablation", "what label-efficient training and its terms are worth"),
    "eval-hints": ("robotseg_core.evaluation.hints.command", "what a model does with hints, and its memory's worth"),
    "eval-language": ("robotseg_core.evaluation.language.command", "masks for requests in words on rendered scenes"),
    "eval-public": (
        "robotseg_core.evaluation.language.public.command",
        "masks for requests on published sets: RefCOCO, ReasonSeg, COD10K, CAMO, DUTS, DIS5K",
    ),
    "eval": ("robotseg_core.evaluation.command", "J&F and robustness of masks against ground truth in VRS layout"),
}
"""Commands with ``add_arguments`` and ``run``; modules are imported only when they are used."""

NODE_BENCH = "robotseg_ros.tools.bench_node"
"""``robotseg bench --node``; needs ROS."""

FORWARDED = {
    "fetch": ("robotseg_core.weights.files", "fetch a weight file, or say how a person gets it"),
    "parity": ("robotseg_core.parity.command", "compare the base model with golden data of the reference"),
    "pack": ("robotseg_core.train.hinted.packs.command", "pack training pictures into a few files, for train-hinted"),
    "synth": ("robotseg_core.synth.command", "render videos of robots with exact masks"),
}
"""Commands with a ``main(argv)`` of their own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; user errors end with one line on standard error and exit status 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(ShownFormatter())
    # Temporary folders and child processes are ours to take down, whichever signal it is.
    end_in_order()
    if argv and argv[0] in FORWARDED:
        try:
            module = importlib.import_module(FORWARDED[argv[0]][0])
        except ModuleNotFoundError as error:
            return _missing(argv[0], error)
        try:
            return int(module.main(argv[1:]) or 0)
        except KeyboardInterrupt:
            return 130
    parser = argparse.ArgumentParser(prog="robotseg", description="Which pixels of a camera frame are the robot?")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (path, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if argv and argv[0] == name:
            try:
                module = importlib.import_module(NODE_BENCH if name == "bench" and "--node" in argv else path)
            except ModuleNotFoundError as error:
                return _missing(name, error)
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    for name, (_, text) in FORWARDED.items():
        commands.add_parser(name, help=text)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (ValueError, OSError, RuntimeError, cv2.error, yaml.YAMLError) as error:
        print(f"robotseg {argv[0]}: {shown(_told(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _told(error: Exception) -> str:
    """An error in words; those of the system without their number, the file first."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def _missing(command: str, error: ModuleNotFoundError) -> int:
    """Say what a command needs; it is in an extra of the package (see pyproject.toml)."""
    print(f"robotseg {command}: this needs {error.name}, which is not installed here", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
