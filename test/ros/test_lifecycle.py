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
from rclpy.lifecycle import TransitionCallbackReturn
from ros_client import wait_until

from robotseg_ros.diagnostics import memory_mib

HERE = Path(__file__).resolve().parent
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


def test_fifty_cycles_leave_nothing_behind(start_segmenter):
    node = start_segmenter(FakeModel(), activate=False, cameras=["wrist", "front"])
    success = TransitionCallbackReturn.SUCCESS
    picture = robot_picture()

    def cycle():
        assert node.trigger_configure() == success
        assert node.trigger_activate() == success
        for camera in node.cameras:
            camera.inference.recent.add(SECOND, picture)
        assert node.trigger_deactivate() == success
        assert node.trigger_cleanup() == success
        gc.collect()
        return memory_mib("cpu"), len(node.get_parameters_by_prefix(""))

    first = [cycle() for _ in range(SETTLED)]
    # The executor holds some of the entities until it has waited again.
    time.sleep(1)
    gc.collect()
    before = entities(node)
    last = [cycle() for _ in range(CYCLES - SETTLED)]

    def settled():
        gc.collect()
        return entities(node) == before

    try:
        wait_until(settled, "no entity more than before")
    except AssertionError as error:
        raise AssertionError(f"{entities(node)}, before {before}") from error
    sizes, parameters = zip(*first, *last, strict=True)
    assert len(set(parameters)) == 1
    assert not {"watch", "inference"} & {thread.name for thread in threading.enumerate()}
    assert sizes[-1] - sizes[SETTLED] < MAX_GROWTH_MIB, f"memory of each cycle, MiB: {sizes}"


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
        _, said = process.communicate(timeout=15)
        assert process.returncode == 0
        assert ("left behind" in said) == hang
        assert "Traceback" not in said
    finally:
        process.kill()
        process.wait()
