# SPDX-License-Identifier: Apache-2.0
"""Zones and verdicts: what stops, what lets go on, and a replay of an afternoon with all that goes wrong."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robotseg_core.geometry.zone_plan import Zone, ZoneError, ZonePlan, load_plan
from robotseg_core.geometry.zones import Caution, EventKind, Verdict, ZoneMonitor
from robotseg_core.types import State

ROOT = Path(__file__).resolve().parents[3]
ZONE = Zone("door", ((60, 0), (99, 0), (99, 79), (60, 79)), enter=50, leave=20)
PLAN = ZonePlan(100, 80, (ZONE, Zone("table", ((0, 60), (40, 60), (40, 79), (0, 79)))))


def mask(right=40, height=20):
    """A robot from the left edge to column ``right``."""
    made = np.zeros((80, 100), np.uint8)
    made[20 : 20 + height, :right] = 255
    return made


def monitor(**caution):
    return ZoneMonitor(PLAN, Caution(**{"max_age": 0.5, "clear_for": 1.0, **caution}))


def feed(watch, picture, start, seconds, state=State.TRACKING, age=0.1):
    """Masks every 0.1 s; returns all events."""
    events = []
    for i in range(round(seconds / 0.1) + 1):
        events += watch.see(picture, state, age, start + i / 10)
    return events


def test_not_safe_before_the_first_mask_and_safe_only_after_clear_for():
    watch = monitor()
    assert watch.verdict == Verdict(False, "no mask yet", ())
    assert not watch.wait(5.0) and not watch.verdict.safe
    events = feed(watch, mask(), 10.0, 0.9)
    assert [event.kind for event in events] == [EventKind.KNOWN]
    assert watch.verdict == Verdict(False, "clear, but not yet for 1.0 s", ())
    watch.see(mask(), State.TRACKING, 0.1, 11.0)
    assert watch.verdict == Verdict(True, "", ())


def test_robot_in_a_zone_stops_at_once_with_its_name():
    watch = monitor()
    feed(watch, mask(), 0.0, 2.0)
    (event,) = watch.see(mask(right=70), State.TRACKING, 0.1, 2.1)
    assert (event.kind, event.zone) == (EventKind.ENTERED, "door")
    assert watch.verdict == Verdict(False, "robot in 'door'", ("door",))
    both = mask(right=70)
    both[60:80, :10] = 255
    watch.see(both, State.TRACKING, 0.1, 2.2)
    assert watch.verdict.reason == "robot in 'door', 'table'" and watch.verdict.occupied == ("door", "table")


def test_hysteresis_between_enter_and_leave():
    watch = monitor()
    feed(watch, mask(), 0.0, 2.0)
    # 20 rows: 2 columns are 40 pixels, fewer than enter.
    feed(watch, mask(right=62), 2.1, 1.0)
    assert watch.verdict.safe
    assert [e.kind for e in feed(watch, mask(right=63), 3.2, 1.0)] == [EventKind.ENTERED]
    # 40 and 20 pixels: still in.
    assert feed(watch, mask(right=62), 4.3, 1.0) == [] and not watch.verdict.safe
    assert feed(watch, mask(right=61), 5.4, 1.0) == [] and not watch.verdict.safe
    (event,) = watch.see(mask(right=60), State.TRACKING, 0.1, 6.5)
    assert event.kind is EventKind.LEFT and not watch.verdict.safe
    feed(watch, mask(right=60), 6.6, 1.0)
    assert watch.verdict.safe


@pytest.mark.parametrize(
    ("picture", "state", "age", "words"),
    [
        (None, State.STALE, 0.1, "knows nothing (STALE)"),
        (None, State.FAULT, 0.1, "knows nothing (FAULT)"),
        (None, State.TRACKING, 0.1, "knows nothing"),
        (mask(), State.DEGRADED, 0.1, "DEGRADED"),
        (mask(0), State.SEARCHING, 0.1, "no robot is seen (SEARCHING)"),
        (mask(0), State.LOST, 0.1, "no robot is seen (LOST)"),
        (mask(), State.TRACKING, float("nan"), "age of the image is nan"),
        (mask().astype(bool), State.TRACKING, 0.1, "must be uint8"),
        (mask()[None], State.TRACKING, 0.1, "must be uint8 [height, width]"),
        (mask()[:, :50], State.TRACKING, 0.1, "masks are 50 x 80, zones are drawn on 100 x 80"),
        (mask(), State.TRACKING, 0.7, "older than 0.5 s"),
        (mask(), State.TRACKING, -1.0, "1.000 s in the future"),
    ],
)
def test_whatever_is_not_known_stops_at_once_and_says_why(picture, state, age, words):
    watch = monitor()
    feed(watch, mask(), 0.0, 2.0)
    assert watch.verdict.safe
    (event,) = watch.see(picture, state, age, 2.1)
    assert event.kind is EventKind.UNKNOWN and words in event.reason
    assert not watch.verdict.safe and words in watch.verdict.reason
    # One good mask does not make it safe again.
    watch.see(mask(), State.TRACKING, 0.1, 2.2)
    assert not watch.verdict.safe
    feed(watch, mask(), 2.3, 1.0)
    assert watch.verdict.safe


def test_silence_stops_by_the_age_of_the_last_image():
    watch = monitor()
    feed(watch, mask(), 0.0, 2.0, age=0.1)
    assert watch.wait(2.39) == [] and watch.verdict.safe
    (event,) = watch.wait(2.41)
    assert event.kind is EventKind.UNKNOWN and not watch.verdict.safe
    # Said once.
    assert watch.wait(3.0) == []


def test_what_counts_as_known_can_be_chosen():
    watch = monitor(accept_degraded=True, robot_in_view=False)
    feed(watch, mask(), 0.0, 2.0, state=State.DEGRADED)
    assert watch.verdict.safe
    feed(watch, mask(0), 2.1, 2.0, state=State.LOST)
    assert watch.verdict.safe


@dataclasses.dataclass(frozen=True)
class Replay:
    """What a replay has shown: seconds from a robot's entering to the stop, and stops for nothing."""

    times_to_stop: list[float]
    missed: int
    false_stops: int
    hours: float


def replay(seed, *, bad_frames=0.0, period=0.1, faults=True):
    """Five minutes of a robot that goes in and out of the zone, by a simulated clock.

    The camera takes a picture every ``period``; its mask comes 60 to 120 ms later.  A share of ``bad_frames`` shows a
    robot where there is none, as large as a real one.  With ``faults``, now and then the model fails on an image, the
    camera is silent for 0.3 to 2 s, or the robot is lost for a frame.  A stop during a fault is right.
    """
    rng = np.random.default_rng(seed)
    watch = monitor(max_age=0.5)
    duration, now = 300.0, 0.0
    right, inside_until, entered, silent_until = 40, 0.0, None, 0.0
    next_entry = rng.uniform(5, 10)
    times, missed, false_stops, excused_until, was_safe = [], 0, 0, 0.0, False
    next_picture, answers = 0.0, []
    while now < duration:
        now = round(now + 0.01, 2)
        if now >= next_entry:
            right, inside_until, next_entry = 75, now + rng.uniform(1, 4), now + rng.uniform(8, 15)
            # Where it stands still for another reason there is nothing to measure.
            entered = now if watch.verdict.safe else None
        if right > 60 and now > inside_until:
            missed += entered is not None
            right, entered, excused_until = 40, None, now + 0.5
        if now >= next_picture:
            next_picture = now + period
            fault = rng.random() if faults else 1.0
            if fault < 0.004:
                silent_until = now + rng.uniform(0.3, 2.0)
            if now >= silent_until:
                seen, state = mask(right), State.TRACKING
                if fault > 0.99 and faults:
                    seen, state = None, State.FAULT
                elif rng.random() < bad_frames:
                    seen = mask(90)
                answers.append((now + rng.uniform(0.06, 0.12), now, seen, state))
        if now < silent_until + 0.2:
            excused_until = max(excused_until, now + 0.7)
        while answers and answers[0][0] <= now:
            _, taken, seen, state = answers.pop(0)
            watch.see(seen, state, now - taken, now)
            excused_until = now + 0.3 if seen is None else excused_until
        watch.wait(now)
        if entered is not None and not watch.verdict.safe:
            times.append(now - entered)
            entered = None
        stopped = was_safe and not watch.verdict.safe
        false_stops += stopped and right <= 60 and now > excused_until
        was_safe = watch.verdict.safe
    return Replay(times, missed, false_stops, duration / 3600)


@pytest.mark.parametrize("bad_frames", [0.0, 0.002, 0.02])
def test_replay_stops_every_time_and_counts_false_stops(bad_frames):
    """Run with ``-s`` to see the table."""
    runs = [replay(seed, bad_frames=bad_frames) for seed in range(2)]
    times = np.concatenate([run.times_to_stop for run in runs]) * 1e3
    hours, false_stops = sum(run.hours for run in runs), sum(run.false_stops for run in runs)
    print(
        f"\nbad frames {100 * bad_frames:.1f} %: {len(times)} entries, time to stop p50 {np.median(times):.0f} ms, "
        f"p95 {np.percentile(times, 95):.0f} ms, max {times.max():.0f} ms; "
        f"false stops {false_stops} in {60 * hours:.0f} minutes, {false_stops / hours:.0f} an hour"
    )
    assert len(times) > 30 and not any(run.missed for run in runs)
    # One period until the next picture, then the latency; 0.5 s later it is stale in any case.
    assert np.percentile(times, 95) < 1e3 * (0.1 + 0.12 + 0.02) and times.max() <= 1e3 * (0.1 + 0.5 + 0.02)
    # Nothing but wrong masks makes a false stop, and those are counted one by one.
    assert (false_stops > 0) == (bad_frames > 0)


def test_shipped_zones_can_be_read():
    plan = load_plan(ROOT / "config" / "zones.yaml")
    assert (plan.width, plan.height) == (640, 480) and [zone.name for zone in plan.zones] == ["people"]


IMAGE = "image: {width: 10, height: 10}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("zones: []", "'image' is missing"),
        (f"{IMAGE}zones: []", "at least one"),
        ("image: {width: 0, height: 10}\nzones: [{name: a, polygon: [[0, 0], [9, 0], [9, 9]]}]", "0 x 10"),
        (f"{IMAGE}zones: [{{name: a, polygon: [[0, 0], [9, 0]]}}]", "at least 3"),
        (f"{IMAGE}zones: [{{name: a, polygon: [[20, 20], [29, 20], [29, 29]]}}]", "nothing of"),
        (
            f"{IMAGE}zones: [{{name: a, polygon: [[0, 0], [9, 0], [9, 9]], leave: 90}}]",
            "leave is",
        ),
        (f"{IMAGE}zones: [{{name: a, polygon: [[0, 0], [9, 0], [9, .nan]]}}]", "finite"),
        (
            f"{IMAGE}zones: [{{name: a, colour: red, polygon: [[0, 0], [9, 0], [9, 9]]}}]",
            "colour",
        ),
        # 4 x 4 pixels, fewer than it takes to enter; and a zone of which only so many are in the image.
        (f"{IMAGE}zones: [{{name: a, polygon: [[0, 0], [3, 0], [3, 3], [0, 3]]}}]", "covers 16 pixels"),
        (f"{IMAGE}zones: [{{name: a, polygon: [[7, 7], [99, 7], [99, 99], [7, 99]]}}]", "covers 9 pixels"),
        (f"{IMAGE}zones: [{{name: a, polygon: [[0, 0], [9, 0], [9, 9]], enter: 1.0e+9}}]", "can never be entered"),
        ("image: {width: .inf, height: 10}\nzones: [{name: a, polygon: [[0, 0], [9, 0], [9, 9]]}]", "infinity"),
        (f"{IMAGE}zones: [{{name: a, polygon: [[.inf, 0], [9, 0], [9, 9]]}}]", "finite"),
        ("- a\n- b", "zones.yaml"),
        ("zones: [", "zones.yaml"),
    ],
)
def test_wrong_zones_are_refused_with_the_file_and_the_value(tmp_path, text, words):
    path = tmp_path / "zones.yaml"
    path.write_text(text)
    with pytest.raises(ZoneError, match="zones.yaml") as caught:
        load_plan(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("far", [1e5, 1e10, 1e300])
def test_corners_far_outside_mean_what_they_say(far):
    """Everything right of x = 60; drawn in 32 bits, it would turn over to the left."""
    drawn = ZonePlan(100, 80, (Zone("z", ((60, -far), (far, -far), (far, far), (60, far))),))
    raster = drawn.raster(drawn.zones[0])
    assert (raster[:, 60:] == 255).all() and not raster[:, :59].any()
    watch = ZoneMonitor(drawn, Caution(clear_for=0))
    watch.see(mask(right=99, height=60), State.TRACKING, 0.05, 1.0)
    assert not watch.verdict.safe and watch.verdict.occupied == ("z",)


@given(
    st.lists(st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)), min_size=3, max_size=8),
    st.integers(1, 5000),
)
@settings(deadline=None)
def test_a_plan_that_is_taken_can_be_entered(corners, enter):
    """Whatever the zone: either it is refused, or a robot that fills the image is in it."""
    try:
        plan = ZonePlan(64, 48, (Zone("z", tuple(corners), enter=enter, leave=1),))
    except ZoneError:
        return
    watch = ZoneMonitor(plan, Caution(clear_for=0))
    watch.see(np.full((48, 64), 255, np.uint8), State.TRACKING, 0.05, 1.0)
    assert not watch.verdict.safe and watch.verdict.occupied == ("z",)


@pytest.mark.parametrize("name", ["max_age", "clear_for", "clock_slack"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_times_that_would_never_pass_are_refused(name, value):
    with pytest.raises(ZoneError, match=name):
        Caution(**{name: value})
