# SPDX-License-Identifier: Apache-2.0
"""Counts of the middleware, whose clock it is, and who sends."""

from types import SimpleNamespace

import pytest

from robotseg_ros.common.graph import HEARD_S, MAX_SENDERS, Senders, clock_advice
from robotseg_ros.common.qos import MOST_LOST, Topics, believable


@pytest.mark.parametrize("count", [0, 1, 5, MOST_LOST])
def test_counts_that_can_be_are_taken_as_they_are(count):
    assert believable(count) == count


@pytest.mark.parametrize("count", [2**31 - 1, 2**64 - 2**31, 2**64 - 1, 2**63, -1, -(2**31), MOST_LOST + 1])
def test_counts_that_cannot_be_say_that_one_was_lost(count):
    assert believable(count) == 1


def test_a_session_counts_and_says_no_more_than_can_be(session, stderr):
    """The numbers that Fast DDS gives where twelve images of another size were lost."""
    events = [2**64 - 2**31, 2**64 - 2**31, 2**31 - 1, 1, 2**31 - 1, 1, 2**64 - 2**31, 2**31 - 1, 1]
    for event in events:
        session.inference.lost(believable(event))
    assert session.counters.lost == len(events)
    session.inference.answers.drop(0)
    assert session.inference.answers._take_drops() == len(events)
    assert "1 images were lost" in stderr.read()


def test_what_a_subscription_counts_goes_through_that(node, monkeypatch):
    heard, made = [], {}
    monkeypatch.setattr(type(node), "create_subscription", lambda self, *args, **more: made.update(more))
    Topics(node).subscribe(object, "/anything", print, None, lost=heard.append)
    for change in (3, 2**64 - 2**31):
        made["event_callbacks"].message_lost(SimpleNamespace(total_count_change=change))
    assert heard == [3, 1]


class Clocked:
    """A node of which the clock and what is set are known."""

    def __init__(self, simulated, publishers, seconds=0.0):
        self.simulated, self.publishers, self.seconds = simulated, publishers, seconds

    def get_parameter(self, name):
        assert name == "use_sim_time"
        return SimpleNamespace(value=self.simulated)

    def resolve_topic_name(self, name):
        return name

    def count_publishers(self, name):
        assert name == "/clock"
        return self.publishers

    def get_clock(self):
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=int(self.seconds * 1e9)))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (Clocked(True, 0), "use_sim_time is set, but nobody publishes /clock"),
        (Clocked(True, 1, 12.5), "use_sim_time is set and /clock says 12.500 s"),
        (Clocked(False, 1), "/clock is published, but use_sim_time is not set"),
        (Clocked(False, 0), "the camera has another clock than this machine"),
    ],
)
def test_advice_looks_at_what_is_set_and_at_what_is_there(node, words):
    assert words in clock_advice(node)


def told_by(number):
    return {"publisher_gid": {"data": bytes([number]) * 16}}


def test_senders_that_are_heard_in_turn_cannot_be_told_apart():
    now = [0.0]
    senders = Senders(lambda: now[0])
    assert [senders.hear(told_by(1), "a") for _ in range(3)] == [1, 1, 1] and not senders.changed
    # It may have taken the place of the first; that comes again, and so it has not.
    assert senders.hear(told_by(2), "a") == 1 and senders.changed
    assert senders.hear(told_by(1), "a") == 2 and senders.hear(told_by(2), "a") == 2
    # Of another camera, as its header says.
    assert senders.hear(told_by(3), "b") == 1 and not senders.changed
    now[0] += HEARD_S / 2
    assert senders.hear(told_by(1), "a") == 2
    now[0] += HEARD_S * 1.1
    assert senders.hear(told_by(1), "a") == 1


def test_one_that_comes_after_another_takes_its_place():
    now = [0.0]
    senders = Senders(lambda: now[0])
    for number in range(5):
        for _ in range(3):
            now[0] += 0.03
            assert senders.hear(told_by(number), "a") == 1


def test_senders_without_end_take_no_memory_and_a_middleware_without_identities_has_one():
    senders = Senders(lambda: 0.0)
    for number in range(200):
        senders.hear(told_by(number), "a")
    assert len(senders._heard) <= MAX_SENDERS
    assert [Senders().hear({}, "a"), Senders().hear({"publisher_gid": None}, "")] == [1, 1]
