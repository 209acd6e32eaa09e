# SPDX-License-Identifier: Apache-2.0
"""One clip's way from its frames to its folder of masks, whole or not at all."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import torch

from robotseg_core.files.formats.choose import FORMATS, make_writer
from robotseg_core.label_set.clips import Clip, frames_of
from robotseg_core.storage.whole import umask, write_whole
from robotseg_core.stream.choices import chosen_device, chosen_precision
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.types import ModelFault
from robotseg_core.weights.adapter import find_adapter
from robotseg_core.weights.files import find_weights, sha256_of

MASKS, PARTIAL, RECORD = "masks", ".partial", "clip.json"
"""Folders of OUT, and the file beside a clip's masks that says what they are."""
DONE, FAILED = "done", "failed"
"""States of a clip."""
MOST_DEATHS = 5
"""A clip at which so many processes of a run have died fails."""


class CannotStart(RuntimeError):
    """The model cannot be loaded where a clip should be labelled: none can be."""


@dataclass(frozen=True)
class LabelSettings:
    """All that decides what the masks are; the same settings give the same bytes on like machines.

    Attributes:
        preset, device, backend, precision, image_size: as of ``RobotSeg.load``; nothing is ``auto`` but the backend.
        weights, adapter: files, the same path on every machine.
        weights_sha256, adapter_sha256: of these files; empty where there is no adapter.
        threads: cores that one copy of the model uses.
        formats: of the masks, of :data:`robotseg_core.files.formats.choose.FORMATS`.
    """

    weights: str
    weights_sha256: str
    preset: str = "nano"
    device: str = "cpu"
    backend: str = "auto"
    precision: str = "fp32"
    image_size: int | None = None
    adapter: str | None = None
    adapter_sha256: str = ""
    threads: int = 1
    formats: tuple[str, ...] = ("png",)

    def __post_init__(self) -> None:
        for kind in self.formats:
            if kind not in FORMATS:
                raise ValueError(f"format is {kind!r}, must be one of {', '.join(FORMATS)}")
        if not self.formats:
            raise ValueError("formats is empty, must name one at least")

    @property
    def identity(self) -> dict[str, Any]:
        """What is compared before a run goes on: everything but where the files lie and how many threads there are."""
        left_out = ("weights", "adapter", "threads")
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if k not in left_out}


def settle(arguments: argparse.Namespace, *, threads: int = 1, formats: tuple[str, ...] = ("png",)) -> LabelSettings:
    """Settings from the arguments of ``add_model_arguments``, with nothing left to each machine to decide.

    Raises:
        WeightsError: there are no such weights, or no such adapter.
    """
    device = chosen_device(arguments.device)
    place = torch.device(device)
    weights = find_weights(arguments.weights or arguments.preset).resolve()
    adapter = None if arguments.adapter is None else find_adapter(arguments.adapter).resolve()
    return LabelSettings(
        weights=str(weights),
        weights_sha256=sha256_of(weights),
        preset=arguments.preset,
        device=device,
        backend=arguments.backend,
        precision=chosen_precision(arguments.precision, arguments.preset, place, arguments.backend),
        image_size=arguments.image_size,
        adapter=None if adapter is None else str(adapter),
        adapter_sha256="" if adapter is None else sha256_of(adapter),
        threads=threads,
        formats=formats,
    )


@dataclass(frozen=True)
class Outcome:
    """What became of a clip.

    Attributes:
        key: of the clip.
        state: :data:`DONE` or :data:`FAILED`.
        frames: that were read, or tried.
        masked: of these, frames with an answer.
        unreadable, faulty: names of those without: not to be read, or the model failed.
        error: why it failed.
        seconds, cpu_seconds: that it took, of the clock and of all threads.
        host, pid: where.
    """

    key: str
    state: str
    frames: int = 0
    masked: int = 0
    unreadable: tuple[str, ...] = ()
    faulty: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    host: str = ""
    pid: int = 0


class Labeller:
    """Holds the model, and labels one clip after the other.

    Args:
        settings: what the masks are to be.
        out: folder of the labels.
    """

    def __init__(self, settings: LabelSettings, out: Path) -> None:
        self.settings, self.out = settings, out
        self._robotseg: RobotSeg | None = None

    def load(self) -> RobotSeg:
        """The model, loaded once.

        Raises:
            CannotStart: it cannot be; says where and why.
        """
        if self._robotseg is not None:
            return self._robotseg
        wanted = self.settings
        # As many threads wherever it runs, so that the bits are the same.
        torch.set_num_threads(wanted.threads)
        cv2.setNumThreads(1)
        try:
            robotseg = RobotSeg.load(
                wanted.preset,
                device=wanted.device,
                backend=wanted.backend,
                weights=wanted.weights,
                adapter=None if wanted.adapter is None else Path(wanted.adapter),
                image_size=wanted.image_size,
                precision=wanted.precision,
                threads=wanted.threads,
                warm=False,
            )
            added = "" if robotseg.adapter is None else robotseg.adapter.sha256
            for file, found, meant in (
                (wanted.weights, robotseg.sha256, wanted.weights_sha256),
                (wanted.adapter, added, wanted.adapter_sha256),
            ):
                if found != meant:
                    raise ValueError(f"{file} has SHA-256 {found}, elsewhere {meant}")
        except Exception as error:
            raise CannotStart(f"{socket.gethostname()}: {error}") from error
        self._robotseg = robotseg
        return robotseg

    def label(self, clip: Clip) -> Outcome:
        """Label a clip; what goes wrong with it is said in the outcome.

        Raises:
            CannotStart: the model cannot be loaded.
            OSError: the disk is full or says no.
        """
        robotseg = self.load()
        died = len(list((self.out / PARTIAL).glob(f"{_tag(clip)}.*")))
        if died >= MOST_DEATHS:
            return Outcome(clip.key, FAILED, error=f"{died} processes died at it")
        began, cpu = time.perf_counter(), time.process_time()
        final = self.out / MASKS / clip.key
        partial = self._partial(clip)
        try:
            said: dict[str, Any] = self._write(robotseg, clip, partial)
            if not said["masked"]:
                raise ValueError(f"none of {said['frames']} frames has an answer")
            record = {"clip": clip.key, "state": DONE, **said, **self.settings.identity}
            write_whole(partial / RECORD, f"{json.dumps(record, sort_keys=True)}\n".encode())
            partial.chmod(0o777 & ~umask())
            place(partial, final)
        except (ValueError, RuntimeError, cv2.error) as error:
            said = {"error": str(error).strip() or type(error).__name__}
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return Outcome(
            key=clip.key,
            state=FAILED if "error" in said else DONE,
            seconds=time.perf_counter() - began,
            cpu_seconds=time.process_time() - cpu,
            host=socket.gethostname(),
            pid=os.getpid(),
            **said,
        )

    def _partial(self, clip: Clip) -> Path:
        """A new folder of a name that nobody else has."""
        folder = self.out / PARTIAL
        folder.mkdir(parents=True, exist_ok=True)
        prefix = f"{_tag(clip)}.{socket.gethostname()}.{os.getpid()}."
        return Path(tempfile.mkdtemp(prefix=prefix, dir=folder))

    def _write(self, robotseg: RobotSeg, clip: Clip, partial: Path) -> dict[str, Any]:
        """Masks of all frames into ``partial``; returns what there was."""
        rate_hz, frames = frames_of(clip)
        name = clip.key.rpartition("/")[2]
        writers = [
            # The PNGs' folders 000, 001 and 002 lie in the clip's own, as in VRS layout.
            make_writer(kind, *((partial.parent, partial.name) if kind == "png" else (partial, name)), rate_hz)
            for kind in self.settings.formats
        ]
        stream, count = robotseg.stream(), 0
        unreadable: list[str] = []
        faulty: list[str] = []
        try:
            for frame, rgb in frames:
                count += 1
                if rgb is None:
                    unreadable.append(frame)
                    for writer in writers:
                        writer.unknown(frame, unreadable=True)
                    continue
                try:
                    result = stream.step(rgb, stamp=round((count - 1) * 1e9 / rate_hz))
                except ModelFault:
                    faulty.append(frame)
                    for writer in writers:
                        writer.unknown(frame, unreadable=False)
                else:
                    for writer in writers:
                        writer.write(frame, result)
            for writer in writers:
                writer.close()
        finally:
            for writer in writers:
                writer.discard()
        masked = count - len(unreadable) - len(faulty)
        return {"frames": count, "masked": masked, "unreadable": tuple(unreadable), "faulty": tuple(faulty)}


def _tag(clip: Clip) -> str:
    """What the names of a clip's partial folders begin with."""
    return hashlib.sha256(clip.key.encode()).hexdigest()[:16]


def place(partial: Path, final: Path) -> None:
    """Give a whole folder its name; where another process was first, its folder stays: it has the same content."""
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(partial, final)
    except OSError:
        if not (final / RECORD).is_file():
            raise
