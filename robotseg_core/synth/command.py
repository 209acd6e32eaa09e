# SPDX-License-Identifier: Apache-2.0
"""``robotseg synth``: render a set of training videos in VRS layout.

    robotseg synth --robots ROBOTS --out DIR --count 200 [--photos FOLDER] [--jobs 2]
    robotseg synth --urdf my_arm.urdf --gripper-links hand,left_finger,right_finger --out DIR --count 200

The second form shows the user's own robot only; ``--mjcf`` takes an MJCF file.  Writes ``image/``, ``mask_gt/``,
``ids/`` (which link or thing each pixel shows), ``sheet.png`` and ``sheet_ids.png``.  A video appears when it is
complete, ``mask_gt/`` last, so that a reader may look while the set grows; an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.natural import in_order
from robotseg_core.lifetime import each, worker_pool
from robotseg_core.option_limits import MOST_ITEMS, MOST_PROCESSES, MOST_SEED, check_option
from robotseg_core.synth.instances.files import read_ids, tint_ids, write_ids, write_ids_meta
from robotseg_core.synth.instances.records import SCHEMA, FrameRecord
from robotseg_core.synth.rendering.render import LEAST_SIDE, MOST_SIDE, Renderer
from robotseg_core.synth.robots.catalog import RobotChoice, list_choices
from robotseg_core.synth.robots.own_robot import add_arguments, choice_from
from robotseg_core.synth.robots.robot import ARM, GRIPPER
from robotseg_core.synth.scenes.placing import made_share
from robotseg_core.synth.scenes.stock import Stock
from robotseg_core.synth.scenes.surroundings import Contents
from robotseg_core.synth.video import VideoOptions, render_video
from robotseg_core.synth.vrs import finish, is_done, overlay, publish, write_depth, write_frame, write_sheet

PART_FOLDER = ".part"
MOST_FRAMES = 10_000
"""In a video."""
"""Where videos are while they are rendered; they move to their place when they are complete."""

_renderer: Renderer | None = None  # one a process, made when first needed


def video_name(seed: int, index: int) -> str:
    """Name of the video number ``index`` of the set with this seed."""
    return f"synth_{seed:04d}_{index:05d}"


def make_video(task: tuple[VideoOptions, Path, int, int]) -> str:
    """Render and write one video of a set: (options, output folder, seed of the set, index); returns its name."""
    global _renderer
    options, out, seed, index = task
    name = video_name(seed, index)
    if is_done(out, name):
        return name
    if _renderer is None or _renderer.size != options.size:
        _renderer = Renderer(*options.size, scale=1.25)
    own = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    seen: list[FrameRecord] = []
    last = None
    part = out / PART_FOLDER / name
    shutil.rmtree(part, ignore_errors=True)
    for number, last in enumerate(render_video(options, own, _renderer)):
        write_frame(part, name, number, last.picture.rgb, last.picture.label, last.meta.jpeg)
        assert last.picture.ids is not None
        write_ids(part, name, number, last.picture.ids)
        if last.picture.depth is not None:
            write_depth(part, name, number, last.picture.depth)
        seen.append(last.seen)
    assert last is not None
    write_ids_meta(part, name, last.scene, seen, options.size, last.meta)
    finish(part, name, {**asdict(last.meta), "ids": SCHEMA})
    publish(part, out, name)
    return name


def _read(path: Path, flags: int) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ValueError(f"{path} is not a readable picture")
    return np.asarray(image, np.uint8)


def sheet_tiles(out: Path, names: Sequence[str], most: int = 64) -> list[NDArray[np.uint8]]:
    """The middle frame of up to ``most`` videos, parts tinted."""
    tiles: list[NDArray[np.uint8]] = []
    for name in names[:: max(1, len(names) // most)][:most]:
        files = in_order((out / "image" / name).glob("*.jpg"))
        file = files[len(files) // 2]
        image = _read(file, cv2.IMREAD_COLOR)
        label = np.zeros(image.shape[:2], np.uint8)
        for folder, part in (("000", ARM), ("001", GRIPPER)):
            mask = _read(out / "mask_gt" / name / folder / f"{file.stem}.png", cv2.IMREAD_GRAYSCALE)
            label[mask > 0] = part
        tiles.append(overlay(np.ascontiguousarray(image[..., ::-1]), label))
    return tiles


def id_tiles(out: Path, names: Sequence[str], most: int = 32) -> list[NDArray[np.uint8]]:
    """First, middle and last frame of up to ``most`` videos, each leaf in its own colour, and the middle's image."""
    tiles: list[NDArray[np.uint8]] = []
    for name in names[:: max(1, len(names) // most)][:most]:
        files = sorted((out / "image" / name).glob("*.jpg"))
        middle = len(files) // 2
        for number in (0, middle, len(files) - 1):
            image = np.ascontiguousarray(_read(files[number], cv2.IMREAD_COLOR)[..., ::-1])
            tiles += [image] if number == middle else []
            tiles.append(tint_ids(image, read_ids(out, name, number)))
    return tiles


def render_set(options: VideoOptions, out: Path, count: int, seed: int, jobs: int) -> None:
    """Render the missing videos of a set with ``jobs`` processes, then its contact sheet."""
    names = [video_name(seed, i) for i in range(count)]
    todo = [(options, out, seed, i) for i in range(count) if not is_done(out, names[i])]
    out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=count, initial=count - len(todo), unit="video") as bar:
        if jobs == 1:
            for task in todo:
                make_video(task)
                bar.update()
        else:
            with worker_pool(jobs) as pool:
                for _ in each(pool.imap_unordered(make_video, todo)):
                    bar.update()
    if (out / PART_FOLDER).is_dir():
        shutil.rmtree(out / PART_FOLDER)
    write_sheet(out / "sheet.png", sheet_tiles(out, names))
    write_sheet(out / "sheet_ids.png", id_tiles(out, names))


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(prog="robotseg synth", description=__doc__.split("\n")[0].split(": ")[1])
    parser.add_argument("--robots", type=Path, help="folder with arms/ and grippers/ (without: generated robots only)")
    parser.add_argument("--out", type=Path, required=True, help="folder for image/ and mask_gt/")
    parser.add_argument("--count", type=int, default=200, help="videos in all")
    parser.add_argument("--seed", type=int, default=1, help="of the set; each video has its own, made of it")
    parser.add_argument("--frames", type=int, default=12, help="frames in a video")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(384, 384), metavar=("WIDTH", "HEIGHT"), help="pixels (default 384 384)"
    )
    parser.add_argument("--photos", type=Path, help="folder of photographs for backgrounds (default: rooms only)")
    parser.add_argument("--empty", type=float, default=0.2, help="fraction of videos without a robot")
    parser.add_argument("--two", type=float, default=0.15, help="fraction of the others with two robots, rarely three")
    parser.add_argument("--moving", type=float, default=0.35, help="fraction of videos in which things move")
    parser.add_argument("--focus", type=float, default=0.1, help="fraction in which the camera looks at things")
    parser.add_argument("--held", type=float, default=0.3, help="share of grippers that hold a thing")
    parser.add_argument("--twins", type=float, default=0.15, help="share of things that have an equal beside them")
    parser.add_argument(
        "--leaves", type=float, default=0.1, help="fraction in which the robot leaves the view or comes"
    )
    parser.add_argument("--things", nargs="*", metavar="NAME", help="only these kinds of small things and machines")
    parser.add_argument("--without-things", nargs="*", default=[], metavar="NAME", help="all kinds but these")
    parser.add_argument(
        "--procedural",
        type=float,
        help="share of robots that do not exist: generated or changed (default 0.5; 1 without --robots)",
    )
    parser.add_argument("--arms", nargs="*", help="only these arms (default: all training arms)")
    parser.add_argument(
        "--exclude", nargs="*", default=[], metavar="NAME", help="arms and grippers that must not appear"
    )
    parser.add_argument("--test-arms", action="store_true", help="the arms kept for testing instead")
    parser.add_argument(
        "--depth", action="store_true", help="also depth/<video>/*.png: 16 bits, mm, 0 where the scene holds nothing"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        check_option("--count", args.count, 1, MOST_ITEMS)
        check_option("--frames", args.frames, 1, MOST_FRAMES)
        check_option("--jobs", args.jobs, 1, MOST_PROCESSES)
        check_option("--seed", args.seed, 0, MOST_SEED)
        for side in args.size:
            check_option("--size", side, LEAST_SIDE, MOST_SIDE)
        for name in ("empty", "two", "moving", "focus", "held", "twins", "leaves", "procedural"):
            check_option(f"--{name}", getattr(args, name), 0, 1)
    except ValueError as e:
        parser.error(str(e))
    photos: tuple[Path, ...] = ()
    if args.photos is not None:
        photos = tuple(p for p in sorted(args.photos.glob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not photos:
            parser.error(f"--photos: no .jpg or .png in {args.photos}")
    try:
        own = choice_from(args)
        made = made_share(args.procedural, args.robots, own is not None, args.test_arms)
        choices: tuple[RobotChoice, ...] = () if own is None else (own,)
        if args.robots is not None:
            choices = tuple(list_choices(args.robots, args.arms, args.test_arms, args.exclude))
            if not choices and made < 1:
                raise ValueError(f"no arms in {args.robots}: only --procedural 1 can do without")
        stock = Stock() if args.things is None else Stock().only(args.things)
        stock = stock.without(args.without_things)
    except (OSError, ValueError) as e:
        parser.error(str(e))
    size = (args.size[0], args.size[1])
    options = VideoOptions(
        args.robots or Path(),
        choices,
        photos,
        args.frames,
        size,
        empty=args.empty,
        two=args.two,
        procedural=made,
        leaves=args.leaves,
        moving=args.moving,
        focus=args.focus,
        contents=Contents(stock, held=args.held, twins=args.twins),
        exclude=tuple(args.exclude),
        depth=args.depth,
    )
    try:
        render_set(options, args.out, args.count, args.seed, args.jobs)
    except (OSError, RuntimeError, ValueError) as e:
        print(f"robotseg synth: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
