# SPDX-License-Identifier: Apache-2.0
"""Private domains: no two at once, in one process or in several, and none in which somebody else is."""

import signal
import socket
import subprocess
import sys

import pytest

from robotseg_ros.common import domains
from robotseg_ros.common.domains import PrivateDomain

CLAIM = (
    "from robotseg_ros.common.domains import PrivateDomain; d = PrivateDomain(); print(d.number, flush=True); input()"
)


@pytest.fixture
def among(monkeypatch):
    """A few domains for the test alone: the names are of its process."""

    def choose(*numbers):
        monkeypatch.setattr(domains, "DOMAINS", range(numbers[0], numbers[-1] + 1))
        monkeypatch.setattr(PrivateDomain, "_last", numbers[0])

    return choose


def free_domains(count):
    """``count`` consecutive domains that were free a moment ago: claimed, looked at and given back."""
    for start in range(domains.DOMAINS.start, domains.DOMAINS.stop - count):
        claims = [domains._claim(number) for number in range(start, start + count)]
        for claim in filter(None, claims):
            claim.close()
        if all(claims):
            return range(start, start + count)
    pytest.skip(f"there are no {count} free domains side by side on this machine")


def test_domains_of_one_process_differ_and_are_free_again_when_closed(among):
    among(*free_domains(3))
    held = [PrivateDomain() for _ in range(3)]
    assert {domain.number for domain in held} == set(domains.DOMAINS)
    with pytest.raises(RuntimeError, match=f"ROS domains {domains.DOMAINS.start} to {domains.DOMAINS[-1]} are all in"):
        PrivateDomain()
    held[1].close()
    with PrivateDomain() as again:
        assert again.number == held[1].number
    for domain in held:
        domain.close()


def test_a_domain_is_taken_again_as_late_as_possible(among):
    among(*free_domains(3))
    numbers = []
    for _ in range(6):
        with PrivateDomain() as domain:
            numbers.append(domain.number)
    assert numbers[:3] == numbers[3:] and len(set(numbers)) == 3


def test_processes_at_once_never_get_the_same_and_a_killed_one_holds_nothing():
    processes = [
        subprocess.Popen([sys.executable, "-c", CLAIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    try:
        numbers = [int(process.stdout.readline()) for process in processes]
        assert len(set(numbers)) == 5
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        # Unless another run has taken it this very moment.
        claim = domains._claim(numbers[0]) or domains._claim(numbers[0])
        assert claim is not None
        claim.close()
        assert [domains._claim(number) for number in numbers[1:]] == [None] * 4
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("participant", [0, 10])
def test_a_domain_in_which_a_stranger_is_is_not_taken(among, participant):
    (number,) = free_domains(1)
    among(number)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        # As DDS binds the port of all participants.
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("", 7400 + 250 * number + participant))
        with pytest.raises(RuntimeError, match="all in use"):
            PrivateDomain()


def test_a_real_participant_is_seen(context, domain_id):
    """The fixture's claim is another name's business: asked is only whether its ports say that somebody is there."""
    ports = [7400 + 250 * domain_id + participant for participant in (0, 10)]
    import rclpy

    node = rclpy.create_node("somebody", context=context)
    try:
        taken = []
        for port in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(("", port))
                except OSError:
                    taken.append(port)
        assert taken
    finally:
        node.destroy_node()
