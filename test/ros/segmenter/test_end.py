# SPDX-License-Identifier: Apache-2.0
"""An interrupted node takes its DDS participant down: no shared memory is left, and so no ghost in the graph."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_model import robot_picture
from lifecycle_msgs.srv import GetState
from patience import PATIENCE_S
from ros_client import segments_of

FAKE = str(Path(__file__).resolve().parents[1] / "fake_segmenter.py")


@pytest.mark.parametrize("how", ["unconfigured", "active", "hang"])
def test_an_interrupted_node_leaves_no_shared_memory(client, how):
    """Not compared with what was there before: other nodes may come and go on this machine."""
    words = ["hang"] if how == "hang" else []
    autostart = "false" if how == "unconfigured" else "true"
    command = [sys.executable, FAKE, *words, "--ros-args", "-p", f"autostart:={autostart}", "-p", "stale_after:=0.3"]
    process = subprocess.Popen(command, env=dict(os.environ), start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        # Answered by an executor that spins, so that everything is in place that the end has to take down.
        state = client.call(GetState, "/robotseg/get_state", GetState.Request(), again_after=2.0).current_state
        assert state.label == ("unconfigured" if how == "unconfigured" else "active")
        if how == "hang":
            client.listen("parts")
            client.wait_for_camera_subscriber()
            client.send_until(robot_picture(), 1_000_000_000, "parts", 1)
        own = segments_of(process.pid)
        assert len(own) == 2, "large images and the rest"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0 and ("left behind" in said) == (how == "hang")
        assert [segment for segment in own if segment.exists()] == []
    finally:
        process.kill()
        process.wait()
