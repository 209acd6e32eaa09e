# SPDX-License-Identifier: Apache-2.0
"""The same on a Ray cluster: Ray places the models, sends them clips, starts them anew where they or their machine die.

Nothing of that is done here.  An actor of Ray holds a model; Ray restarts it, on another machine if need be, and sends
it again the clip that it had.  A clip that was labelled twice in such a race has its name once: who is first keeps it.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from robotseg_core.label_set.clips import Clip
from robotseg_core.label_set.labeller import FAILED, CannotStart, Labeller, LabelSettings, Outcome

ANSWER_S = 30.0
"""Longest wait for the first answer of a cluster."""


def label_on_ray(
    clips: Sequence[Clip], settings: LabelSettings, out: Path, *, address: str | None = None, workers: int | None = None
) -> Generator[Outcome, None, None]:
    """Label clips on a cluster; outcomes come as they are ready.

    Args:
        clips: what to label; their files and ``out`` have the same paths on all machines.
        settings: what the masks are to be.
        out: folder of the labels.
        address: of the cluster; None: that of $RAY_ADDRESS, one that runs on this machine, or a new one on it.
        workers: models at once; None: as many as fit in now.  Those that find no place wait for machines to join.

    Raises:
        CannotStart: the model cannot be loaded on a machine.
        ValueError: ``workers`` is less than 1.
        ConnectionError: nothing answers at ``address``, or what answers does not let this process in.
        ModuleNotFoundError: Ray is not installed (extra ``ray``).
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}, must be at least 1")
    import ray

    if address:
        check_answers(address)
    new = {} if address or os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **new)
    except ConnectionError as error:
        raise ConnectionError(_told(error)) from error
    try:
        needs = {"num_cpus": settings.threads, "num_gpus": 1 if settings.device.startswith("cuda") else 0}
        # Without a limit: while it is not yet known that a machine is gone, Ray tries it again and again.  A clip that
        # kills every process is known by what they leave (Labeller.label).
        actor = ray.remote(max_restarts=-1, max_task_retries=-1, **needs)(Labeller)
        count = min(len(clips), workers or _room(ray.cluster_resources(), needs))
        waiting, running = deque(clips), {}
        for _ in range(count):
            holder, clip = actor.remote(settings, out), waiting.popleft()
            running[holder.label.remote(clip)] = holder, clip
        while running:
            # By the second, so that Ctrl-C is heard.
            ready, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            for reference in ready:
                holder, clip = running.pop(reference)
                yield _outcome(ray, reference, clip)
                if waiting:
                    clip = waiting.popleft()
                    running[holder.label.remote(clip)] = holder, clip
                else:
                    # Its place is free for one that waits for a place.
                    ray.kill(holder)
    finally:
        ray.shutdown()


def check_answers(address: str) -> None:
    """Raise ConnectionError where nothing listens at HOST:PORT: Ray itself would try for a long time, and aloud."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"no Ray cluster answers at {address}: {error}") from error


def _told(error: ConnectionError) -> str:
    """Why Ray could not connect, in one line, with what to do where the cluster asks for a token.

    Ray shows its token to no address that was named unless it is told to: whoever answers there would have it.
    """
    if "AuthenticationError" not in str(error.__cause__):
        return str(error)
    return (
        f"{error}: it asks for a token. Set RAY_AUTH_MODE=token here too, with the token of the cluster in "
        "~/.ray/auth_token"
    )


def _room(there: dict[str, float], needs: dict[str, int]) -> int:
    """Models that a cluster holds at once, 1 at least."""
    fitting = [
        there.get(name, 0) // needs[key] for name, key in (("CPU", "num_cpus"), ("GPU", "num_gpus")) if needs[key]
    ]
    return max(1, int(min(fitting)))


def _outcome(ray: Any, reference: Any, clip: Clip) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
        return outcome
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, CannotStart):
            raise CannotStart(str(cause)) from None
        if isinstance(cause, OSError):
            raise OSError(str(cause)) from None
        return Outcome(clip.key, FAILED, error=f"{type(cause).__name__}: {cause}")
    except ray.exceptions.RayActorError as error:
        return Outcome(clip.key, FAILED, error=f"its worker is lost: {str(error).splitlines()[0]}")
