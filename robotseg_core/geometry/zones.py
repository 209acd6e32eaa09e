# SPDX-License-Identifier: Apache-2.0
"""Zones of a camera image that the robot must not be in: a verdict, safe or not, that is not safe when in doubt.

An example of how masks can be watched.  Not safety-rated, and nothing that protects people may depend on it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.geometry.zone_plan import Zone, ZoneError, ZonePlan, load_plan
from robotseg_core.types import State

__all__ = ["Caution", "Event", "EventKind", "Verdict", "Zone", "ZoneError", "ZoneMonitor", "ZonePlan", "load_plan"]


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
