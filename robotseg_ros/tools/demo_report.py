# SPDX-License-Identifier: Apache-2.0
"""What the demo leaves: the figures as a table and as JSON, and a contact sheet and video of the overlay pictures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from robotseg_core.files.film import Film
from robotseg_core.files.mask_files import write_png
from robotseg_core.files.overlay import contact_sheet
from robotseg_core.types import PARTS, State
from robotseg_ros.tools.player import Played
from robotseg_ros.tools.recorder import Answer, PictureFolder

SHEET_PICTURES = 12


@dataclass(frozen=True)
class Summary:
    """The figures of one demo run.

    Attributes:
        input: what was played.
        frames_in: images published by the player.
        masks_out: images for which all three masks came back.
        dropped: images that the node replaced by a newer one before it got to them.
        lost: images neither answered nor dropped (lost on the way, or the node failed on them).
        camera_fps: rate of the source.
        fps: masks out per second, from the first to the last.
        latency_ms_p50: from the stamp of the image to the arrival of its last mask, median.
        latency_ms_p95: 95th percentile of that.
        latency_ms_max: maximum of that.
        preset: of the model.
        device: that it ran on.
        backend: that its encoder ran on.
        states: number of answers in each state.
        present: share of the answers in which the part was seen, by part.
    """

    input: str
    frames_in: int
    masks_out: int
    dropped: int
    lost: int
    camera_fps: float
    fps: float
    latency_ms_p50: float
    latency_ms_p95: float
    latency_ms_max: float
    preset: str
    device: str
    backend: str
    states: dict[str, int]
    present: dict[str, float]

    def table(self) -> str:
        """The figures, one a line."""
        rows = {
            "input": self.input,
            "frames in": f"{self.frames_in} at {self.camera_fps:.1f} a second",
            "masks out": str(self.masks_out),
            "dropped": f"{self.dropped} (replaced by a newer image)",
            "lost": str(self.lost),
            "fps": f"{self.fps:.1f}",
            "latency p50": f"{self.latency_ms_p50:.1f} ms",
            "latency p95": f"{self.latency_ms_p95:.1f} ms",
            "latency max": f"{self.latency_ms_max:.1f} ms",
            "model": f"{self.preset} on {self.device}, encoder on {self.backend}",
            "states": ", ".join(f"{name} {count}" for name, count in self.states.items()),
            "seen": ", ".join(f"{part} {share:.0%}" for part, share in self.present.items()),
        }
        return "\n".join(f"  {name:<12} {value}" for name, value in rows.items())


def summarise(source: str, played: Played, answers: Mapping[int, Answer]) -> Summary:
    """Work out the figures.

    Raises:
        ValueError: not one image was answered with all three masks.
    """
    complete = {stamp: answer for stamp, answer in answers.items() if answer.parts and len(answer.masks) == len(PARTS)}
    if not complete:
        raise ValueError(f"no mask arrived for any of the {played.frames} images played")
    arrived = {stamp: max(answer.masks.values()) for stamp, answer in complete.items()}
    latencies = np.array([arrived[stamp] - stamp for stamp in complete]) / 1e6
    seconds = (max(arrived.values()) - min(arrived.values())) / 1e9
    messages = [answer.parts for answer in answers.values() if answer.parts]
    dropped = sum(message.dropped for message in messages)
    return Summary(
        input=source,
        frames_in=played.frames,
        masks_out=len(complete),
        dropped=dropped,
        lost=played.frames - len(complete) - dropped,
        camera_fps=round(played.rate_hz, 3),
        fps=round((len(complete) - 1) / seconds, 2) if seconds else 0.0,
        latency_ms_p50=round(float(np.percentile(latencies, 50)), 2),
        latency_ms_p95=round(float(np.percentile(latencies, 95)), 2),
        latency_ms_max=round(float(latencies.max()), 2),
        preset=messages[0].preset,
        device=messages[0].device,
        backend=messages[0].backend,
        states=dict(Counter(State(message.state).name for message in messages)),
        present={
            part: round(sum(message.parts[row].present for message in messages) / len(messages), 3)
            for row, part in enumerate(PARTS)
        },
    )


def write_summary(summary: Summary, path: Path) -> None:
    """Write the figures as JSON."""
    path.write_text(json.dumps(asdict(summary), indent=2) + "\n")


def write_video(pictures: PictureFolder, stamps: Sequence[int], path: Path, rate_hz: float) -> None:
    """Write one picture for each frame played, so that the video keeps the time of what was played.

    A frame without a picture (dropped or lost) shows the one before it; before the first picture it is black.

    Args:
        pictures: by the stamp of their frame; other sizes than the first are scaled to it.
        stamps: of all frames played, in their order.
        path: of the video.
        rate_hz: of the frames played.

    Raises:
        ValueError: no frame has a picture.
    """
    first = next((picture for picture in map(pictures.read, stamps) if picture is not None), None)
    if first is None:
        raise ValueError(f"no overlay picture arrived for any of the {len(stamps)} images played")
    film = Film(path, None, rate_hz, len(stamps))
    shown = np.zeros_like(first)
    for stamp in stamps:
        picture = pictures.read(stamp)
        shown = shown if picture is None else picture
        film.add("", shown)
    film.close()


def write_contact_sheet(pictures: PictureFolder, stamps: Sequence[int], path: Path) -> None:
    """Write up to twelve pictures, about evenly over the frames played, as one image; captions are frame numbers.

    Args:
        pictures: by the stamp of their frame.
        stamps: of all frames played, in their order.
        path: of the image.

    Raises:
        ValueError: no frame has a picture.
    """
    wanted = np.linspace(0, len(stamps) - 1, SHEET_PICTURES)
    there = [number for number, stamp in enumerate(stamps) if pictures.has(stamp)]
    chosen = sorted({min(there, key=lambda number: abs(number - want)) for want in wanted} if there else set())
    captioned = [(str(number), picture) for number in chosen if (picture := pictures.read(stamps[number])) is not None]
    write_png(path, contact_sheet(captioned)[..., ::-1])
