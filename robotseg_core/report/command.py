# SPDX-License-Identifier: Apache-2.0
"""``robotseg report``: what the model makes of a video or bag, as one HTML page."""

from __future__ import annotations

import argparse
import functools
import importlib
from pathlib import Path

from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.report.frames import Recording
from robotseg_core.report.page import page
from robotseg_core.report.run import of_files
from robotseg_core.storage.whole import write_whole

BAGS = "robotseg_ros.tools.bag_outputs.recorded"
"""Reports on bags; loaded only for one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg report``."""
    parser.add_argument("input", help="video file, folder of frames, or ROS 2 bag (a folder, or a .mcap or .db3 file)")
    parser.add_argument("--out", type=Path, help="new HTML file (default: <name of input>_report.html here)")
    parser.add_argument("--camera", help="image topic of a bag; may be left out where the bag has only one")
    parser.add_argument("--prefix", default="/robotseg", help="of the node's topics in a bag (default /robotseg)")
    parser.add_argument(
        "--again", action="store_true", help="of a bag that has the node's answers: let the model answer once more"
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the report.

    Raises:
        ValueError: the input cannot be read, or has no frames.
        OSError: the report is there already, or cannot be written.
    """
    source = Path(arguments.input)
    out: Path = arguments.out or Path(f"{source.name.partition('.')[0]}_report.html")
    if out.exists():
        raise FileExistsError(f"{out} exists; it is not overwritten")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} is no folder to write {out.name} to")
    load = functools.partial(load_model, arguments)
    if is_bag(source):
        try:
            module = importlib.import_module(BAGS)
        except ModuleNotFoundError as error:
            raise ValueError(f"reading bags needs {error.name}: pip install rosbags mcap") from error
        recording: Recording = module.of_bag(source, load, arguments.camera, arguments.prefix, again=arguments.again)
    else:
        if arguments.camera or arguments.again:
            raise ValueError(f"--camera and --again are for bags, {source} is none")
        recording = of_files(arguments.input, load)
    write_whole(out, page(recording).encode())
    print(f"{len(recording.frames)} frames -> {out}, {out.stat().st_size / 1e6:.1f} MB")
    for note in recording.notes:
        print(note)
    return 0


def is_bag(path: Path) -> bool:
    """Whether a path looks like a ROS 2 bag."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(path.glob("*.mcap*")) or any(path.glob("*.db3*"))
    return {".mcap", ".db3"} & set(path.suffixes[-2:]) != set()
