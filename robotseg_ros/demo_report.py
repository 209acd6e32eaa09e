# SPDX-License-Identifier: Apache-2.0
"""What the demo leaves: the figures as a table and as JSON, and a contact sheet of the overlay video."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from robotseg_core.pictures import contact_sheet
from robotseg_core.types import PARTS, State
from robotseg_ros.player import Played
from robotseg_ros.recorder import Answer

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


def write_contact_sheet(video: Path, path: Path) -> None:
    """Write up to twelve pictures, evenly over the video, as one image.

    Raises:
        ValueError: the video has no pictures.
    """
    capture = cv2.VideoCapture(str(video))
    last = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) - 1
    chosen = {round(number) for number in np.linspace(0, last, SHEET_PICTURES)}
    pictures = []
    for number in range(last + 1):
        good, picture = capture.read()
        if good and number in chosen:
            pictures.append((str(number), np.asarray(picture[..., ::-1], dtype=np.uint8)))
    capture.release()
    cv2.imwrite(str(path), contact_sheet(pictures)[..., ::-1])
