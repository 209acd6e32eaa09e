# SPDX-License-Identifier: Apache-2.0
"""Processes end in order by every usual signal, and none outlives the one that started it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from patience import PATIENCE_S

from robotseg_core.lifetime import SAME_S, each, worker_pool

FATHER = """
import os, subprocess, sys, time
from functools import partial
from robotseg_core import lifetime
from robotseg_core.lifetime import end_in_order, end_with
# However slow the machine is, a second Ctrl-C is the first one, sent on.
lifetime.SAME_S = 6000
end_in_order()
child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(6000)"],
                         stdout=subprocess.PIPE, preexec_fn=partial(end_with, os.getpid()))
child.stdout.readline()
try:
    print(child.pid, flush=True)
    time.sleep(6000)
except KeyboardInterrupt:
    print("interrupted", flush=True)
finally:
    {last}
    print("done", flush=True)
"""


def start(last="child.kill()", **more):
    code = FATHER.format(last=last)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **more)
    return process, int(process.stdout.readline())


def run(code):
    """Status, standard output and standard error of a program."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout, done.stderr


def gone(pid):
    deadline = time.monotonic() + PATIENCE_S
    while os.path.exists(f"/proc/{pid}"):
        # An orphan that has ended stays as a zombie where nobody waits for orphans.
        if open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z":
            return True
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_runs_what_is_to_be_done_at_the_end(number):
    process, child = start()
    process.send_signal(number)
    assert process.stdout.read() == "interrupted\ndone\n"
    assert process.wait(PATIENCE_S) == 0 and gone(child)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_modules_are_read_leaves_no_traceback(number):
    code = "import time; from robotseg_core.lifetime import end_in_order; end_in_order(); print('up', flush=True); "
    process = subprocess.Popen(
        [sys.executable, "-c", code + "time.sleep(6000)"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    said = process.communicate(timeout=PATIENCE_S)[1]
    assert said == "" and process.returncode in (130, -signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_does_not_wake_the_main_thread_is_sent_there_again(number):
    """As one that comes just before that thread begins to wait: Python notes it, and goes on waiting."""
    code = (
        "import signal, threading, time\nfrom robotseg_core.lifetime import end_in_order\nend_in_order()\n"
        f"late = threading.Timer(0.5, signal.raise_signal, ({int(number)},))\nlate.daemon = True\nlate.start()\n"
        "try:\n    time.sleep(6000)\nexcept KeyboardInterrupt:\n    print('heard')\n"
        # Nor is it sent again and again.
        "time.sleep(0.5)\nprint('once')"
    )
    assert run(code) == (0, "heard\nonce\n", "")


def test_what_a_forked_child_hears_is_not_sent_to_its_parent():
    code = (
        "import os, signal, time\nfrom robotseg_core.lifetime import end_in_order\nend_in_order()\n"
        "reader, writer = os.pipe()\nchild = os.fork()\n"
        "if not child:\n    try:\n        os.write(writer, b'up')\n        time.sleep(6000)\n"
        "    except KeyboardInterrupt:\n        os._exit(7)\n"
        "os.read(reader, 2)\nended = (0, 0)\n"
        # Nobody sends it again to a child, in which one that comes just before its sleep is lost.
        "while not ended[0]:\n    os.kill(child, signal.SIGTERM)\n    time.sleep(0.1)\n"
        "    ended = os.waitpid(child, os.WNOHANG)\n"
        "print(os.waitstatus_to_exitcode(ended[1]))\ntime.sleep(0.5)\nprint('goes on')"
    )
    assert run(code) == (0, "7\ngoes on\n", "")


def test_what_is_no_signal_is_said():
    code = "from robotseg_core.lifetime import end_in_order; end_in_order(); raise {}"
    for error in ("ValueError('x is 3')", "KeyboardInterrupt"):
        status, _, said = run(code.format(error))
        assert error.partition("(")[0] in said and status != 0


def test_further_signals_do_not_break_off_what_is_done_at_the_end():
    process, child = start("print('ending', flush=True); time.sleep(0.5)")
    process.send_signal(signal.SIGHUP)
    assert [process.stdout.readline() for _ in range(2)] == ["interrupted\n", "ending\n"]
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    assert process.stdout.read() == "done\n"
    assert process.wait(PATIENCE_S) == 0 and gone(child)


def test_nohup_is_respected():
    process, child = start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0 and gone(child)


def test_a_child_goes_with_its_parent_also_by_sigkill():
    process, child = start()
    process.kill()
    process.wait(PATIENCE_S)
    assert gone(child)


ASKED = """
import signal, sys, threading, time
from robotseg_core import lifetime
from robotseg_core.lifetime import Ending
lifetime.SAME_S = {same_s}
ending, woken = Ending(), threading.Event()
ending.begin()
ending.wakes(woken.set)
print("up", flush=True)
while not ending.wanted:
    # An exception would come at some moment in here.
    sum(i * i for i in range(100))
assert woken.wait(6000)
late = []
ending.wakes(lambda: late.append(1))
assert late == [1]
try:
    print("asked", flush=True)
    while {again}:
        # A signal that comes just before a sleep does not end it.
        time.sleep(0.01)
except KeyboardInterrupt:
    print("broken off", flush=True)
try:
    ending.check()
except KeyboardInterrupt:
    print("given up", flush=True)
"""


def ask(again=False, same_s=6000, **more):
    code = ASKED.format(again=again, same_s=same_s)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **more)
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_cannot_be_interrupted_is_asked_to_end(number):
    process = ask()
    # A terminal sends it to all, and a launcher to each.
    for _ in range(3):
        process.send_signal(number)
    assert process.stdout.read() == "asked\ngiven up\n" and process.wait(PATIENCE_S) == 0


def test_an_interrupt_that_was_lost_is_raised_again_once():
    code = (
        "import os, signal\nfrom robotseg_core.lifetime import end_in_order, raise_lost_interrupt\nend_in_order()\n"
        "class Lost:\n    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGHUP)\n        [0 for _ in range(9)]\n"
        "raise_lost_interrupt()\nlost = Lost()\ndel lost\n"
        "try:\n    raise_lost_interrupt()\nexcept KeyboardInterrupt:\n    print('heard')\n"
        "raise_lost_interrupt()\nprint('once')"
    )
    status, said, error = run(code)
    assert said == "heard\nonce\n" and status == 0, error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_is_not_to_be_interrupted_is_done_first(number):
    code = (
        "import signal\nfrom robotseg_core.lifetime import end_in_order, raise_lost_interrupt, uninterrupted\n"
        "end_in_order()\nwith uninterrupted():\n    pass\n"
        "try:\n    with uninterrupted():\n        with uninterrupted():\n"
        f"            signal.raise_signal({int(number)})\n        print('whole')\n    print('never')\n"
        "except KeyboardInterrupt:\n    print('heard')\n"
        # Nor once more at the end of what is done then, or by those who look for what was lost.
        "with uninterrupted():\n    raise_lost_interrupt()\nprint('once')"
    )
    assert run(code) == (0, "whole\nheard\nonce\n", "")


@pytest.mark.parametrize("where", ["before", "behind", "in the middle, and failed"])
def test_an_interrupt_beside_what_is_not_to_be_interrupted(where):
    block = "    with uninterrupted():\n        {}\n"
    sends = "signal.raise_signal(signal.SIGTERM)"
    lines = {
        "before": f"    {sends}\n" + block.format("print('never')"),
        "behind": block.format("print('done')") + f"    {sends}\n    print('never')\n",
        "in the middle, and failed": block.format(f"{sends}; print('done'); 1 / 0"),
    }[where]
    code = (
        "import signal\nfrom robotseg_core.lifetime import end_in_order, uninterrupted\n"
        f"end_in_order()\ntry:\n{lines}except KeyboardInterrupt:\n    print('heard')"
    )
    status, said, _ = run(code)
    assert said == ("heard\n" if where == "before" else "done\nheard\n") and status == 0


def test_another_thread_or_a_forked_child_holds_back_nothing():
    code = (
        "import os, signal, threading\nfrom robotseg_core.lifetime import end_in_order, uninterrupted\nend_in_order()\n"
        "inside, over = threading.Event(), threading.Event()\n"
        "def other():\n    with uninterrupted():\n        inside.set()\n        over.wait()\n"
        "thread = threading.Thread(target=other)\nthread.start()\ninside.wait()\n"
        "with uninterrupted():\n    child = os.fork()\n    if not child:\n        try:\n"
        "            signal.raise_signal(signal.SIGTERM)\n            os._exit(1)\n"
        "        except KeyboardInterrupt:\n            os._exit(7)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "try:\n    signal.raise_signal(signal.SIGTERM)\n    print('never')\n"
        "except KeyboardInterrupt:\n    print('heard')\nover.set()\nthread.join()"
    )
    assert run(code) == (0, "7\nheard\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_has_not_begun_ends_at_once_whatever_it_is_in(number):
    code = (
        "import time; from robotseg_core.lifetime import Ending; ending = Ending(); print('up', flush=True)\n"
        "try: time.sleep(6000)\n"
        "finally: print('not this way', flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert process.stdout.read() == "" and process.wait(PATIENCE_S) == 0


def test_a_second_ctrl_c_breaks_off_who_was_asked():
    process = ask(again=True, same_s=SAME_S)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "asked\n"
    # Late enough; and no more than one, which would find Python on its way out.
    time.sleep(SAME_S + 0.1)
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "broken off\ngiven up\n" and process.wait(PATIENCE_S) == 0


def test_who_is_asked_does_not_hear_of_a_hangup_under_nohup():
    process = ask(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "asked\ngiven up\n" and process.wait(PATIENCE_S) == 0


def test_a_pool_is_interrupted_between_two_results():
    code = (
        "import multiprocessing, signal\nfrom robotseg_core.lifetime import each, end_in_order\nend_in_order()\n"
        "class Slow:\n    calls = 0\n    def next(self, timeout):\n        self.calls += 1\n"
        "        if self.calls in (1, 3):\n            raise multiprocessing.TimeoutError\n"
        "        if self.calls == 4:\n            signal.raise_signal(signal.SIGTERM)\n            print('taken')\n"
        "        return self.calls\n"
        "try:\n    for result in each(Slow()):\n        print(result)\nexcept KeyboardInterrupt:\n    print('heard')"
    )
    assert run(code) == (0, "2\ntaken\nheard\n", "")


def test_all_that_a_pool_gives_comes_and_what_it_raises():
    with worker_pool(2) as pool:
        assert list(each(pool.imap(abs, range(-5, 0)))) == [5, 4, 3, 2, 1]
        with pytest.raises(TypeError, match="bad operand"):
            list(each(pool.imap_unordered(abs, ["a", 1])))


def test_two_interrupts_at_once_are_one():
    process, child = start("print('ending', flush=True); time.sleep(0.5)")
    process.send_signal(signal.SIGINT)
    assert [process.stdout.readline() for _ in range(2)] == ["interrupted\n", "ending\n"]
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "done\n"
    assert process.wait(PATIENCE_S) == 0 and gone(child)


def test_the_way_out_past_threads_that_go_on():
    """Python's own would end in SIGABRT, where the thread is in a library that gives Python's lock away."""
    code = (
        "import sys, threading\nimport numpy as np\nfrom robotseg_core.lifetime import end_at_once\n"
        "busy = lambda: all(len(np.linalg.svd(np.eye(300))) for _ in iter(int, 1))\n"
        "threading.Thread(target=busy, daemon=True).start()\n"
        "sys.stdout.write('said')\nend_at_once(3)"
    )
    assert run(code) == (3, "said", "")
