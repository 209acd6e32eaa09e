# SPDX-License-Identifier: Apache-2.0
"""Zones of a camera image that the robot must not be in: a verdict, safe or not, that is not safe when in doubt.

An example of how masks can be watched.  Not safety-rated, and nothing that protects people may depend on it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.storage.documents import read_yaml
from robotseg_core.types import State

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


@dataclass(frozen=True)
class Caution:
    """How careful the monitor is.

    Attributes:
        max_age: seconds from an image's stamp for which its masks count.
        clear_for: seconds for which everything must be known and clear until it is safe again.
        robot_in_view: whether a robot is always to be seen: then "no robot seen" is a failure, not good news.
        accept_degraded: whether masks that the model doubts (state DEGRADED) count as known.
        clock_slack: seconds that a stamp may lie in the future.

    Raises:
        ZoneError: a time is not finite or below 0, or ``max_age`` is 0.
    """

    max_age: float = 0.5
    clear_for: float = 1.0
    robot_in_view: bool = True
    accept_degraded: bool = False
    clock_slack: float = 0.02

    def __post_init__(self) -> None:
        for name in ("max_age", "clear_for", "clock_slack"):
            value = getattr(self, name)
            # A limit that is not a number is never passed: old masks would count for ever.
            if not (math.isfinite(value) and value >= 0) or (name == "max_age" and value == 0):
                raise ZoneError(
                    f"{name} is {value} s, must be finite and {'above' if name == 'max_age' else 'at least'} 0"
                )


class EventKind(enum.Enum):
    """What has happened."""

    ENTERED = "entered"
    LEFT = "left"
    UNKNOWN = "unknown"
    KNOWN = "known"


@dataclass(frozen=True)
class Event:
    """Something that has happened: to which zone (empty for UNKNOWN and KNOWN), and why (UNKNOWN)."""

    kind: EventKind
    zone: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether to go on.

    Attributes:
        safe: False: stop.
        reason: why not safe, empty when safe.
        occupied: names of the zones that the robot is in, as far as known.
    """

    safe: bool
    reason: str
    occupied: tuple[str, ...]


class ZoneMonitor:
    """Turns masks into verdicts.  Times are seconds of one steady clock.

    Stopping takes one mask, or the passing of ``max_age``; going on takes ``clear_for`` of masks that are all clear.

    Attributes:
        verdict: the present one; not safe before the first mask.
    """

    def __init__(self, plan: ZonePlan, caution: Caution) -> None:
        self.plan, self.caution = plan, caution
        self._boxes = []
        for zone in plan.zones:
            drawn = plan.raster(zone)
            x, y, width, height = cv2.boundingRect(drawn)
            box = (slice(y, y + height), slice(x, x + width))
            self._boxes.append((zone, box, drawn[box].copy()))
        self._occupied: set[str] = set()
        self._unknown = "no mask yet"
        self._taken: float | None = None
        self._clear_since: float | None = None
        self.verdict = Verdict(False, self._unknown, ())

    def see(self, mask: NDArray[np.uint8] | None, state: State, age: float, now: float) -> list[Event]:
        """Take the answer to one image.

        Args:
            mask: [H, W] uint8 of the robot, not 0 on it; None when there is none.
            state: what the segmenter says of the image.
            age: seconds from the image's stamp until now.
            now: the steady clock.
        """
        unknown = self._why_unknown(mask, state, age)
        events: list[Event] = []
        if not unknown and mask is not None:
            self._taken = now - age
            events = self._look(mask)
        return events + self._conclude(unknown, now)

    def doubt(self, why: str, now: float) -> list[Event]:
        """Believe nothing, whatever was seen, until something is seen again; ``why`` becomes the reason."""
        return self._conclude(why, now)

    def wait(self, now: float) -> list[Event]:
        """Let time pass; to be called often compared with ``max_age``."""
        return self._conclude(self._unknown, now)

    def _why_unknown(self, mask: NDArray[np.uint8] | None, state: State, age: float) -> str:
        size = (self.plan.height, self.plan.width)
        if mask is None or state in (State.STALE, State.FAULT):
            return f"the segmenter knows nothing ({state.name})"
        if not math.isfinite(age):
            return f"the age of the image is {age} s"
        if mask.ndim != 2 or mask.dtype != np.uint8:
            return f"the mask is {mask.dtype} {mask.shape}, must be uint8 [height, width]"
        if mask.shape != size:
            return f"masks are {mask.shape[1]} x {mask.shape[0]}, zones are drawn on {size[1]} x {size[0]}"
        if state is State.DEGRADED and not self.caution.accept_degraded:
            return "the segmenter doubts its masks (DEGRADED)"
        if state in (State.SEARCHING, State.LOST) and self.caution.robot_in_view:
            return f"no robot is seen ({state.name})"
        if age < -self.caution.clock_slack:
            return f"the image's stamp is {-age:.3f} s in the future"
        return ""

    def _look(self, mask: NDArray[np.uint8]) -> list[Event]:
        events = []
        for zone, box, drawn in self._boxes:
            pixels = cv2.countNonZero(cv2.bitwise_and(mask[box], drawn))
            inside = zone.name in self._occupied
            if not inside and pixels >= zone.enter:
                self._occupied.add(zone.name)
                events.append(Event(EventKind.ENTERED, zone.name))
            elif inside and pixels < zone.leave:
                self._occupied.remove(zone.name)
                events.append(Event(EventKind.LEFT, zone.name))
        return events

    def _conclude(self, unknown: str, now: float) -> list[Event]:
        if not unknown and self._taken is not None and now - self._taken > self.caution.max_age:
            unknown = f"the last masks are of an image older than {self.caution.max_age} s"
        events = []
        if unknown and unknown != self._unknown:
            events.append(Event(EventKind.UNKNOWN, reason=unknown))
        elif self._unknown and not unknown:
            events.append(Event(EventKind.KNOWN))
        self._unknown = unknown
        occupied = tuple(zone.name for zone in self.plan.zones if zone.name in self._occupied)
        if unknown or occupied:
            self._clear_since = None
            reason = unknown or f"robot in {_listed(occupied)}"
        else:
            self._clear_since = now if self._clear_since is None else self._clear_since
            left = self._clear_since + self.caution.clear_for - now
            reason = "" if left <= 1e-9 else f"clear, but not yet for {self.caution.clear_for} s"
        self.verdict = Verdict(not reason, reason, occupied)
        return events


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
