# SPDX-License-Identifier: Apache-2.0
"""The inference thread alone, without ROS: newest images, queues, turns."""

import threading
from types import SimpleNamespace

import pytest
from patience import PATIENCE_S
from ros_client import wait_until

from robotseg_ros.segmenter.watch import Watch
from robotseg_ros.segmenter.worker import FairWorker


@pytest.fixture
def worker():
    worker = FairWorker("test")
    yield worker
    assert worker.stop(PATIENCE_S)


class Recorder:
    """Work that waits at its first item until it is let go on."""

    def __init__(self):
        self.seen = []
        self.started, self.release = threading.Event(), threading.Event()

    def of(self, name):
        def process(item, dropped):
            self.seen.append((name, item, dropped))
            self.started.set()
            assert self.release.wait(PATIENCE_S)

        return SimpleNamespace(name=name, process=process)


def test_only_the_newest_waiting_item_is_worked_on(worker):
    work = Recorder()
    lane = worker.lane(work.of("a"))
    lane.put("first")
    assert work.started.wait(PATIENCE_S)
    for item in (1, 2, 3, "last"):
        lane.put(item)
    assert not lane.full
    work.release.set()
    wait_until(lambda: len(work.seen) == 2, "both items")
    assert work.seen == [("a", "first", 0), ("a", "last", 3)]


def test_cameras_take_turns_however_fast_one_of_them_is(worker):
    work = Recorder()
    lanes = {name: worker.lane(work.of(name)) for name in ("a", "b", "c")}
    lanes["a"].put(0)
    assert work.started.wait(PATIENCE_S)
    for item in range(1, 10):
        lanes["a"].put(item)
    lanes["c"].put(0)
    lanes["b"].put(0)
    work.release.set()
    wait_until(lambda: len(work.seen) == 4, "all newest items")
    # a has had its turn; b comes before c because it stands there, not because it came first.
    assert work.seen == [("a", 0, 0), ("b", 0, 0), ("c", 0, 0), ("a", 9, 8)]


def test_a_queue_drops_nothing_says_when_it_is_full_and_when_there_is_room(worker):
    work, room = Recorder(), []
    lane = worker.lane(work.of("a"), depth=3, on_room=lambda: room.append(lane.waiting))
    lane.put(0)
    assert work.started.wait(PATIENCE_S)
    room.clear()
    for item in (1, 2, 3):
        assert not lane.full
        lane.put(item)
    assert lane.full and not room
    work.release.set()
    wait_until(lambda: len(work.seen) == 4, "all items")
    assert work.seen == [("a", item, 0) for item in range(4)]
    assert room == [2] and not lane.full


def test_what_was_cleared_is_not_worked_on(worker):
    work = Recorder()
    lane = worker.lane(work.of("a"))
    lane.put(0)
    assert work.started.wait(PATIENCE_S)
    lane.put(1)
    lane.clear()
    lane.put(2)
    work.release.set()
    wait_until(lambda: len(work.seen) == 2, "both items")
    assert work.seen == [("a", 0, 0), ("a", 2, 0)]


def test_stop_leaves_a_hanging_item_behind_and_says_so(worker):
    work = Recorder()
    lane = worker.lane(work.of("a"))
    lane.put(1)
    assert work.started.wait(PATIENCE_S)
    assert not worker.stop(0.01)
    work.release.set()


def test_an_exception_is_logged_and_the_thread_goes_on(worker, caplog):
    done = threading.Event()

    def process(item, dropped):
        if item == "bad":
            raise MemoryError("no room for it")
        done.set()

    lane = worker.lane(SimpleNamespace(process=process))
    lane.put("bad")
    wait_until(lambda: caplog.records, "a line in the log")
    lane.put("good")
    assert done.wait(PATIENCE_S)
    assert "test failed on an item" in caplog.text and "no room for it" in caplog.text


def test_watch_looks_again_and_again_also_after_an_error_and_ends(caplog):
    looks = []

    def look():
        looks.append(1)
        if len(looks) == 2:
            raise ValueError("looked too closely")

    watch = Watch(look, 0.001, "watching")
    wait_until(lambda: len(looks) > 4, "looks")
    assert watch.stop(30)
    count = len(looks)
    assert "watching failed" in caplog.text and "looked too closely" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "watching"]
    assert len(looks) == count
