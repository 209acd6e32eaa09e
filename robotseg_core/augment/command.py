# SPDX-License-Identifier: Apache-2.0
"""``robotseg augment``: videos with another background, another colour of the robot, no robot, another robot."""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from robotseg_core.augment.backgrounds import KINDS, photographs
from robotseg_core.augment.change import Change, ChangedClip
from robotseg_core.augment.choose import open_layout
from robotseg_core.augment.clip import Rgb
from robotseg_core.augment.folders import open_clip
from robotseg_core.augment.inpaint import Lama, by_opencv
from robotseg_core.augment.layout import Layout, Piece
from robotseg_core.augment.paste import Donor
from robotseg_core.augment.recolour import parse
from robotseg_core.files.mask_files import write_png
from robotseg_core.files.overlay import contact_sheet
from robotseg_core.model_arguments import add_model_arguments, load_model
from robotseg_core.option_limits import MOST_SEED, check_option
from robotseg_core.storage.new_folder import Unfinished, copy_all_but, unfinished
from robotseg_core.stream.robotseg import RobotSeg

SAID, SHEET = "augment.json", "augment_contact_sheet.png"
"""In the new folder: choices and measures of every video, and a look at some."""
SHEETS = ".augment_sheets"
ON_SHEET = 8
"""Pieces at most whose frames are on the sheet, two of each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg augment``."""
    parser.add_argument(
        "input",
        type=Path,
        help="VRS layout, LeRobot data set (v2, v3), folder of images, of such folders or of videos, video file",
    )
    parser.add_argument("--out", required=True, type=Path, help="new folder: everything of the input, pictures changed")
    parser.add_argument("--background", default="", metavar="KIND", help=f"put behind the robot: {', '.join(KINDS)}")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photographs for --background photo")
    parser.add_argument(
        "--recolour", nargs="?", const="random", metavar="RRGGBB", help="another colour; none said: one at random"
    )
    parser.add_argument("--remove", action="store_true", help="take the robot out")
    parser.add_argument(
        "--lama", type=Path, metavar="ONNX", help="network that inpaints for --remove, instead of OpenCV"
    )
    parser.add_argument("--paste", type=Path, metavar="VIDEO", help="paste the robot of this video or folder of images")
    parser.add_argument(
        "--masks", default="auto", choices=("auto", "given", "model"),
        help="of the input's mask_gt, or found; auto (default): given where a video has one of each frame",
    )  # fmt: skip
    parser.add_argument("--camera", action="append", metavar="KEY", help="of a LeRobot data set; may repeat")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the choices (default 0); the same seed chooses the same"
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Augment.

    Returns:
        0, or 1 where the model failed on frames; how often is said.

    Raises:
        ValueError: input or options are not what they should be.
        OSError: something cannot be read or written, or is there already.
    """
    check_option("--seed", arguments.seed, 0, MOST_SEED)
    if arguments.lama and not arguments.remove:
        raise ValueError("--lama is for --remove")
    if bool(arguments.photos) != (arguments.background == "photo"):
        raise ValueError("--photos and --background photo go together")
    if arguments.out.exists():
        raise FileExistsError(f"{arguments.out} exists; it is not overwritten")
    colour = None if arguments.recolour in (None, "random") else parse(arguments.recolour)
    donor = open_clip(arguments.paste) if arguments.paste else None
    photos = tuple(photographs(arguments.photos)) if arguments.photos else ()
    layout = open_layout(arguments.input, arguments.masks, not (arguments.remove or arguments.paste), arguments.camera)
    fill = Lama(arguments.lama) if arguments.lama else by_opencv
    # All but the donor, which takes its time: what does not go together is said first.
    change = functools.partial(
        Change, background=arguments.background, photos=photos, recolour=arguments.recolour is not None, colour=colour,
        remove=arguments.remove, fill=fill, seed=arguments.seed,
    )  # fmt: skip
    if donor is None or arguments.remove or arguments.background or arguments.recolour:
        change()
    load = functools.cache(functools.partial(_load, arguments))
    plan = {k: str(v) for k, v in sorted(vars(arguments).items()) if k not in ("run", "out", "command")}
    plan["input"] = os.path.abspath(arguments.input)
    with unfinished(arguments.out, plan) as work:
        copy_all_but(arguments.input, work.folder, layout.left_out) if arguments.input.is_dir() else None
        total = sum(2 * clip.count for piece in layout.pieces for clip in piece.clips)
        with tqdm(total=total, desc=arguments.input.name, unit="frame") as bar:
            cut = None
            if donor is not None and not all(work.is_done(piece.name) for piece in layout.pieces):
                cut = Donor(donor, lambda: load().stream())
            augment(layout, change(donor=cut) if cut or donor is None else None, work, load, bar)
        said = work.said
        (work.folder / SAID).write_text(json.dumps({"settings": plan, "videos": said}, indent=1) + "\n")
        _sheet(work.folder, len(layout.pieces))
    unknown = sum(clip["unknown"] for piece in said.values() for clip in piece.values())
    without = [name for piece in said.values() for name, clip in piece.items() if not clip["with_robot"]]
    print(f"{sum(len(piece) for piece in said.values())} videos -> {arguments.out} (see {SHEET}, {SAID})")
    if without:
        print(f"no robot was found in {len(without)} of them; the first: {without[0]}")
    if unknown:
        print(f"{unknown} frames have no masks of their own, the model failed on them")
    return 1 if unknown else 0


def augment(layout: Layout, change: Change | None, work: Unfinished, load: Any, bar: tqdm[Any]) -> None:
    """Make all pieces that are not done.

    Args:
        layout: what there is.
        change: what to do; None where everything is done.
        work: where to.
        load: gives the model, :class:`RobotSeg`, when it is needed first.
        bar: told of every frame, twice.
    """
    for number, piece in enumerate(layout.pieces):
        if work.is_done(piece.name):
            bar.update(sum(2 * clip.count for clip in piece.clips))
            continue
        assert change is not None
        work.note(piece.name, _piece(layout, piece, number, change, work.folder, load, bar))


def _piece(
    layout: Layout, piece: Piece, number: int, change: Change, target: Path, load: Any, bar: tqdm[Any]
) -> dict[str, Any]:
    said: dict[str, Any] = {}
    pictures: list[tuple[str, Rgb]] = []
    with layout.sink(piece, target) as sink:
        for clip in piece.clips:
            changed = ChangedClip(clip, change, lambda: load().stream(), bar.update)
            shown = {clip.count // 4, (3 * clip.count) // 4} if not pictures else set()
            for place, frame in enumerate(changed.frames()):
                sink.write(clip, frame)
                if place in shown:
                    pictures += [(f"{clip.name} {frame.name}"[-40:], frame.before), ("", frame.rgb)]
                bar.update()
            said[clip.name] = changed.said
    sheets = target / SHEETS
    sheets.mkdir(exist_ok=True)
    if pictures:
        write_png(sheets / f"{number:06d}.png", contact_sheet(pictures)[..., ::-1])
    return said


def _sheet(target: Path, pieces: int) -> None:
    """One sheet of those of the pieces, evenly chosen."""
    sheets = sorted((target / SHEETS).glob("*.png"))
    chosen = [
        sheets[i] for i in sorted({round(i) for i in np.linspace(0, len(sheets) - 1, min(ON_SHEET, len(sheets)))})
    ]
    read = [np.asarray(cv2.imread(str(path)), np.uint8) for path in chosen]
    width = max(picture.shape[1] for picture in read)
    rows = [np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0))) for picture in read]
    write_png(target / SHEET, np.vstack(rows).astype(np.uint8))
    shutil.rmtree(target / SHEETS)


def _load(arguments: argparse.Namespace) -> RobotSeg:
    robotseg = load_model(arguments)
    tqdm.write(str(robotseg.loaded))
    return robotseg
