# SPDX-License-Identifier: Apache-2.0
"""Pack pictures for training with hints: ``python -m robotseg_core.train.hinted.packs.command --out DIR --videos DIR``.

Every source becomes packs of at most ``--limit`` MB, named after it.  What exists is left as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.natural import in_order
from robotseg_core.storage.whole import replacing
from robotseg_core.train.hinted.packs.files import IDS, Group, PackWriter
from robotseg_core.train.hinted.packs.regions import find_regions

Image = NDArray[np.uint8]
Frame = tuple[Image, Image | None, Image | None]
"""BGR [S, S, 3], part [S, S] or None, ids [S, S] or None."""
Video = tuple[str, str, list[Group], list[Callable[[], Frame]]]
"""Name, source, groups, and how to read each frame."""


def read_bgr(path: Path, side: int) -> Image:
    """A picture as a square, the aspect ratio ignored as the model does."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is not a readable image")
    shrinks = min(image.shape[:2]) >= side
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)


def read_part(folder: Path, stem: str, side: int) -> Image | None:
    """Parts of a frame from masks of arm, gripper and robot; None where it has none of them."""
    part = np.zeros((side, side), np.uint8)
    known = False
    for value, name in ((1, "002"), (1, "000"), (2, "001")):
        file = folder / name / f"{stem}.png"
        mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) if file.exists() else None
        if mask is not None:
            known = True
            part[cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) > 127] = value
    return part if known else None


def groups_of(meta: Path) -> list[Group]:
    """What the ids of a rendered video mean (ids/<video>/meta.json); ids of 256 and more are left out."""
    if not meta.exists():
        return []
    content = json.loads(meta.read_text())
    groups: list[Group] = []

    def add(role: str, ids: list[int]) -> None:
        small = tuple(i for i in ids if 0 < i < IDS)
        if small:
            groups.append(Group(role, small))

    for one in content["instances"]:
        add("link" if one["kind"] in ("link", "cable") else "object", [one["id"]])
    for robot in content["robots"]:
        add("robot", robot["ids"])
        add("arm", robot["arm_ids"])
    for gripper in content["grippers"]:
        add("gripper", gripper["ids"])
    for limb in content["limbs"]:
        add("arm", limb["ids"])
    return groups


def read_ids(path: Path, side: int) -> Image | None:
    """Ids of a rendered frame; those of 256 and more become 0.  None where there is no map."""
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.exists() else None
    if ids is None:
        return None
    ids = cv2.resize(ids, (side, side), interpolation=cv2.INTER_NEAREST)
    return np.where(ids < IDS, ids, 0).astype(np.uint8)


def rendered_videos(root: Path, side: int, every: int) -> Iterator[Video]:
    """Videos in VRS layout, with ids where they have them; every ``every``-th frame."""
    for folder in sorted((root / "image").iterdir()):
        masks, ids = root / "mask_gt" / folder.name, root / "ids" / folder.name
        if not (masks / "000").is_dir():
            continue

        def reader(path: Path, masks: Path = masks, ids: Path = ids) -> Callable[[], Frame]:
            return lambda: (
                read_bgr(path, side),
                read_part(masks, path.stem, side),
                read_ids(ids / f"{path.stem}.png", side),
            )

        frames = [reader(path) for path in in_order(folder.glob("*.jpg"))[::every]]
        if frames:
            yield folder.name, "rendered", groups_of(ids / "meta.json"), frames


def real_videos(root: Path, clips: Path | None, side: int) -> Iterator[Video]:
    """Labelled real frames; with ``clips``, those of the same clip that have no labels stand between them."""
    for folder in sorted((root / "image").iterdir()):
        files = {path.stem: path for path in in_order(folder.glob("*.jpg"))}
        between = clips / folder.name if clips is not None else None
        if between is not None and between.is_dir():
            files = {path.stem: path for path in in_order(between.glob("*.jpg"))} | files

        def reader(path: Path, masks: Path = root / "mask_gt" / folder.name) -> Callable[[], Frame]:
            return lambda: (read_bgr(path, side), read_part(masks, path.stem, side), None)

        if between is not None and between.is_dir():
            yield folder.name, "real", [], [reader(files[stem]) for stem in sorted(files)]
        else:
            # Frames without those between them are pictures, not videos.
            for stem in sorted(files):
                yield f"{folder.name}/{stem}", "real", [], [reader(files[stem])]


def photographs(root: Path, source: str, side: int) -> Iterator[Video]:
    """Pictures without robots, with their regions."""
    for path in sorted(root.rglob("*.jpg")):
        bgr = read_bgr(path, side)
        ids = find_regions(bgr)
        groups = [Group("region", (int(i),)) for i in np.unique(ids[ids > 0])]

        def give(bgr: Image = bgr, ids: Image = ids) -> Frame:
            return bgr, np.zeros(ids.shape, np.uint8), ids

        yield path.relative_to(root).as_posix(), source, groups, [give]


def write(videos: Iterator[Video], out: Path, name: str, *, quality: int, limit: float) -> None:
    """Write packs ``name_00.zip``, ... of at most ``limit`` MB each: all of them, or none."""
    if (out / f"{name}_00.zip").exists():
        print(f"{name}: exists")
        return
    shard, writer = 0, None
    # They get their names at the end, the first one last: where it is, all others are, whenever this was killed.
    with contextlib.ExitStack() as packs:
        for title, source, groups, frames in tqdm(videos, desc=name, unit="video", mininterval=5):
            if writer is not None and writer.bytes > (limit - 0.5) * 1e6:
                writer.close()
                shard, writer = shard + 1, None
            writer = writer or PackWriter(packs.enter_context(replacing(out / f"{name}_{shard:02d}.zip")), quality)
            writer.begin(title, source, groups)
            for frame in frames:
                writer.add(*frame())
        if writer is not None:
            writer.close()


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="robotseg_core.train.hinted.packs.command", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the packs")
    parser.add_argument("--name", required=True, help="name of the packs")
    parser.add_argument("--videos", type=Path, help="rendered videos, VRS layout, with ids/ where there are")
    parser.add_argument("--real", type=Path, help="labelled real frames, VRS layout")
    parser.add_argument("--clips", type=Path, help="with --real: folders of further frames of the same clips")
    parser.add_argument("--photos", type=Path, help="photographs without robots")
    parser.add_argument("--bare", type=Path, help="pictures of hands, desks and machines without robots")
    parser.add_argument("--side", type=int, default=448, help="side of the packed pictures, pixels (default 448)")
    parser.add_argument("--every", type=int, default=1, help="with --videos: take every n-th frame")
    parser.add_argument("--quality", type=int, default=80, help="of the WebP pictures (default 80)")
    parser.add_argument(
        "--part", default="0/1", help="i/n: every n-th video from the i-th on, for n at once (0/1: all)"
    )
    parser.add_argument("--limit", type=float, default=40.0, help="largest pack, MB (default 40)")
    arguments = parser.parse_args(argv)
    side = arguments.side
    sources = {
        "videos": lambda: rendered_videos(arguments.videos, side, arguments.every),
        "real": lambda: real_videos(arguments.real, arguments.clips, side),
        "photos": lambda: photographs(arguments.photos, "photo", side),
        "bare": lambda: photographs(arguments.bare, "bare", side),
    }
    asked = [key for key in sources if getattr(arguments, key) is not None]
    if len(asked) != 1:
        parser.error(f"exactly one of {['--' + key for key in sources]} is needed, got {asked}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    first, step = (int(number) for number in arguments.part.split("/"))
    write(
        itertools.islice(sources[asked[0]](), first, None, step),
        arguments.out,
        arguments.name,
        quality=arguments.quality,
        limit=arguments.limit,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
