# SPDX-License-Identifier: Apache-2.0
"""The safety monitor with real rclpy: masks and states in, safe or not out."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from companion import Peer, Running, header
from fake_model import FakeModel, robot_picture
from patience import PATIENCE_S
from ros_client import wait_until
from sensor_msgs.msg import Image
from std_msgs.msg import Bool

from robotseg_core.geometry.zone_plan import ZoneError
from robotseg_ros.common.messages import to_image
from robotseg_ros.companions.safety_monitor import SafetyMonitor
from robotseg_ros.msg import PartMask, PartMasks, SafetyState

ZONES = """
image: {width: 64, height: 48}
zones:
  - {name: door, polygon: [[40, 0], [63, 0], [63, 47], [40, 47]], enter: 20, leave: 10}
"""


@pytest.fixture
def zones(tmp_path):
    path = tmp_path / "zones.yaml"
    path.write_text(ZONES)
    return str(path)


class Segmented(Peer):
    """Publishes masks and states as the segmenter would, with stamps of now."""

    def __init__(self, context):
        super().__init__(context)
        self.safe = self.listen(Bool, "/safety_monitor/safe")
        self.states = self.listen(SafetyState, "/safety_monitor/state")
        self.mask = self.advertise(Image, "/robotseg/robot_mask")
        self.parts = self.advertise(PartMasks, "/robotseg/parts")

    def send(self, right, state=PartMasks.TRACKING, width=64):
        made = np.zeros((48, width), np.uint8)
        made[10:20, :right] = 255
        of = header(time.time_ns())
        if state not in (PartMasks.STALE, PartMasks.FAULT):
            self.mask.publish(to_image(of, made, "mono8"))
        parts = [] if state in (PartMasks.STALE, PartMasks.FAULT) else [PartMask(name="robot")]
        self.parts.publish(PartMasks(header=of, state=state, parts=parts))

    def send_until(self, right, safe, reason="", **more):
        """Send the same mask again and again, every 20 ms, until the monitor says so."""

        def said():
            self.send(right, **more)
            time.sleep(0.02)
            last = self.states[-1] if self.states else None
            return last is not None and last.safe == safe and reason in last.reason

        wait_until(said, f"safe {safe} {reason!r}")


@pytest.fixture
def start(context, zones):
    running = []

    def start(**parameters):
        # Patience for a busy machine.
        running.append(
            Running(context, SafetyMonitor, **{"zones": zones, "max_age": 5.0, "clear_for": 0.2, **parameters})
        )
        running.append(Segmented(context))
        return running[-1]

    yield start
    for one in running:
        one.close()


def test_stops_where_the_robot_enters_and_goes_on_when_it_has_left(start):
    segmented = start()
    wait_until(lambda: segmented.safe and segmented.states, "a verdict")
    assert not segmented.safe[0].data and segmented.states[0].reason == "no mask yet"
    segmented.send_until(30, True)
    segmented.send_until(60, False, "robot in 'door'")
    assert segmented.states[-1].occupied == ["door"] and segmented.states[-1].header.frame_id == "wrist_camera"
    segmented.send_until(30, False, "not yet")
    segmented.send_until(30, True)
    # Both topics say the same.
    wait_until(lambda: segmented.safe[-1].data, "safe on the plain topic")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"state": PartMasks.FAULT}, "knows nothing (FAULT)"),
        ({"state": PartMasks.STALE}, "knows nothing (STALE)"),
        ({"state": PartMasks.DEGRADED}, "DEGRADED"),
        ({"state": PartMasks.LOST}, "no robot is seen (LOST)"),
        ({"width": 32}, "masks are 32 x 48, zones are drawn on 64 x 48"),
        ({"state": 77}, "knows nothing"),
    ],
)
def test_stops_when_nobody_knows(start, more, words):
    segmented = start()
    segmented.send_until(30, True)
    segmented.send_until(30, False, words, **more)
    segmented.send_until(30, True)


def test_stops_when_masks_stop_coming_and_goes_on_saying_so(start):
    segmented = start(max_age=0.6)
    segmented.send_until(30, True)
    wait_until(lambda: not segmented.states[-1].safe, "the stop")
    assert "older than 0.6 s" in segmented.states[-1].reason
    count = len(segmented.safe)
    wait_until(lambda: len(segmented.safe) > count + 5, "more of the same")
    assert not any(message.data for message in list(segmented.safe)[count:])


def test_a_mask_without_its_state_is_not_judged(start):
    segmented = start()
    for _ in range(20):
        segmented.mask.publish(to_image(header(time.time_ns()), np.zeros((48, 64), np.uint8), "mono8"))
    count = len(segmented.states)
    wait_until(lambda: len(segmented.states) > count + 5, "verdicts")
    assert segmented.states[-1].reason == "no mask yet"


def test_reaction_time_from_image_to_stop_through_the_segmenter(context, client, start_segmenter, tmp_path):
    """Run with ``-s`` to see it; the fake model takes no time.  Asserted is only that it stops."""
    (tmp_path / "zones.yaml").write_text(
        "image: {width: 160, height: 120}\nzones: [{name: door, polygon: [[130, 0], [159, 0], [159, 119], [130, 119]]}]"
    )
    start_segmenter(FakeModel(), max_age=0.0)
    monitor = Running(context, SafetyMonitor, zones=str(tmp_path / "zones.yaml"), max_age=5.0, clear_for=0.1, rate=1.0)
    peer = Peer(context)
    times = []
    try:
        safe = peer.listen(Bool, "/safety_monitor/safe")
        client.wait_for_camera_subscriber()

        def clear():
            client.send(robot_picture(), time.time_ns())
            time.sleep(0.05)
            return safe and safe[-1].data

        for _ in range(5):
            wait_until(clear, "safe")
            count = len(safe)
            sent, tries = time.perf_counter(), []

            def stopped(count=count, sent=sent, tries=tries):
                # A best effort image may be lost; then the next one counts, and the time goes on.
                if time.perf_counter() - sent > len(tries):
                    tries.append(client.send(robot_picture(shift=50), time.time_ns()))
                return any(not message.data for message in list(safe)[count:])

            wait_until(stopped, "the stop")
            times.append((time.perf_counter() - sent) * 1e3)
    finally:
        peer.close()
        monitor.close()
    print(
        f"\nimage published to stop received, without the model: median {np.median(times):.1f}, max {max(times):.1f} ms"
    )


def test_wrong_zones_end_the_node_before_it_says_anything(context, tmp_path):
    (tmp_path / "zones.yaml").write_text("zones: []")
    with pytest.raises(ZoneError, match="'image' is missing"):
        Running(context, SafetyMonitor, zones=str(tmp_path / "zones.yaml"))
    with pytest.raises(OSError, match="absent.yaml"):
        Running(context, SafetyMonitor, zones=str(tmp_path / "absent.yaml"))


def test_process_ends_with_one_line_for_a_wrong_parameter_and_cleanly_on_sigint(context, zones):
    command = [sys.executable, "-m", "robotseg_ros.run_node", "safety_monitor", "--ros-args", "-p"]
    ended = subprocess.run([*command, "max_age:=0.001"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 1 and "max_age is 0.001, must be a number, 0.02 to 10" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    process = subprocess.Popen([*command, f"zones:={zones}"], env=dict(os.environ), start_new_session=True)
    peer = Peer(context)
    try:
        heard = peer.listen(Bool, "/safety_monitor/safe")
        wait_until(lambda: heard, "a verdict")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    finally:
        peer.close()
        process.kill()
        process.wait()
