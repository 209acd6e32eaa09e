# SPDX-License-Identifier: Apache-2.0
"""Render robots without surroundings, to be pasted over photographs while training.

    python -m robotseg_core.synth.cutouts --robots ROBOTS --out DIR --count 6000 --seed 1 --size 384

Writes shards ``rgb_0000.npy`` [n, S, S, 3] uint8, ``label_0000.npy`` [n, S, S] uint8 (0 background, 1 arm, 2 gripper),
``alpha_0000.npy`` [n, S, S] uint8 (coverage 0 to 255; the colour is right wherever it is not 0) and ``meta_0000.jsonl``
(one line a sample).  A shard is complete when its ``label`` file exists; complete shards are skipped on a second run.
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

from robotseg_core.synth.catalog import RobotChoice, list_choices, sample_made
from robotseg_core.synth.look import lift_shadows, light_scene, paint_robot
from robotseg_core.synth.render import Picture, Renderer
from robotseg_core.synth.robots import BACKGROUND, GRIPPER
from robotseg_core.synth.scene import Scene, build_scene, update
from robotseg_core.synth.views import View, choose_view, pose_robot, third_person, wrist_view


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
    """One robot, or two; each arm is as likely as any other, and ``procedural`` of them do not exist."""
    arms = sorted({c.arm for c in choices})
    out = []
    for _ in range(2 if rng.random() < two else 1):
        if procedural > 0 and rng.random() < procedural:
            out.append(sample_made(choices, root, rng))
            continue
        arm = arms[int(rng.integers(len(arms)))]
        fitting = [c for c in choices if c.arm == arm]
        out.append(fitting[int(rng.integers(len(fitting)))])
    return out


def place_robots(scene: Scene, rng: np.random.Generator) -> None:
    """Turn each robot at random and put the second beside or opposite the first."""
    model = scene.model
    for i, robot in enumerate(scene.robots):
        yaw = rng.uniform(-np.pi, np.pi)
        model.body_pos[robot.mount] = 0
        if i:
            angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 1.2)
            model.body_pos[robot.mount] = (away * np.cos(angle), away * np.sin(angle), 0)
            yaw = angle + np.pi + rng.normal(0, 0.6) if rng.random() < 0.5 else yaw
        model.body_quat[robot.mount] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))


def draw_cutout(
    scene: Scene, renderer: Renderer, rng: np.random.Generator, limits: Limits, tries: int = 12
) -> tuple[Picture, CutoutMeta] | None:
    """Pose, paint, light and photograph the scene; None when no camera within ``tries`` meets the limits."""
    place_robots(scene, rng)
    update(scene)
    extents = [pose_robot(scene, r, rng) for r in scene.robots]
    view = choose_view(rng)
    main = extents[int(rng.integers(len(extents)))]
    need = limits.gripper if view is not View.WRIST else 5 * limits.gripper
    if view is not View.WRIST and rng.random() < limits.without_gripper:
        need = 0.0
    for _ in range(tries):
        pose = wrist_view(main, rng) if view is View.WRIST else third_person(view, main, rng)
        pose.apply(scene)
        small = renderer.preview(scene.data, scene.camera, scene.part)
        area, gripper = float((small != BACKGROUND).mean()), float((small == GRIPPER).mean())
        if limits.least <= area <= limits.most and gripper >= need:
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
    if not limits.least <= area <= limits.most:
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
) -> Iterator[tuple[Picture, CutoutMeta]]:
    """Samples without end; a new scene is compiled after every ``per_scene`` of them."""
    while True:
        scene = build_scene(root, choose_robots(root, choices, rng, procedural=procedural), rng)
        renderer.set_model(scene.model)
        made = failed = 0
        while made < per_scene and failed < 4 * per_scene:
            sample = draw_cutout(scene, renderer, rng, Limits())
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


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="robotseg_core.synth.cutouts", description=__doc__.split("\n")[0])
    parser.add_argument("--robots", type=Path, required=True, help="folder with arms/ and grippers/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--count", type=int, default=6000, help="samples in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=384, help="pixels, width and height")
    parser.add_argument("--shard", type=int, default=250, help="samples in a shard")
    parser.add_argument("--per-scene", type=int, default=25, help="samples of one compiled scene")
    parser.add_argument("--scale", type=float, default=1.25, help="render larger by this and shrink")
    parser.add_argument("--arms", nargs="*", help="only these arms (default: all training arms)")
    parser.add_argument(
        "--procedural",
        type=float,
        default=0.5,
        help="share of robots that do not exist: generated, or real ones changed",
    )
    args = parser.parse_args(argv)
    if not 0 <= args.procedural <= 1:
        parser.error("--procedural is a share, 0 to 1")
    if args.count < 1 or args.size < 64 or args.shard < 1:
        parser.error("--count and --shard must be at least 1, --size at least 64")
    choices = list_choices(args.robots, args.arms)
    args.out.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(args.size, args.size, args.scale)
    start, made = time.monotonic(), 0
    with tqdm(total=args.count, unit="sample") as bar:
        for index, first in enumerate(range(0, args.count, args.shard)):
            want = min(args.shard, args.count - first)
            if not (args.out / f"label_{index:04d}.npy").is_file():
                rng = np.random.default_rng([args.seed, index])
                source = cutouts(args.robots, choices, renderer, rng, args.per_scene, args.procedural)
                samples = []
                for _ in range(want):
                    samples.append(next(source))
                    bar.update()
                write_shard(args.out, index, samples)
                made += want
            else:
                bar.update(want)
    if made:
        print(f"{made} samples, {made / (time.monotonic() - start):.1f} a second")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
