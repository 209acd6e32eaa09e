# SPDX-License-Identifier: Apache-2.0
"""Items and their partners by stamp: exact, nearest, late, never, and a time that starts anew."""

import random

from robotseg_core.geometry.stamp_match import StampMatcher

MS = 1_000_000


def matcher(slop=5 * MS, patience=0.5, depth=8):
    return StampMatcher(slop=slop, patience=patience, depth=depth)


def pairs(matches):
    return [(match.item, match.partner) for match in matches]


def test_item_waits_for_the_partner_of_its_stamp():
    join = matcher()
    assert pairs(join.put_item(100 * MS, "a", 0.0)) == []
    assert pairs(join.put_partner(100 * MS, "A", 0.1)) == [("a", "A")]
    assert len(join) == 0


def test_partner_that_is_here_already_is_taken_at_once():
    join = matcher()
    list(join.put_partner(100 * MS, "A", 0.0))
    assert pairs(join.put_item(100 * MS, "a", 0.1)) == [("a", "A")]


def test_items_between_partners_get_none_as_soon_as_that_is_certain():
    join = matcher()
    for number in range(4):
        assert pairs(join.put_item(33 * number * MS, number, 0.0)) == []
    # The partner of 0 and then that of 99 ms: the two between cannot get one any more.
    assert pairs(join.put_partner(0, "A", 0.1)) == [(0, "A")]
    assert pairs(join.put_partner(99 * MS, "D", 0.1)) == [(1, None), (2, None), (3, "D")]


def test_nearest_within_slop_and_none_beyond():
    join = matcher(slop=5 * MS)
    list(join.put_partner(96 * MS, "A", 0.0))
    list(join.put_partner(103 * MS, "B", 0.0))
    assert pairs(join.put_item(100 * MS, "a", 0.0)) == [("a", "B")]
    list(join.put_partner(150 * MS, "C", 0.0))
    assert pairs(join.put_item(140 * MS, "b", 0.0)) == [("b", None)]


def test_nobody_waits_longer_than_patience():
    join = matcher(patience=0.5)
    list(join.put_item(100 * MS, "a", 10.0))
    assert pairs(join.decide(10.4)) == []
    assert pairs(join.decide(10.5)) == [("a", None)]


def test_memory_is_bounded_and_every_item_comes_out_once_in_order():
    join = matcher(depth=8, patience=1e9)
    out = []
    for number in range(1000):
        out += pairs(join.put_item(number * MS * 33, number, 0.0))
        assert len(join) <= 8
    out += pairs(join.flush())
    assert [item for item, _ in out] == list(range(1000))


def test_bag_that_starts_again_is_followed():
    for first in ("item", "partner"):
        join = matcher()
        for stamp in (1000, 1100, 1200):
            list(join.put_item(stamp * MS, stamp, 0.0))
            list(join.put_partner(stamp * MS, -stamp, 0.0))
        out = []
        for stamp in (0, 100, 200, 300):
            steps = [(join.put_item, stamp), (join.put_partner, -stamp)]
            for put, what in steps if first == "item" else steps[::-1]:
                out += pairs(put(stamp * MS, what, 0.0))
        assert out[-3:] == [(100, -100), (200, -200), (300, -300)], first


def test_random_arrival_never_pairs_beyond_slop_and_loses_nothing():
    rng = random.Random(0)
    for _ in range(200):
        join = matcher(slop=4 * MS, patience=1e9, depth=64)
        events = [(s * 10 * MS, "item") for s in range(20)] + [
            (s * 10 * MS + rng.randint(-6, 6) * MS, "partner") for s in range(20) if rng.random() < 0.6
        ]
        # Partners are up to 100 ms late, each stream in its own order.
        late = rng.randint(0, 100) * MS
        events.sort(key=lambda e: e[0] + (late if e[1] == "partner" else 0))
        out = []
        for stamp, kind in events:
            out += list((join.put_item if kind == "item" else join.put_partner)(stamp, stamp, 0.0))
        out += list(join.flush())
        assert [match.item for match in out] == [s * 10 * MS for s in range(20)]
        assert all(abs(m.partner - m.stamp) <= 4 * MS for m in out if m.partner is not None)
