# SPDX-License-Identifier: Apache-2.0
"""Nodes as processes of the demo and of the examples: started apart from the terminal, ended in order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import IO

from robotseg_core.lifetime import end_with, uninterrupted
from robotseg_ros.common.domains import PrivateDomain
from robotseg_ros.common.fastdds import prepare

STOP_TIMEOUT_S = 10.0
_domains: list[PrivateDomain] = []
"""Ours until this process ends."""


def use_private_domain() -> None:
    """Set the environment so that our own processes find each other, and nobody else, with the shipped profile."""
    trouble = prepare(os.environ)
    if trouble:
        print(trouble, file=sys.stderr)
    # They find each other by absolute names and with the middleware of the profile.
    for variable in ("ROS_NAMESPACE", "RMW_IMPLEMENTATION"):
        os.environ.pop(variable, None)
    # Other robots' cameras stay out of the figures; a domain that the user has set is the user's choice.
    if "ROS_DOMAIN_ID" not in os.environ:
        _domains.append(PrivateDomain())
        os.environ["ROS_DOMAIN_ID"] = str(_domains[-1].number)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def start(command: Sequence[str], stdout: int | IO[str] | None = None) -> subprocess.Popen[str]:
    """Start a process in a session of its own: Ctrl-C comes to us alone, who then stop it in order.

    However we end, it does not outlive us.
    """
    with uninterrupted():
        return subprocess.Popen(
            command, stdout=stdout, text=True, start_new_session=True, preexec_fn=partial(end_with, os.getpid())
        )


def ended(process: subprocess.Popen[str]) -> bool:
    """Whether a process has ended; interrupted in its middle, ``poll`` would have :func:`stop` wait for ever."""
    with uninterrupted():
        return process.poll() is not None


def stop(process: subprocess.Popen[str]) -> None:
    """End a process by SIGTERM, and by SIGKILL where that does not help.

    Not by SIGINT, which Python takes up before a program does: it would end in a traceback of whatever is imported.
    """
    with uninterrupted():
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
