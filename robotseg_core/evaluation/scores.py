# SPDX-License-Identifier: Apache-2.0
"""Scores of objects, videos and data sets.  An object is one part in one video under one protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robotseg_core.evaluation.metrics import FrameScore


@dataclass(frozen=True)
class ObjectScore:
    """One object's counted frames.

    Attributes:
        protocol: name of the protocol.
        part: name of the part.
        frames: at least one.
    """

    protocol: str
    part: str
    frames: tuple[FrameScore, ...]

    @property
    def j(self) -> float:
        """Mean J, percent."""
        return 100 * float(np.mean([frame.j for frame in self.frames]))

    @property
    def f(self) -> float:
        """Mean F, percent; NaN for a single frame, which is scored by IoU alone."""
        return 100 * float(np.mean([frame.f for frame in self.frames])) if len(self.frames) > 1 else float("nan")


@dataclass(frozen=True)
class FalsePixels:
    """What one protocol marks as robot where there is none.

    Attributes:
        protocol: name of the protocol.
        frames: number of answered frames without a robot.
        share: mean share of their pixels that is marked, 0 to 1.
    """

    protocol: str
    frames: int
    share: float


@dataclass(frozen=True)
class VideoScore:
    """Everything measured on one video.

    Attributes:
        name: of the video.
        embodiment: of its robot.
        frames: number of frames that were streamed.
        annotated: number of frames with truth.
        objects: one a protocol and part; parts that are never in the truth have none.
        false_pixels: one a protocol that answered a frame without a robot.
        seconds: wall time.
    """

    name: str
    embodiment: str
    frames: int
    annotated: int
    objects: tuple[ObjectScore, ...]
    false_pixels: tuple[FalsePixels, ...]
    seconds: float

    def of(self, protocol: str) -> tuple[ObjectScore, ...]:
        """Objects of one protocol."""
        return tuple(score for score in self.objects if score.protocol == protocol)

    def as_json(self) -> dict[str, Any]:
        """Plain types, NaN as None."""
        return {
            "video": self.name,
            "embodiment": self.embodiment,
            "frames": self.frames,
            "annotated": self.annotated,
            "seconds": round(self.seconds, 2),
            "objects": [
                {
                    "protocol": score.protocol,
                    "part": score.part,
                    "J": number(score.j),
                    "F": number(score.f),
                    "per_frame": [
                        {"frame": frame.name, "J": number(100 * frame.j), "F": number(100 * frame.f)}
                        for frame in score.frames
                    ],
                }
                for score in self.objects
            ],
            "false_robot_pixels": [
                {"protocol": false.protocol, "frames": false.frames, "percent": number(100 * false.share, 4)}
                for false in self.false_pixels
            ],
        }


@dataclass(frozen=True)
class Summary:
    """Means over objects.

    Attributes:
        objects: how many; all count for J, those of more than one frame for F.
        j: percent, NaN without objects.
        f: percent, NaN without objects of several frames.
    """

    objects: int
    j: float
    f: float

    @property
    def jf(self) -> float:
        """Mean of J and F, percent; NaN where there is no F."""
        return (self.j + self.f) / 2

    def as_json(self) -> dict[str, Any]:
        """Plain types, NaN as None."""
        return {"objects": self.objects, "J&F": number(self.jf), "J": number(self.j), "F": number(self.f)}


def summarise(objects: Iterable[ObjectScore]) -> Summary:
    """Mean of J and of F over objects, each of equal weight whatever its length (SPEC 10.4)."""
    scores = list(objects)
    f = [score.f for score in scores if not np.isnan(score.f)]
    return Summary(
        objects=len(scores),
        j=float(np.mean([score.j for score in scores])) if scores else float("nan"),
        f=float(np.mean(f)) if f else float("nan"),
    )


def total_false_pixels(videos: Iterable[VideoScore], protocol: str) -> FalsePixels | None:
    """All videos' frames without a robot taken together; None where there are none."""
    found = [false for video in videos for false in video.false_pixels if false.protocol == protocol]
    frames = sum(false.frames for false in found)
    if not frames:
        return None
    return FalsePixels(protocol, frames, sum(false.share * false.frames for false in found) / frames)


def number(value: float, digits: int = 2) -> float | None:
    """Rounded for people; None for NaN, which JSON has not."""
    return None if np.isnan(value) else round(float(value), digits)
