# SPDX-License-Identifier: Apache-2.0
"""How a process ends: by every usual signal in order, and not later than the process that started it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.pool import IMapIterator, Pool
from types import FrameType, TracebackType
from typing import NoReturn, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the usual request to end, and the terminal being closed."""

SAME_S = 1.0
"""A second Ctrl-C within so many seconds is the first one, sent on: by a terminal to all, and by a launcher to each."""

REPEAT_S = 0.1
"""A signal that nothing has come of for so long is sent once more, to the main thread."""

_interrupted = threading.Event()
_signalled = threading.Event()
_insisting = threading.Event()
_held_back = threading.Event()
_whole = 0
"""Blocks of :class:`uninterrupted` that the main thread is in."""

# From sys/prctl.h.
_PR_SET_PDEATHSIG = 1
# Looked up at once: after a fork other threads may hold the loader's lock for ever.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def end_in_order() -> None:
    """Have :data:`SIGNALS` raise KeyboardInterrupt in the main thread, so that ``finally`` clauses run.

    The first one counts: while a process takes its things down, a closing terminal or a supervisor sends more, which
    would break that off.  Ctrl-C does break it off, :data:`SAME_S` after the first.  SIGHUP stays ignored where it was,
    as under ``nohup``.  Does nothing in another thread, to which signals never come.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.excepthook = _said
    if not _insisting.is_set():
        _insisting.set()
        threading.Thread(target=_insist, args=(_heard_signals(),), name="signals", daemon=True).start()
        os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    """In a forked child, which has no such thread: what it hears is not for ours, and it is in no block of ours."""
    global _whole
    signal.set_wakeup_fd(-1)
    _whole = 0


def _heard_signals() -> socket.socket:
    """Where the number of every signal is read that Python has a handler for, at once, whatever its threads do."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.detach(), warn_on_full_buffer=False)
    return receiver


def _insist(heard: socket.socket) -> None:
    """Send a signal on to the main thread until its handler has run there.

    Python notes a signal, and runs the handler when the main thread comes to its next line.  One that arrives just
    before that thread sleeps or waits in C, or in another thread, does not wake it.
    """
    # None is to come to this thread: where the main one blocks them for a while, they wait for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    main = threading.main_thread().ident
    assert main is not None
    while True:
        heard_ours = set(heard.recv(64)) & set(SIGNALS)
        # One after the other: the first that is dealt with has the others ignored.
        for number in heard_ours:
            time.sleep(REPEAT_S)
            while signal.getsignal(number) is _interrupt:
                signal.pthread_kill(main, number)
                time.sleep(REPEAT_S)


def _said(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what nobody caught, but not where a signal came while modules were still read: nothing went wrong there."""
    if not (_signalled.is_set() and issubclass(kind, KeyboardInterrupt)):
        sys.__excepthook__(kind, error, trace)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    first = time.monotonic()
    _interrupted.set()
    _signalled.set()

    def again(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - first > SAME_S:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, again)
    if _whole:
        _held_back.set()
    else:
        raise KeyboardInterrupt


class uninterrupted:  # noqa: N801 - used as a statement
    """Have the KeyboardInterrupt of :func:`end_in_order` wait for the end of a ``with`` block, in the main thread.

    For what an exception in its middle would leave broken: rclpy, and ``subprocess``, whose ``poll`` would keep a lock
    that ``wait`` then waits for, for ever.  A second Ctrl-C, :data:`SAME_S` after the first, does not wait.  Nothing is
    held back in other threads, to which signals never come.
    """

    def __enter__(self) -> None:
        global _whole
        self._counts = threading.current_thread() is threading.main_thread()
        if self._counts:
            _whole += 1

    def __exit__(self, *_: object) -> None:
        global _whole
        if not self._counts:
            return
        _whole -= 1
        if not _whole and _held_back.is_set():
            _held_back.clear()
            _interrupted.clear()
            raise KeyboardInterrupt


def raise_lost_interrupt() -> None:
    """Raise the KeyboardInterrupt of :func:`end_in_order` once more, for loops that go on although it was raised.

    Where it comes in the middle of what Python calls by itself, as when an object of rclpy is taken down, it is lost.
    """
    if _interrupted.is_set() and threading.current_thread() is threading.main_thread():
        _interrupted.clear()
        raise KeyboardInterrupt


def end_at_once(status: int) -> NoReturn:
    """End this process with what it has said, and nothing else.

    For where threads go on that nobody can end, in a model or a decoder: Python's own way out takes the libraries down
    under them, which ends in ``terminate called without an active exception`` and SIGABRT.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # Nobody reads it any more.
            pass
    os._exit(status)


def end_with(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when the thread of ``parent`` that started it is gone.

    To be called first thing in a child: SIGKILL leaves its parent no time to end it.  Does nothing where the kernel is
    not Linux.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        # Gone already, before the kernel was asked.
        os._exit(1)


def work_for(parent: int, *_: object) -> None:
    """Make this process a worker of ``parent``: that one hears Ctrl-C and the terminal for both, and this one ends.

    For ``initializer`` of a pool and ``worker_init_fn`` of a loader, whose number of the worker is not looked at.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Started by a server for processes it is that one's child: then torch looks after its workers.
    if os.getppid() == parent:
        end_with(parent)


@contextmanager
def worker_pool(jobs: int) -> Iterator[Pool]:
    """Processes that work for this one, started anew; they end with the block, and with this process."""
    deaf = {signal.SIGINT, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, deaf)
    try:
        # Blocked before their first line runs. The tracker first: starting it takes Ctrl-C out of the mask.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, deaf)
        pool = multiprocessing.get_context("spawn").Pool(jobs, work_for, (os.getpid(),))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with pool:
        yield pool


def each(results: IMapIterator[T]) -> Iterator[T]:
    """What a pool's ``imap`` gives, interruptible only between two: a lock left taken would hold up the pool's end."""
    while True:
        with uninterrupted():
            try:
                result = results.next(REPEAT_S)
            except multiprocessing.TimeoutError:
                continue
            except StopIteration:
                return
        yield result


class Ending:
    """What :data:`SIGNALS` ask for, in a process that an exception at any moment would leave half done.

    For one that runs rclpy, which is Python in good part: a KeyboardInterrupt in the middle of it is lost, or leaves
    objects behind that fail later.  So nothing is raised: who waits is woken, and who works asks :attr:`wanted` now and
    then.  A second Ctrl-C, :data:`SAME_S` after the first signal, is a KeyboardInterrupt.  SIGHUP stays ignored where
    it was, as under ``nohup``.  To be made in the main thread; in another one it hears of no signal.
    """

    def __init__(self) -> None:
        self._early, self._lock = True, threading.Lock()
        self._asked = threading.Event()
        self._first: float | None = None
        self._wakes: list[Callable[[], object]] = []
        if threading.current_thread() is not threading.main_thread():
            return
        # Python's own handlers run between two lines of Python, and a node waits in C. A byte comes at once.
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._hear)
        threading.Thread(target=self._wait, args=(_heard_signals(),), name="signals", daemon=True).start()

    def begin(self) -> None:
        """From here on there is something to take down; before, a signal ends the process at once, with status 0.

        What comes before, importing, takes seconds, and on a busy machine many.
        """
        with self._lock:
            self._early = False

    @property
    def wanted(self) -> bool:
        """Whether a signal has come."""
        return self._asked.is_set()

    def check(self) -> None:
        """Give up what is under way, if a signal has come.

        Raises:
            KeyboardInterrupt: one has.
        """
        if self.wanted:
            raise KeyboardInterrupt

    def wakes(self, wake: Callable[[], object]) -> None:
        """Have a function called, in another thread, when a signal comes; at once, where one has come already."""
        self._wakes.append(wake)
        if self.wanted:
            wake()

    def _ask(self) -> None:
        with self._lock:
            if self._early:
                end_at_once(0)
            self._asked.set()
        for wake in tuple(self._wakes):
            wake()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif number == signal.SIGINT and now - self._first > SAME_S:
            raise KeyboardInterrupt

    def _wait(self, receiver: socket.socket) -> None:
        while True:
            for number in receiver.recv(64):
                if number in SIGNALS:
                    self._ask()
