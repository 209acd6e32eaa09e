# SPDX-License-Identifier: Apache-2.0
"""Fifty times round the lifecycle, and the end of a process whose model hangs."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_model import FakeModel, robot_picture
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from patience import PATIENCE_S
from rclpy.lifecycle import TransitionCallbackReturn
from ros_client import wait_until

from robotseg_ros.segmenter.diagnostics import memory_mib

HERE = Path(__file__).resolve().parents[1]
SECOND = 1_000_000_000
CYCLES = 50
SETTLED = 10
"""Cycles after which allocators have what they need."""
MAX_GROWTH_MIB = 4.0


def entities(node):
    """How many of each kind of entity a node has."""
    return {
        **{kind: len(list(getattr(node, kind))) for kind in ("publishers", "subscriptions", "services", "timers")},
        "waitables": len(list(node.waitables)),
        "guards": len(list(node.guards)),
        "managed": len(node._managed_entities),
        "in the group": sum(entity() is not None for entity in node.default_callback_group.entities),
    }


def in_executor(node, work):
    """Run work where the services run: entities must not be destroyed while the executor waits for them."""
    task = node.executor.create_task(work)
    wait_until(task.done, f"{work.__name__} done")
    return task.result()


def test_fifty_cycles_leave_nothing_behind(client, start_segmenter):
    node = start_segmenter(FakeModel(), activate=False, cameras=["wrist", "front"])
    picture = robot_picture()

    def cycle():
        success = TransitionCallbackReturn.SUCCESS
        assert node.trigger_configure() == success
        assert node.trigger_activate() == success
        for camera in node.cameras:
            camera.inference.recent.add(SECOND, picture)
        assert node.trigger_deactivate() == success
        assert node.trigger_cleanup() == success
        gc.collect()
        return memory_mib("cpu"), len(node.get_parameters_by_prefix(""))

    first = [in_executor(node, cycle) for _ in range(SETTLED)]
    # The executor holds some of the entities until it has waited again.
    for _ in range(3):
        client.call(GetState, "/robotseg/get_state", GetState.Request())
    gc.collect()
    before = entities(node)
    last = [in_executor(node, cycle) for _ in range(CYCLES - SETTLED)]

    def settled():
        gc.collect()
        return entities(node) == before

    wait_until(settled, "no entity more than before")
    sizes, parameters = zip(*first, *last, strict=True)
    assert len(set(parameters)) == 1
    assert not {"watch", "inference"} & {thread.name for thread in threading.enumerate()}
    assert sizes[-1] - sizes[SETTLED] < MAX_GROWTH_MIB, f"memory of each cycle, MiB: {sizes}"


def test_transitions_by_service_as_a_lifecycle_manager_asks_for_them(client, start_segmenter):
    start_segmenter(FakeModel(), activate=False)
    for _ in range(2):
        for transition in (
            Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_ACTIVATE,
            Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP,
        ):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert client.call(ChangeState, "/robotseg/change_state", request).success


def test_no_thread_is_left_after_shutdown(start_segmenter):
    node = start_segmenter(FakeModel())
    assert {"watch", "inference"} <= {thread.name for thread in threading.enumerate()}
    node.trigger_shutdown()
    assert not {"watch", "inference"} & {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("hang", [False, True])
def test_sigint_ends_the_process_also_while_the_model_is_busy(client, hang):
    """0.3 s with a model that is done, 1.3 s with one that hangs, on an idle machine; busy ones get more time."""
    command = [sys.executable, str(HERE / "fake_segmenter.py"), *(["hang"] if hang else [])]
    arguments = ["--ros-args", "-p", "autostart:=true", "-p", "max_age:=0.0", "-p", "stale_after:=0.3"]
    process = subprocess.Popen([*command, *arguments], env=dict(os.environ), stderr=subprocess.PIPE, text=True)
    try:
        client.listen("parts")
        client.wait_for_camera_subscriber()

        def taken_up():
            """An answer, or STALE about an image that is being worked on, and will be for ever."""
            client.send(robot_picture(), SECOND)
            time.sleep(0.05)
            return any(message.header.stamp.sec for message in client.heard["parts"])

        wait_until(taken_up, "an image taken up")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert ("left behind" in said) == hang
        assert "Traceback" not in said
    finally:
        process.kill()
        process.wait()
