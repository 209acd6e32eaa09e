# SPDX-License-Identifier: Apache-2.0
"""What is changed of a video: chosen once for the whole of it, applied frame by frame."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotseg_core.augment import backgrounds
from robotseg_core.augment.clip import Clip, Masks, Rgb
from robotseg_core.augment.flicker import Flicker
from robotseg_core.augment.inpaint import Fill, by_opencv, grown, plate
from robotseg_core.augment.paste import Donor
from robotseg_core.augment.recolour import random_colour, recoloured
from robotseg_core.augment.smooth import Smoothed, distances, smoothed, soft, unsmoothed
from robotseg_core.augment.survey import Survey, survey
from robotseg_core.stream.stream import Stream


@dataclass(frozen=True)
class Change:
    """What to do to every video.

    Attributes:
        background: one of :data:`robotseg_core.augment.backgrounds.KINDS`; empty: it stays.
        photos: to choose from, for ``photo``.
        recolour: whether the robot gets another colour.
        colour: which; None: one at random for each video.
        remove: whether the robot is taken out.
        fill: what inpaints.
        donor: robot to paste; None: none.
        seed: of random choices.
    """

    background: str = ""
    photos: tuple[Path, ...] = ()
    recolour: bool = False
    colour: tuple[int, int, int] | None = None
    remove: bool = False
    fill: Fill = by_opencv
    donor: Donor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.background and self.background not in backgrounds.KINDS:
            raise ValueError(f"background is {self.background!r}, must be one of {', '.join(backgrounds.KINDS)}")
        if self.background == "photo" and not self.photos:
            raise ValueError("a background of photographs needs photographs")
        if self.remove and (self.background or self.recolour):
            raise ValueError("a robot that is removed can be neither recoloured nor kept before another background")
        if not (self.background or self.recolour or self.remove or self.donor):
            raise ValueError("nothing is to be changed: background, recolour, remove or paste")


@dataclass(frozen=True)
class Changed:
    """A frame of the new video.

    Attributes:
        name: of the frame.
        before: [H, W, 3] uint8, as it was.
        rgb: [H, W, 3] uint8.
        masks: what of it is robot now.
    """

    name: str
    before: Rgb
    rgb: Rgb
    masks: Masks


class ChangedClip:
    """A video with its choices made.

    Args:
        clip: the video.
        change: what to do.
        stream: gives a new stream of the model, for videos without masks.
        tell: called after each frame of the first look.

    Attributes:
        said: the choices and measures, as JSON; complete when :meth:`frames` has ended.

    Raises:
        ValueError: it cannot be read, or a photograph cannot.
    """

    def __init__(
        self, clip: Clip, change: Change, stream: Callable[[], Stream], tell: Callable[[], object] = lambda: None
    ) -> None:
        self._clip, self._change = clip, change
        self._survey: Survey = survey(clip, stream, tell)
        height, width = self._survey.size
        rng = np.random.default_rng([change.seed, zlib.crc32(clip.name.encode())])
        before = self._survey.flicker_px
        self.said: dict[str, Any] = {
            "masks": "given" if clip.given else "found",
            "frames": len(self._survey.masks),
            "with_robot": self._survey.found,
            "unknown": self._survey.unknown,
            "flicker_px": {"as_they_are": before and round(before, 3)},
        }
        self._behind: Rgb | None = None
        if change.background:
            self._behind, said = backgrounds.draw(change.background, height, width, rng, list(change.photos))
            self.said["background"] = said
        self._mean = self._survey.colour() if change.recolour else np.zeros(3, np.float32)
        self._colour = change.colour or random_colour(rng)
        if change.recolour:
            self.said["colour"] = "#" + "".join(f"{c:02x}" for c in self._colour)
        self._plate: Rgb | None = None
        if change.remove and self._survey.samples and self._survey.still():
            self._plate, never = plate(self._survey, change.fill)
            self.said["removed"] = {"by": "plate", "never_seen": round(never, 3)}
        elif change.remove:
            self.said["removed"] = {"by": "inpainting each frame"}
        self._first = int(rng.integers(len(change.donor))) if change.donor else 0
        if change.donor:
            self.said["pasted"] = {"robot_of": change.donor.name, "from_frame": self._first}

    def frames(self) -> Iterator[Changed]:
        """The new video."""
        flicker = Flicker()
        smoothing = unsmoothed if self._clip.given else smoothed
        for number, frame in enumerate(smoothing(self._clip.frames(), self._survey.masks)):
            flicker.add(frame.rgb, frame.masks.robot)
            rgb, masks = self._one(frame, number)
            yield Changed(frame.name, frame.rgb, rgb, masks)
        after = flicker.pixels
        self.said["flicker_px"]["smoothed"] = after and round(after, 3)

    def _one(self, frame: Smoothed, number: int) -> tuple[Rgb, Masks]:
        change, rgb, masks = self._change, frame.rgb, frame.masks
        if change.recolour:
            rgb = _over(recoloured(rgb, self._mean, self._colour), rgb, frame.alpha)
        if self._behind is not None:
            rgb = _over(rgb, self._behind, frame.alpha)
        if change.remove:
            hole = grown(masks.robot)
            filled = change.fill(rgb, hole) if self._plate is None else self._plate
            # Soft towards the outside, so that no seam is seen.
            rgb = _over(filled, rgb, soft((distances(hole) + np.float32(2)) / np.float32(3)))
            nothing = np.zeros_like(masks.arm)
            masks = Masks(nothing, nothing)
        if change.donor is not None:
            pasted, alpha, theirs = change.donor.frame(self._first + number, *rgb.shape[:2])
            rgb = _over(pasted, rgb, alpha)
            free = ~theirs.robot
            masks = Masks(theirs.arm | (masks.arm & free), theirs.gripper | (masks.gripper & free))
        return rgb, masks


def _over(front: Rgb, back: Rgb, alpha: NDArray[np.float32]) -> Rgb:
    """``front`` where alpha is 1, ``back`` where it is 0; both exact there."""
    mixed = back + (front.astype(np.float32) - back) * alpha[..., None]
    return np.asarray(mixed + 0.5, np.uint8)
