# SPDX-License-Identifier: Apache-2.0
"""Nothing that is sent ends a process, or has anything else left undone."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_model import FakeModel
from lifecycle_msgs.srv import ChangeState
from patience import PATIENCE_S
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_client import wait_until
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from robotseg_ros.common.camera_log import MAX_LINE, CameraLog, cut
from robotseg_ros.common.executor import MAX_PARAMETERS, SteadyExecutor

FAKE = str(Path(__file__).parents[1] / "fake_segmenter.py")
NODE = (sys.executable, "-m", "robotseg_ros.run_node")
PROCESSES = {
    "robotseg": (sys.executable, FAKE, "--ros-args", "-p", "autostart:=true"),
    "self_filter": (*NODE, "self_filter"),
    "servo": (*NODE, "servo"),
    "safety_monitor": (*NODE, "safety_monitor"),
    "viewer": (*NODE, "viewer", "--ros-args", "-p", "port:=0"),
}


def unknown_type(name="x"):
    return ParameterMessage(name=name, value=ParameterValue(type=77))


@pytest.fixture
def served(context):
    """A node that answers on /ping, what fails in it, and its executor, which spins in a thread."""
    from ros_client import Spinner

    class Served(Spinner):
        def __init__(self):
            node = Node("served", context=context, parameter_overrides=[Parameter("use_sim_time", value=True)])
            super().__init__(context, node, SteadyExecutor)

    made = Served()
    made.heard = []

    def fail(message):
        if message.data == "bad":
            raise KeyError("no such thing")
        made.heard.append(message.data)

    made.node.create_subscription(String, "/text", fail, 50)
    yield made
    made.close()


def call(peer, kind, name, request):
    """Asks again now and then, which changes nothing: an answer is lost where the process does not know us yet."""
    client = peer.node.create_client(kind, name)
    assert client.wait_for_service(PATIENCE_S)
    answers, asked = [], -math.inf

    def answered():
        nonlocal asked
        if time.monotonic() - asked > 5:
            answers.append(client.call_async(request))
            asked = time.monotonic()
        return any(answer.done() for answer in answers)

    wait_until(answered, f"answer of {name}")
    return next(answer.result() for answer in answers if answer.done())


@pytest.mark.parametrize("name", PROCESSES)
def test_a_parameter_of_an_unknown_type_is_refused_and_ends_no_process(peer, name):
    process = subprocess.Popen(PROCESSES[name], env=dict(os.environ), stderr=subprocess.PIPE, start_new_session=True)
    try:
        for kind in (SetParameters, SetParametersAtomically):
            service = f"/{name}/{'set_parameters' + ('_atomically' if kind is SetParametersAtomically else '')}"
            said = call(peer, kind, service, kind.Request(parameters=[unknown_type()]))
            results = said.results if kind is SetParameters else [said.result]
            assert len(results) == 1 and not results[0].successful and "77" in results[0].reason
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0 and b"Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_parameters_without_number_are_refused_as_a_whole(served, peer):
    many = [ParameterMessage(name=f"p{i}", value=ParameterValue(type=1)) for i in range(MAX_PARAMETERS + 1)]
    (result,) = call(peer, SetParameters, "/served/set_parameters", SetParameters.Request(parameters=many)).results
    assert not result.successful and str(MAX_PARAMETERS) in result.reason
    # Each of a request that is not too long has an answer of its own, the good ones too.
    good = Parameter("use_sim_time", value=False).to_parameter_msg()
    bad = ParameterMessage(name="nobody", value=ParameterValue(type=1))
    said = call(peer, SetParameters, "/served/set_parameters", SetParameters.Request(parameters=[good, bad]))
    assert [result.successful for result in said.results] == [True, False]


def test_callbacks_that_fail_are_said_once_and_the_next_message_is_heard(served, peer, stderr):
    text = peer.advertise(String, "/text")
    for word in ("bad", "bad", "good"):
        text.publish(String(data=word))
    wait_until(lambda: served.heard == ["good"], "the good message")
    assert served.executor.failures == 2
    said = stderr.read()
    assert said.count("could not be dealt with: KeyError") == 1 and "test_executor.py" in said


def test_a_time_before_zero_on_the_clock_ends_nothing(served, peer):
    clock = peer.advertise(Clock, "/clock", reliable=False)
    text = peer.advertise(String, "/text")
    before, after = Clock(), Clock()
    before.clock.sec, after.clock.sec = -5, 7
    clock.publish(before)
    wait_until(lambda: served.executor.failures == 1, "the failure")
    clock.publish(after)
    wait_until(lambda: served.node.get_clock().now().nanoseconds == 7 * 10**9, "the time")
    text.publish(String(data="good"))
    wait_until(lambda: served.heard == ["good"], "the message")


def test_a_failure_to_take_leaves_the_entity_and_its_group_served(served, peer, monkeypatch):
    """As where the middleware cannot read a message: rclpy would never look at the node again."""
    (subscription,) = (s for s in served.node.subscriptions if s.topic_name == "/text")
    take, broken = SingleThreadedExecutor._take_subscription, [True]

    def fail(executor, taken):
        if taken is subscription and broken:
            broken.clear()
            taken.handle.take_message(taken.msg_type, False)
            raise RuntimeError("cannot be read")
        return take(executor, taken)

    monkeypatch.setattr(SingleThreadedExecutor, "_take_subscription", fail)
    text = peer.advertise(String, "/text")
    text.publish(String(data="lost"))
    wait_until(lambda: served.executor.failures == 1, "the failure")
    text.publish(String(data="good"))
    wait_until(lambda: served.heard == ["good"], "the next message")


def test_shutdown_still_ends_the_executor(context):
    executor = SteadyExecutor(context=context)
    executor.add_node(Node("brief", context=context))
    context.shutdown()
    with pytest.raises(ExternalShutdownException):
        executor.spin_once(timeout_sec=1.0)


def test_stopping_ends_a_spin_that_waits_and_one_that_has_not_begun(context):
    executor = SteadyExecutor(context=context)
    executor.add_node(Node("brief", context=context))
    spinning = threading.Thread(target=executor.spin)
    spinning.start()
    executor.stop()
    spinning.join(PATIENCE_S)
    assert not spinning.is_alive()
    executor.spin()
    executor.shutdown()
    # Late, and nobody there any more.
    executor.stop()


def test_transitions_that_are_not_there_are_refused_without_a_line_each(client, start_segmenter, stderr):
    start_segmenter(FakeModel())
    stderr.read()
    for number in (77, 1, 3):
        request = ChangeState.Request()
        request.transition.id = number
        assert not client.call(ChangeState, "/robotseg/change_state", request).success
    request.transition.label = "x" * 100_000
    assert not client.call(ChangeState, "/robotseg/change_state", request).success
    assert not stderr.read()
    request.transition.label = "deactivate"
    assert client.call(ChangeState, "/robotseg/change_state", request).success


# ------------------------------------------------------------------------------------------------ the log
def test_lines_are_cut_and_hold_nothing_that_a_terminal_obeys():
    assert cut("plain words") == "plain words"
    long = cut("a" * 50 + "\n\x1b[31mred" + "x" * 1_000_000 + "end")
    assert len(long) <= MAX_LINE and long.endswith("end") and "\n" not in long and "\x1b" not in long
    assert "characters ..." in long


def test_what_is_held_back_is_counted(served, stderr, monkeypatch):
    log, now = CameraLog(served.node), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in range(50):
        log.warning("hint", "refused")
    log.warning("other", "another matter")
    now[0] += 6
    log.warning("hint", "refused again")
    lines = [line for line in stderr.read().splitlines() if "refused" in line]
    assert len(lines) == 2 and "49 lines like it" in lines[1]


def test_subjects_that_others_name_take_no_memory(served):
    log = CameraLog(served.node)
    for i in range(1000):
        log.info(f"subject {i}", lambda: "")
    assert len(log._said) <= 64 and len(log._held_back) <= 64
