# SPDX-License-Identifier: Apache-2.0
"""Whatever ends a process, at whatever moment: nothing runs on, nothing half done has a final name."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from patience import PATIENCE_S
from ros_client import wait_until

FAKE = str(Path(__file__).parents[1] / "fake_segmenter.py")
DEMO = """
import sys
from pathlib import Path
from robotseg_ros.tools import demo
demo.SEGMENTER = (sys.executable, sys.argv[3])
demo.DemoOptions.__init__.__defaults__ = ("auto", demo.SEGMENTER, None)
sys.exit(demo.main([sys.argv[1], "--out", sys.argv[2]]))
"""
NODES = {
    "segmenter": (sys.executable, FAKE, "--ros-args", "-p", "autostart:=true"),
    "self_filter": (sys.executable, "-m", "robotseg_ros.run_node", "self_filter"),
    "safety_monitor": (sys.executable, "-m", "robotseg_ros.run_node", "safety_monitor"),
}


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    """Processes below one, at any depth."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


@pytest.fixture
def clip(tmp_path):
    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for i in range(300):
        writer.write(np.full((120, 160, 3), i % 255, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("until", ["starting the node", "playing"])
def test_nothing_of_a_demo_runs_on(domain_id, tmp_path, clip, number, until):
    out = tmp_path / "out"
    command = [sys.executable, "-c", DEMO, clip, str(out), FAKE]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    below = []
    try:
        for line in process.stdout:
            if until in line:
                break
        wait_until(lambda: children(process.pid), "a child")
        # Somewhere in the middle of what it does then.
        time.sleep(random.random())
        below = children(process.pid)
        process.send_signal(number)
        process.wait(PATIENCE_S)
        wait_until(lambda: not any(map(alive, below)), "the end of all that it has started")
        left = [path.name for path in out.iterdir()] if out.exists() else []
        if number == signal.SIGKILL:
            assert all(name.startswith(".pictures-") for name in left)
        else:
            assert not left and process.returncode == 130
        from robotseg_ros.tools.demo import clear_leftovers

        clear_leftovers(out)
        assert not out.exists() or not list(out.iterdir())
    finally:
        for pid in (process.pid, *below):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_the_pictures_of_a_run_that_goes_on_are_left_alone(tmp_path):
    from robotseg_ros.tools.demo import clear_leftovers

    mine, dead = tmp_path / f".pictures-{os.getpid()}-x", tmp_path / ".pictures-4194305-x"
    for folder in (mine, dead, tmp_path / ".pictures-old"):
        folder.mkdir()
    clear_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", NODES)
def test_a_node_ends_in_order_by_every_signal_and_starts_again_at_once(domain_id, name, number):
    for _ in range(2):
        process = subprocess.Popen(NODES[name], stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            for line in process.stderr:
                if any(word in line for word in ("listening", "nobody publishes", "zones of")):
                    break
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 0
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
            process.wait()
            process.stderr.close()


@pytest.mark.parametrize("name", NODES)
def test_a_node_that_is_interrupted_twice_while_it_starts_ends_in_order(domain_id, name):
    process = subprocess.Popen(NODES[name], stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_until(lambda: listens(process.pid), "its handlers")
        # Somewhere in the middle of what it does then.
        time.sleep(random.random())
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE_S)[1]
        assert process.returncode == 0 and "Traceback" not in said and "terminate" not in said
    finally:
        process.kill()
        process.wait()


def listens(pid):
    """Whether a process handles SIGTERM itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_node_under_nohup_goes_on_when_the_terminal_is_closed(domain_id):
    command = NODES["segmenter"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    try:
        for line in process.stderr:
            if "listening" in line:
                break
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
