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
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.synth.catalog import RobotChoice, embodiment, list_choices, sample_made
from robotseg_core.synth.look import lift_shadows, light_scene, paint_robot
from robotseg_core.synth.own_robot import add_arguments, choice_from
from robotseg_core.synth.render import Picture, Renderer
from robotseg_core.synth.robots import BACKGROUND, GRIPPER
from robotseg_core.synth.room import Room, Thing
from robotseg_core.synth.scene import Scene, build_scene, update
from robotseg_core.synth.surroundings import CABLES, NOTHING, hold_thing, place_beside, things_beside
from robotseg_core.synth.views import View, choose_view, pose_robot, third_person, wrist_view
from robotseg_core.synth.vrs import overlay, write_sheet


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


def choose_robots(
    root: Path, choices: Sequence[RobotChoice], rng: np.random.Generator, two: float = 0.15, procedural: float = 0.0
) -> list[RobotChoice]:
    """One robot, or two, of which half the time both are alike, rarely three; ``procedural`` of them do not exist.

    Each embodiment is as likely as any other, so is each arm of one, so is each gripper of an arm.
    """
    kinds: dict[str, set[str]] = {}
    for c in choices:
        kinds.setdefault(embodiment(root, c), set()).add(c.arm)
    out: list[RobotChoice] = []
    count = 1 if rng.random() >= two else 2 if rng.random() < 0.85 else 3
    for _ in range(count):
        if out and rng.random() < 0.5:
            out.append(out[0])
            continue
        if procedural > 0 and rng.random() < procedural:
            out.append(sample_made(choices, root, rng))
            continue
        kind = sorted(kinds)[int(rng.integers(len(kinds)))]
        arm = sorted(kinds[kind])[int(rng.integers(len(kinds[kind])))]
        fitting = [c for c in choices if c.arm == arm]
        out.append(fitting[int(rng.integers(len(fitting)))])
    return out


def place_robots(scene: Scene, rng: np.random.Generator) -> None:
    """Turn each robot at random; put others beside the first, looking the same way, opposite it, or anywhere."""
    model = scene.model
    first = rng.uniform(-np.pi, np.pi)
    for i, robot in enumerate(scene.robots):
        yaw = first
        model.body_pos[robot.mount] = 0
        if i:
            angle, away, way = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 1.2) * (1 + 0.4 * (i - 1)), rng.random()
            if way < 0.4:
                angle, yaw = first + np.pi / 2 + np.pi * (i - 1), first + rng.normal(0, 0.15)
            elif way < 0.7:
                yaw = angle + np.pi + rng.normal(0, 0.6)
            else:
                yaw = rng.uniform(-np.pi, np.pi)
            model.body_pos[robot.mount] = (away * np.cos(angle), away * np.sin(angle), 0)
        model.body_quat[robot.mount] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))


def draw_cutout(
    scene: Scene,
    renderer: Renderer,
    rng: np.random.Generator,
    limits: Limits,
    things: Sequence[Thing] = (),
    tries: int = 12,
) -> tuple[Picture, CutoutMeta] | None:
    """Pose, paint, light and photograph the scene; None when no camera within ``tries`` meets the limits."""
    place_robots(scene, rng)
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
    root: Path,
    choices: Sequence[RobotChoice],
    renderer: Renderer,
    rng: np.random.Generator,
    per_scene: int,
    procedural: float = 0.0,
    empty: float = 0.05,
) -> Iterator[tuple[Picture, CutoutMeta]]:
    """Samples without end; a new scene is compiled after every ``per_scene`` of them."""
    while True:
        chosen = [] if rng.random() < empty else choose_robots(root, choices, rng, procedural=procedural)
        beside: list[Room] = []
        around = things_beside(rng, alone=not chosen, out=beside)
        scene = build_scene(root, chosen, rng, around, cables=CABLES)
        scene = hold_thing(scene, beside[0].held, rng)
        renderer.set_model(scene.model)
        made = failed = 0
        while made < per_scene and failed < 4 * per_scene:
            sample = draw_cutout(scene, renderer, rng, Limits(), beside[0].things)
            if sample is None:
                failed += 1
                continue
            made += 1
            yield sample


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
    parser = argparse.ArgumentParser(prog="robotseg_core.synth.cutouts", description=__doc__.split("\n")[0])
    parser.add_argument("--robots", type=Path, help="folder with arms/ and grippers/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--count", type=int, default=6000, help="samples in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=384, help="pixels, width and height")
    parser.add_argument("--shard", type=int, default=250, help="samples in a shard")
    parser.add_argument("--per-scene", type=int, default=8, help="samples of one compiled scene")
    parser.add_argument("--scale", type=float, default=1.25, help="render larger by this and shrink")
    parser.add_argument("--arms", nargs="*", help="only these arms (default: all training arms)")
    parser.add_argument(
        "--procedural",
        type=float,
        help="share of robots that do not exist: generated, or real ones changed (default 0.5; 0 with an own robot)",
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    made = args.procedural if args.procedural is not None else 0.5 if args.robots is not None else 0.0
    if not 0 <= made <= 1 or (made > 0 and args.robots is None):
        parser.error("--procedural is a share, 0 to 1, and needs --robots")
    if args.count < 1 or args.size < 64 or args.shard < 1:
        parser.error("--count and --shard must be at least 1, --size at least 64")
    try:
        own = choice_from(args)
        choices = [own] if own is not None else list_choices(args.robots, args.arms)
    except (OSError, ValueError) as e:
        parser.error(str(e))
    root = args.robots or Path()
    args.out.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(args.size, args.size, args.scale)
    start, made = time.monotonic(), 0
    with tqdm(total=args.count, unit="sample") as bar:
        for index, first in enumerate(range(0, args.count, args.shard)):
            want = min(args.shard, args.count - first)
            if not (args.out / f"label_{index:04d}.npy").is_file():
                rng = np.random.default_rng([args.seed, index])
                source = cutouts(root, choices, renderer, rng, args.per_scene, made)
                samples = []
                for _ in range(want):
                    samples.append(next(source))
                    bar.update()
                write_shard(args.out, index, samples)
                made += want
            else:
                bar.update(want)
    write_sheet(args.out / "sheet.png", shard_tiles(args.out, 0))
    if made:
        print(f"{made} samples, {made / (time.monotonic() - start):.1f} a second")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
