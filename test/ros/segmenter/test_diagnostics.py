# SPDX-License-Identifier: Apache-2.0
"""Diagnostics: once a second and at every change, and each value is that of what it is named after."""

import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fake_model import FakeModel, robot_picture
from ros_client import wait_until

from robotseg_core.types import State
from robotseg_ros.common.messages import to_image
from robotseg_ros.msg import Prompt
from robotseg_ros.segmenter.counters import MAX_LATENCIES, Latencies, Rate
from robotseg_ros.segmenter.diagnostics import LEVELS, memory_mib

SECOND = 1_000_000_000


def values(status):
    return {pair.key: pair.value for pair in status.values}


@pytest.fixture
def told(client, start_segmenter):
    """A running node, its model, and what it says about itself."""
    model = FakeModel()
    node = start_segmenter(model, max_age=10.0)
    client.wait_for_camera_subscriber()
    return node, model, client.hear(DiagnosticArray, "/diagnostics")


def latest(heard, condition, what):
    """The values of the camera's status once they fulfil a condition."""
    wait_until(lambda: heard and len(heard[-1].status) == 2 and condition(values(heard[-1].status[1])), what)
    return values(heard[-1].status[1])


def image(client, age_s=0.0, **fields):
    stamp = time.time_ns() - int(age_s * SECOND)
    message = to_image(client.header(stamp), robot_picture(), "rgb8")
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def test_they_come_once_a_second_and_at_every_change(client, told):
    node, model, heard = told
    wait_until(lambda: len(heard) >= 3, "three of them")
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in heard[:3]]
    # Nothing has changed: they are a second apart, and more where the machine is busy.
    assert stamps[1] - stamps[0] >= 0.95 and stamps[2] - stamps[1] >= 0.95
    assert heard[-1].status[1].message == "no image yet" and heard[-1].status[1].level == DiagnosticStatus.WARN
    answers = node.cameras[0].inference.answers
    for i, state in enumerate(State):
        answers.state = state
        wait_until(lambda state=state: heard[-1].status[1].message == LEVELS[state][1], f"state {state.name}")
        assert heard[-1].status[1].level == LEVELS[state][0], i


def test_the_model_is_described(told):
    _, _, heard = told
    wait_until(lambda: heard, "diagnostics")
    status = heard[-1].status[0]
    assert (status.name, status.hardware_id, status.level) == ("/robotseg: model", "cpu", DiagnosticStatus.OK)
    said = values(status)
    assert (said["preset"], said["device"], said["backend"], said["active"]) == ("nano", "cpu", "fake", "true")
    # What was loaded: file and hash.
    assert (said["weights"], said["weights_sha256"]) == ("/imaginary.safetensors", "f" * 64)
    assert float(said["device_memory_mib"]) == pytest.approx(memory_mib("cpu"), rel=0.5)
    assert 10 < memory_mib("cpu") < 100_000


def test_every_counter_and_time_is_that_of_what_happened(client, told):
    node, model, heard = told
    process = node.cameras[0].inference.process
    # Straight to the session: a transport may lose images.
    for dropped in (0, 2, 3):
        process(image(client), dropped)
    for _ in range(2):
        process(image(client, step=17), 0)
    process(image(client, encoding="32FC1"), 0)
    process(image(client, age_s=30), 0)
    process(image(client, age_s=-30), 0)
    model.broken = True
    process(image(client), 0)
    model.broken = False
    process(to_image(client.header(time.time_ns(), frame_id="other"), robot_picture(), "rgb8"), 0)
    node.cameras[0]._on_prompt(Prompt(part="hand"))
    node.cameras[0].inference.lost(4)
    said = latest(heard, lambda v: (v["lost_on_the_way"], v["state"]) == ("4", "TRACKING"), "all counted")
    wanted = {
        "state": "TRACKING",
        "enabled": "true",
        "answered": "4",
        "dropped_for_newer": "5",
        "lost_on_the_way": "4",
        "too_old": "1",
        "in_future": "1",
        "faults": "1",
        "prompts_refused": "1",
        "refused": "3",
        "refused step": "2",
        "refused encoding": "1",
        "restarts frame_id": "1",
    }
    assert {key: said[key] for key in wanted} == wanted
    # To the image of 30 s ago, and from the one 30 s ahead, time jumps back as when a bag is played again.
    assert said["restarts time"] == "2" and said["restarts"] == "3"
    for name in ("age_ms", "work_ms"):
        assert 0 < float(said[f"{name}_p50"]) <= float(said[f"{name}_p95"]) <= float(said[f"{name}_p99"]) < 10_000


def test_rates_are_those_of_the_camera_and_of_the_answers(client, told):
    node, model, heard = told

    def sent():
        client.camera.publish(image(client))
        time.sleep(0.02)
        return heard and len(heard[-1].status) == 2 and int(values(heard[-1].status[1])["answered"]) > 20

    wait_until(sent, "answers")
    said = values(heard[-1].status[1])
    assert int(said["received"]) >= int(said["answered"])
    assert 0 < float(said["answers_hz"]) <= float(said["images_hz"]) + 1
    assert float(said["images_hz"]) <= 50


def test_a_node_that_is_not_active_says_so(client, told):
    node, _, heard = told
    node.trigger_deactivate()
    wait_until(lambda: heard and len(heard[-1].status) == 1, "the model's status alone")
    assert values(heard[-1].status[0])["active"] == "false"


def test_rate_and_percentiles():
    rate, latencies = Rate(), Latencies()
    assert rate.hz == 0
    rate._since -= 10
    for _ in range(50):
        rate.count()
    assert rate.hz == pytest.approx(10)
    rate._times[0] -= 6
    assert rate.hz == pytest.approx(49 / 5)
    assert latencies.percentiles.p50 != latencies.percentiles.p50
    for ms in [1e6] * 5 + list(range(101)) * 3:
        latencies.add(float(ms))
    last = (list(range(101)) * 3)[-MAX_LATENCIES:]
    assert latencies.percentiles.p50 == pytest.approx(sorted(last)[MAX_LATENCIES // 2], abs=1)
    assert latencies.percentiles.p99 == pytest.approx(99, abs=1)
