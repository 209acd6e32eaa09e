# SPDX-License-Identifier: Apache-2.0
"""Zones of a camera image, as they are drawn on it and read from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.storage.documents import read_yaml

MAX_SIDE = 8192
FAR = 1 << 14
"""Corners beyond this are clipped before a zone is drawn: OpenCV draws in 32 bits and shifts them by 16."""


class ZoneError(ValueError):
    """Zones that cannot be watched; the message names the value."""


@dataclass(frozen=True)
class Zone:
    """A polygon of image pixels.

    Attributes:
        name: for events and reasons.
        polygon: [(x, y), ...] corners, at least three; edges belong to it.
        enter: the robot is in the zone from this number of its pixels on.
        leave: and has left it when there are fewer than this; at most ``enter``.

    Raises:
        ZoneError: any of that does not hold.
    """

    name: str
    polygon: tuple[tuple[float, float], ...]
    enter: int = 50
    leave: int = 20

    def __post_init__(self) -> None:
        if not self.name:
            raise ZoneError("a zone has no name")
        if len(self.polygon) < 3 or not np.all(np.isfinite(self.polygon)):
            raise ZoneError(f"zone {self.name!r} has the corners {self.polygon}, must be at least 3, all finite")
        if not 1 <= self.leave <= self.enter:
            raise ZoneError(
                f"zone {self.name!r}: leave is {self.leave}, enter is {self.enter}, must be 1 <= leave <= enter"
            )


@dataclass(frozen=True)
class ZonePlan:
    """Zones and the size of the image that they are drawn on.

    Raises:
        ZoneError: a size is out of range, no zone, two of one name, or one that has fewer pixels in the image than it
            takes to enter it: it would watch nothing.
    """

    width: int
    height: int
    zones: tuple[Zone, ...]

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise ZoneError(f"image is {self.width} x {self.height}, each side must be 1 to {MAX_SIDE}")
        names = [zone.name for zone in self.zones]
        if not names or len(set(names)) < len(names):
            raise ZoneError(f"zones are named {names}, must be at least one, each with a name of its own")
        for zone in self.zones:
            covered = cv2.countNonZero(self.raster(zone))
            if not covered:
                raise ZoneError(f"zone {zone.name!r} covers nothing of the {self.width} x {self.height} image")
            if covered < zone.enter:
                raise ZoneError(
                    f"zone {zone.name!r} can never be entered: it covers {covered} pixels of the "
                    f"{self.width} x {self.height} image, enter is {zone.enter}"
                )

    def raster(self, zone: Zone) -> NDArray[np.uint8]:
        """[height, width] uint8, 255 in the zone."""
        drawn = np.zeros((self.height, self.width), np.uint8)
        corners = np.array(zone.polygon, np.float64)
        if np.abs(corners).max() > FAR:
            corners = _clipped(corners, self.width, self.height)
        if len(corners):
            cv2.fillPoly(drawn, [np.rint(corners).astype(np.int32)], 255)
        return drawn


def _clipped(corners: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """A polygon [n, 2] cut along a frame two pixels outside the image (Sutherland and Hodgman), [m, 2]."""
    for axis, limit, sign in ((0, -2.0, 1), (0, width + 1.0, -1), (1, -2.0, 1), (1, height + 1.0, -1)):
        kept = []
        for here, there in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            inside, next_inside = sign * (here[axis] - limit) >= 0, sign * (there[axis] - limit) >= 0
            if inside:
                kept.append(here)
            if inside != next_inside:
                # Halved before they are subtracted: the difference of two large numbers may be no number.
                share = (limit / 2 - here[axis] / 2) / (there[axis] / 2 - here[axis] / 2)
                crossing = here * (1 - share) + there * share
                crossing[axis] = limit
                kept.append(crossing)
        if not kept:
            return np.empty((0, 2))
        corners = np.array(kept)
    return corners


def load_plan(path: Path) -> ZonePlan:
    """Read a YAML file: ``image: {width, height}`` and ``zones``, a list of ``{name, polygon, enter, leave}``.

    Raises:
        ZoneError: it is something else; the message names the file.
        OSError: it cannot be read.
    """
    try:
        doc: Any = read_yaml(path)
    except ValueError as error:
        raise ZoneError(str(error)) from error
    try:
        image, listed = doc["image"], doc["zones"]
        zones = [
            Zone(**{**entry, "polygon": tuple((float(x), float(y)) for x, y in entry["polygon"])}) for entry in listed
        ]
        return ZonePlan(int(image["width"]), int(image["height"]), tuple(zones))
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ZoneError(f"{path}: {what}") from error
