# SPDX-License-Identifier: Apache-2.0
"""Render robots without surroundings, to be pasted over photographs while training.

    python -m robotseg_core.synth.cutouts --robots ROBOTS --out DIR --count 6000 --seed 1 --size 384

Writes shards ``rgb_0000.npy`` [n, S, S, 3] uint8, ``label_0000.npy`` [n, S, S] uint8 (0 background, 1 arm, 2 gripper),
``alpha_0000.npy`` [n, S, S] uint8 (coverage 0 to 255; the colour is right wherever it is not 0) and ``meta_0000.jsonl``
(one line a sample).  Where alpha is not 0 and label is, there is a thing that is not a robot: a hand, a lamp, what the
gripper holds; some samples hold only such things.  A shard is complete when its ``label`` file exists; complete shards
are skipped on a second run.  ``sheet.png`` shows the first shard.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.lifetime import each, end_in_order, worker_pool
from robotseg_core.option_limits import MOST_ITEMS, MOST_PROCESSES, MOST_SEED, check_option
from robotseg_core.synth.rendering.render import LEAST_SIDE, MOST_SIDE, Picture, Renderer
from robotseg_core.synth.robots.catalog import RobotChoice, list_choices
from robotseg_core.synth.robots.own_robot import add_arguments, choice_from
from robotseg_core.synth.robots.robot import BACKGROUND, GRIPPER
from robotseg_core.synth.scenes.look import lift_shadows, light_scene, paint_robot
from robotseg_core.synth.scenes.placing import choose_robots, made_share, place_robots
from robotseg_core.synth.scenes.room import Room, Thing
from robotseg_core.synth.scenes.scene import Scene, build_scene, update
from robotseg_core.synth.scenes.surroundings import CABLES, NOTHING, hold_things, place_beside, things_beside
from robotseg_core.synth.scenes.views import View, choose_view, pose_robot, third_person, wrist_view
from robotseg_core.synth.vrs import overlay, write_sheet

HANG = 0.06
"""How often robots are mounted on a wall or a ceiling."""
MOST_OF_SHARD, MOST_SCALE = 100_000, 4.0

_renderer: Renderer | None = None  # one a process, made when first needed


@dataclass(frozen=True)
class CutoutOptions:
    """What a set of cut-outs is made of.

    Attributes:
        robots: the robots folder.
        choices: robots that may appear.
        out: folder for the shards.
        seed: of the set; each shard has its own, made of it.
        size: pixels, width and height.
        scale: rendered larger by this and shrunk.
        per_scene: samples of one compiled scene.
        procedural: share of robots that do not exist.
        empty: share of scenes without a robot.
    """

    robots: Path
    choices: tuple[RobotChoice, ...]
    out: Path
    seed: int = 1
    size: int = 384
    scale: float = 1.25
    per_scene: int = 8
    procedural: float = 0.0
    empty: float = 0.05


@dataclass(frozen=True)
class CutoutMeta:
    """What is in one sample."""

    robots: tuple[str, ...]
    view: str
    paint: str
    shadow: bool
    robot_area: float
    gripper_area: float


@dataclass(frozen=True)
class Limits:
    """Fractions of the image a sample must keep to."""

    least: float = 0.02
    most: float = 0.60
    gripper: float = 0.002
    without_gripper: float = 0.08
    """How often a sample may show no gripper."""


def draw_cutout(
    scene: Scene,
    renderer: Renderer,
    rng: np.random.Generator,
    limits: Limits,
    things: Sequence[Thing] = (),
    tries: int = 12,
) -> tuple[Picture, CutoutMeta] | None:
    """Pose, paint, light and photograph the scene; None when no camera within ``tries`` meets the limits."""
    place_robots(scene, rng, HANG)
    update(scene)
    extents = [pose_robot(scene, r, rng) for r in scene.robots] or [NOTHING]
    place_beside(scene, things, extents[0], rng)
    view = choose_view(rng) if scene.robots else View.FAR
    main = extents[int(rng.integers(len(extents)))]
    need = limits.gripper if view is not View.WRIST else 5 * limits.gripper
    if view is not View.WRIST and rng.random() < limits.without_gripper:
        need = 0.0
    for _ in range(tries):
        pose = wrist_view(main, rng) if view is View.WRIST else third_person(view, main, rng)
        pose.apply(scene)
        small = renderer.preview(scene.data, scene.camera, scene.part)
        area, gripper = float((small != BACKGROUND).mean()), float((small == GRIPPER).mean())
        if not scene.robots or (limits.least <= area <= limits.most and gripper >= need):
            break
    else:
        return None
    scene.paint.apply(scene.model)
    paint = [paint_robot(scene, r, rng) for r in scene.robots]
    casts = light_scene(scene, rng, main.centre, main.radius)
    update(scene)
    picture = renderer.picture(scene.data, scene.camera, scene.part, shadow=casts, cutout=True)
    area = float((picture.label != BACKGROUND).mean())
    gripper = float((picture.label == GRIPPER).mean())
    if scene.robots and not limits.least <= area <= limits.most:
        return None
    picture = replace(picture, rgb=lift_shadows(picture.rgb, picture.label != BACKGROUND, rng))
    names = tuple(str(r.choice) for r in scene.robots)
    return picture, CutoutMeta(names, view.value, "+".join(paint), casts, area, gripper)


def cutouts(
    options: CutoutOptions, renderer: Renderer, rng: np.random.Generator
) -> Iterator[tuple[Picture, CutoutMeta]]:
    """Samples without end; a new scene is compiled after every ``per_scene`` of them."""
    while True:
        chosen = []
        if rng.random() >= options.empty:
            chosen = choose_robots(options.robots, options.choices, rng, procedural=options.procedural)
        beside: list[Room] = []
        around = things_beside(rng, alone=not chosen, out=beside)
        scene = build_scene(options.robots, chosen, rng, around, cables=CABLES)
        scene = hold_things(scene, beside[0].held, rng)
        renderer.set_model(scene.model)
        made = failed = 0
        while made < options.per_scene and failed < 4 * options.per_scene:
            sample = draw_cutout(scene, renderer, rng, Limits(), beside[0].things)
            if sample is None:
                failed += 1
                continue
            made += 1
            yield sample


def make_shard(task: tuple[CutoutOptions, int, int], tick: Callable[[], object] | None = None) -> int:
    """Render and write one shard: (options, number of the shard, samples in it); returns the number of samples.

    ``tick`` is called after each sample.
    """
    global _renderer
    options, index, count = task
    if _renderer is None or _renderer.size != (options.size, options.size):
        _renderer = Renderer(options.size, options.size, options.scale)
    source = cutouts(options, _renderer, np.random.default_rng([options.seed, index]))
    samples = []
    for _ in range(count):
        samples.append(next(source))
        if tick is not None:
            tick()
    write_shard(options.out, index, samples)
    return count


def write_shard(out: Path, index: int, samples: Sequence[tuple[Picture, CutoutMeta]]) -> None:
    """Write one shard; the label file comes last, so that its presence means the shard is complete."""
    arrays: dict[str, NDArray[np.uint8]] = {
        "rgb": np.stack([p.rgb for p, _ in samples]),
        "alpha": np.stack([p.alpha for p, _ in samples]),
        "label": np.stack([p.label for p, _ in samples]),
    }
    lines = "".join(json.dumps(asdict(m)) + "\n" for _, m in samples)
    (out / f"meta_{index:04d}.jsonl").write_text(lines)
    for name, array in arrays.items():
        part = out / f".{name}_{index:04d}.tmp"
        with part.open("wb") as f:
            np.save(f, array)
        os.replace(part, out / f"{name}_{index:04d}.npy")


def shard_tiles(out: Path, index: int, most: int = 64) -> list[NDArray[np.uint8]]:
    """Up to ``most`` samples of a shard over grey, parts tinted."""
    rgb, label, alpha = (np.load(out / f"{n}_{index:04d}.npy", mmap_mode="r") for n in ("rgb", "label", "alpha"))
    tiles = []
    for i in range(0, len(rgb), max(1, len(rgb) // most))[:most]:
        cover = alpha[i][..., None] / 255
        over = np.asarray(rgb[i] * cover + 110 * (1 - cover), np.uint8)
        tiles.append(overlay(over, np.asarray(label[i])))
    return tiles


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    end_in_order()
    parser = argparse.ArgumentParser(prog="robotseg_core.synth.cutouts", description=__doc__.split("\n")[0])
    parser.add_argument("--robots", type=Path, help="folder with arms/ and grippers/ (without: generated robots only)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--count", type=int, default=6000, help="samples in all")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default 1)")
    parser.add_argument("--size", type=int, default=384, help="pixels, width and height")
    parser.add_argument("--shard", type=int, default=250, help="samples in a shard")
    parser.add_argument("--per-scene", type=int, default=8, help="samples of one compiled scene")
    parser.add_argument("--scale", type=float, default=1.25, help="render larger by this and shrink")
    parser.add_argument("--arms", nargs="*", help="only these arms (default: all training arms)")
    parser.add_argument(
        "--procedural",
        type=float,
        help="share of robots that do not exist: generated, or real ones changed (default 0.5; 1 without --robots)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        check_option("--count", args.count, 1, MOST_ITEMS)
        check_option("--seed", args.seed, 0, MOST_SEED)
        check_option("--size", args.size, LEAST_SIDE, MOST_SIDE)
        check_option("--shard", args.shard, 1, MOST_OF_SHARD)
        check_option("--per-scene", args.per_scene, 1, MOST_ITEMS)
        check_option("--scale", args.scale, 1, MOST_SCALE)
        check_option("--procedural", args.procedural, 0, 1)
        check_option("--jobs", args.jobs, 1, MOST_PROCESSES)
        own = choice_from(args)
        made = made_share(args.procedural, args.robots, own is not None)
        choices: tuple[RobotChoice, ...] = () if own is None else (own,)
        if args.robots is not None:
            choices = tuple(list_choices(args.robots, args.arms))
            if not choices and made < 1:
                raise ValueError(f"no arms in {args.robots}: only --procedural 1 can do without")
    except (OSError, ValueError) as e:
        parser.error(str(e))
    options = CutoutOptions(
        robots=args.robots or Path(),
        choices=choices,
        out=args.out,
        seed=args.seed,
        size=args.size,
        scale=args.scale,
        per_scene=args.per_scene,
        procedural=made,
    )
    try:
        render_shards(options, args.count, args.shard, args.jobs)
    except (OSError, RuntimeError, ValueError) as e:
        print(f"cutouts: {e}", file=sys.stderr)
        return 2
    return 0


def render_shards(options: CutoutOptions, count: int, shard: int, jobs: int) -> None:
    """Render the missing shards of a set of ``count`` samples with ``jobs`` processes, then its contact sheet."""
    options.out.mkdir(parents=True, exist_ok=True)
    sizes = [min(shard, count - first) for first in range(0, count, shard)]
    todo = [(options, i, n) for i, n in enumerate(sizes) if not (options.out / f"label_{i:04d}.npy").is_file()]
    with tqdm(total=count, initial=count - sum(n for _, _, n in todo), unit="sample") as bar:
        if jobs == 1:
            for task in todo:
                make_shard(task, bar.update)
        else:
            with worker_pool(jobs) as pool:
                for done in each(pool.imap_unordered(make_shard, todo)):
                    bar.update(done)
    write_sheet(options.out / "sheet.png", shard_tiles(options.out, 0))


if __name__ == "__main__":
    raise SystemExit(main())
