# SPDX-License-Identifier: Apache-2.0
"""``robotseg label-set``: masks of a whole data set, a clip a task, in one process or on a Ray cluster."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from robotseg_core.files.formats.choose import FORMATS
from robotseg_core.label_set.clips import Clip, find_clips
from robotseg_core.label_set.labeller import DONE, MASKS, PARTIAL, Labeller, LabelSettings, Outcome, settle
from robotseg_core.label_set.manifest import FILE, Manifest, hold
from robotseg_core.label_set.ray_cluster import label_on_ray
from robotseg_core.model_arguments import add_model_arguments
from robotseg_core.option_limits import check_option
from robotseg_core.stream.choices import MOST_THREADS

LOCAL = "local"
"""Where ``--ray`` has no address."""
MOST_WORKERS = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg label-set``."""
    parser.add_argument(
        "root",
        type=Path,
        help="VRS tree (image/<video>/), LeRobot data set (v2, v3), folder of videos, or of folders of images",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for masks/ and manifest.jsonl; a run in it goes on"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        metavar="ADDRESS",
        help="on a Ray cluster; without ADDRESS that of $RAY_ADDRESS, or one on this machine with all of its cores",
    )
    parser.add_argument("--workers", type=int, help="models at once, with --ray (default: as many as fit in)")
    parser.add_argument("--threads", type=int, default=1, help="cores that one model uses (default 1)")
    parser.add_argument("--camera", action="append", metavar="KEY", help="of a LeRobot data set (default: all)")
    parser.add_argument(
        "--format",
        action="append",
        choices=tuple(FORMATS),
        help="of the masks, may repeat: " + "; ".join(f"{name}: {what}" for name, what in FORMATS.items()),
    )
    add_model_arguments(parser)


@dataclass(frozen=True)
class Report:
    """What a run has come to.

    Attributes:
        clips: in the data set.
        before: of them, labelled by earlier runs.
        done: labelled now.
        failed: names of those that are not labelled, and why.
        frames: with masks, of this run.
        cpu_seconds: that these took.
    """

    clips: int
    before: int
    done: int
    failed: tuple[tuple[str, str], ...]
    frames: int
    cpu_seconds: float


def label_set(
    root: Path,
    out: Path,
    settings: LabelSettings,
    *,
    ray: str | None = None,
    workers: int | None = None,
    cameras: list[str] | None = None,
) -> Report:
    """Label a data set; clips that are labelled already stay as they are, those that failed are tried again.

    Args:
        root: of the data set, see :func:`~robotseg_core.label_set.clips.find_clips`.
        out: folder for ``masks/<clip>/`` and ``manifest.jsonl``.
        settings: what the masks are to be.
        ray: address of a Ray cluster, or :data:`LOCAL`; None: in this process.
        workers: models at once on the cluster.
        cameras: of a LeRobot data set.

    Raises:
        ValueError: ``root`` is no data set, or ``out`` has labels of another run.
        CannotStart: the model cannot be loaded.
        RuntimeError: another process labels into ``out``.
        OSError: something cannot be read or written.
    """
    layout, clips = find_clips(root, cameras)
    out = out.absolute()
    with hold(out, root=root, layout=layout, settings=settings) as manifest:
        # Nobody else is at work here: what lies there is of a process that died.
        shutil.rmtree(out / PARTIAL, ignore_errors=True)
        manifest.adopt(clips, out, settings)
        open_clips = [clip for clip in clips if not manifest.is_done(clip)]
        if ray is None:
            outcomes = _label_here(open_clips, settings, out)
        else:
            outcomes = label_on_ray(open_clips, settings, out, address=None if ray == LOCAL else ray, workers=workers)
        try:
            # Ended in order also where this is interrupted: models elsewhere are at work.
            with closing(outcomes):
                found = _follow(clips, open_clips, outcomes, manifest)
        finally:
            shutil.rmtree(out / PARTIAL, ignore_errors=True)
        return Report(
            clips=len(clips),
            before=len(clips) - len(open_clips),
            done=sum(outcome.state == DONE for outcome in found),
            failed=tuple(manifest.failed(clips)),
            frames=sum(outcome.masked for outcome in found),
            cpu_seconds=sum(outcome.cpu_seconds for outcome in found),
        )


def _label_here(clips: Sequence[Clip], settings: LabelSettings, out: Path) -> Generator[Outcome, None, None]:
    labeller = Labeller(settings, out)
    for clip in clips:
        yield labeller.label(clip)


def _follow(
    clips: list[Clip], open_clips: list[Clip], outcomes: Generator[Outcome, None, None], manifest: Manifest
) -> list[Outcome]:
    """Note outcomes as they come, and show the rate."""
    by_key, found = {clip.key: clip for clip in open_clips}, []
    frames, failed, began = 0, 0, time.perf_counter()
    with tqdm(total=len(clips), initial=len(clips) - len(open_clips), unit="clip") as bar:
        for outcome in outcomes if open_clips else ():
            manifest.add(by_key[outcome.key], outcome)
            found.append(outcome)
            frames, failed = frames + outcome.frames, failed + (outcome.state != DONE)
            bar.set_postfix_str(
                f"{frames / (time.perf_counter() - began):.1f} frames/s, {failed} failed", refresh=False
            )
            bar.update()
    return found


def run(arguments: argparse.Namespace) -> int:
    """Label a data set; returns 1 where clips have failed."""
    check_option("--threads", arguments.threads, 1, MOST_THREADS)
    check_option("--workers", arguments.workers, 1, MOST_WORKERS)
    if arguments.workers is not None and arguments.ray is None:
        raise ValueError("--workers goes with --ray; in one process there is one model")
    formats = tuple(dict.fromkeys(arguments.format or ["png"]))
    settings = settle(arguments, threads=arguments.threads, formats=formats)
    report = label_set(
        arguments.root,
        arguments.out,
        settings,
        ray=arguments.ray,
        workers=arguments.workers,
        cameras=arguments.camera,
    )
    earlier = f", {report.before} before" if report.before else ""
    print(f"{report.done} of {report.clips} clips labelled{earlier} -> {arguments.out / MASKS}")
    if report.frames:
        cost = report.cpu_seconds / report.frames
        print(
            f"{report.frames} frames, {1e3 * cost:.1f} ms of a core each: {1e6 * cost / 3600:.1f} core-hours a million"
        )
    if report.failed:
        key, why = report.failed[0]
        print(
            f"{len(report.failed)} clips failed, see {arguments.out / FILE}; the first: {key}: {why}. The same command "
            "tries them again",
            file=sys.stderr,
        )
    return 1 if report.failed else 0
