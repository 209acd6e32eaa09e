# SPDX-License-Identifier: Apache-2.0
"""The newest-item worker alone, without ROS."""

import threading

from ros_client import wait_until

from robotseg_ros.worker import NewestWorker


def test_only_the_newest_waiting_item_is_worked_on():
    started, release, done = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def process(item, dropped):
        seen.append((item, dropped))
        started.set()
        assert release.wait(30)
        if item == "last":
            done.set()

    worker = NewestWorker(process, "test")
    worker.put("first")
    assert started.wait(30)
    for item in (1, 2, 3, "last"):
        worker.put(item)
    release.set()
    assert done.wait(30)
    assert worker.stop(30)
    assert seen == [("first", 0), ("last", 3)]


def test_stop_leaves_a_hanging_item_behind_and_says_so():
    started, release = threading.Event(), threading.Event()

    def process(item, dropped):
        started.set()
        release.wait(30)

    worker = NewestWorker(process, "test")
    worker.put(1)
    assert started.wait(30)
    assert not worker.stop(0.01)
    release.set()
    assert worker.stop(30)


def test_stop_without_items():
    assert NewestWorker(lambda item, dropped: None, "test").stop(30)


def test_an_exception_is_logged_and_the_thread_goes_on(caplog):
    done = threading.Event()

    def process(item, dropped):
        if item == "bad":
            raise MemoryError("no room for it")
        done.set()

    worker = NewestWorker(process, "test")
    worker.put("bad")
    wait_until(lambda: caplog.records, "a line in the log")
    worker.put("good")
    assert done.wait(30)
    assert worker.stop(30)
    assert "test failed on an item" in caplog.text and "no room for it" in caplog.text
