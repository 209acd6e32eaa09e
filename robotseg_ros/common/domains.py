# SPDX-License-Identifier: Apache-2.0
"""ROS domains of our own: two demos, benches or test runs on one machine never meet in one."""

from __future__ import annotations

import random
import socket
from types import TracebackType

DOMAINS = range(1, 102)
"""Those whose ports Linux does not give to anybody; not 0, in which everybody is who has chosen none."""
# OMG DDSI-RTPS 9.6.1: ports of a domain's discovery, of all participants and of the first one.
BASE_PORT, PORTS_OF_A_DOMAIN, FIRST_PARTICIPANT = 7400, 250, 10


class PrivateDomain:
    """A domain that is claimed while this lives: by :meth:`close`, or with the process, it is free again.

    Attributes:
        number: what ROS_DOMAIN_ID is to be.

    Raises:
        RuntimeError: no domain is free.
    """

    # Where the last search ended: a domain is taken again as late as possible, when nobody lingers in it.
    _last = random.SystemRandom().choice(DOMAINS)

    def __init__(self) -> None:
        for step in range(1, len(DOMAINS) + 1):
            number = DOMAINS[(PrivateDomain._last - DOMAINS.start + step) % len(DOMAINS)]
            claim = _claim(number)
            if claim is not None:
                PrivateDomain._last = self.number = number
                self._claim = claim
                return
        raise RuntimeError(f"ROS domains {DOMAINS.start} to {DOMAINS[-1]} are all in use on this machine")

    def close(self) -> None:
        """Give the domain back."""
        self._claim.close()

    def __enter__(self) -> PrivateDomain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _claim(number: int) -> socket.socket | None:
    """Take a domain among those who ask here, if nobody else is in it either; None: it is taken."""
    # A name that no two sockets have, without a file that could be left behind.
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0robotseg_ros/domain/{number}")
        for participant in (0, FIRST_PARTICIPANT):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("", BASE_PORT + PORTS_OF_A_DOMAIN * number + participant))
    except OSError:
        claim.close()
        return None
    return claim
