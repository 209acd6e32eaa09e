# SPDX-License-Identifier: Apache-2.0
"""Processes are ended whenever a signal comes."""

import signal
import subprocess
import sys
import time

import pytest
from patience import PATIENCE_S

from robotseg_ros.common.processes import ended, start, stop

SWEEP = """
import signal, sys
from robotseg_core import lifetime
from robotseg_core.lifetime import end_in_order
from robotseg_ros.common.processes import ended, start, stop

# None is sent on: it would come into the next round.
lifetime.REPEAT_S = 6000

def interrupted_at(moment):
    # The handlers are taken away by the first signal.
    end_in_order()
    process, steps = start(["sleep", "6000"]), 0

    def trace(frame, event, argument):
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += 1
        if steps == moment:
            sys.settrace(None)
            signal.raise_signal(signal.SIGTERM)
            return None
        return trace

    try:
        sys.settrace(trace)
        ended(process)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    stop(process)
    return steps >= moment

moment = 1
while interrupted_at(moment):
    moment += 1
print(moment)
"""


def test_a_signal_in_the_middle_of_looking_does_not_hold_up_the_end():
    """Python's ``poll`` takes a lock, which an exception just behind that leaves taken."""
    done = subprocess.run([sys.executable, "-c", SWEEP], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0 and int(done.stdout) > 20, done.stderr


def test_an_end_is_seen_and_its_status_kept():
    process = start(["sh", "-c", "exit 3"])
    deadline = time.monotonic() + PATIENCE_S
    while not ended(process):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stop(process)
    assert process.returncode == 3


@pytest.mark.parametrize("deaf", [False, True])
def test_who_does_not_hear_is_killed(deaf, monkeypatch):
    monkeypatch.setattr("robotseg_ros.common.processes.STOP_TIMEOUT_S", 0.1 if deaf else PATIENCE_S)
    process = start(
        ["sh", "-c", f"{'trap : TERM; ' if deaf else ''}echo up; while :; do sleep 0.05; done"], subprocess.PIPE
    )
    assert process.stdout.readline() == "up\n" and not ended(process)
    stop(process)
    process.stdout.close()
    assert ended(process) and process.returncode == -(signal.SIGKILL if deaf else signal.SIGTERM)
