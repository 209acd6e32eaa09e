# SPDX-License-Identifier: Apache-2.0
"""Requests from scenes: who is meant, what is left out as a tie, what is absent, and what is held out."""

import re

import pytest
from language_sets import write_scene

from robotseg_core.synth.instances.files import read_ids_meta
from robotseg_core.synth.requests.generate import (
    read_requests,
    requests_of_frame,
    requests_of_set,
    write_requests,
)
from robotseg_core.synth.requests.phrasings import FAMILIES, HELD_OUT_COMPOSITIONS, NOUNS
from robotseg_core.synth.requests.programs import asked_of
from robotseg_core.synth.requests.scene import frame_scene


def asked(root, ids):
    video = read_ids_meta(root, "v")
    return asked_of(frame_scene(video, 0, ids), ids)


def those(found, phrasing, kind, **slots):
    return [a for a in found if (a.phrasing, a.kind, a.slots) == (phrasing, kind, slots)]


TWO = [(20, "orange", 0.9, "mug"), (220, "white", 0.1, None)]


def test_two_robots(tmp_path):
    found = asked(tmp_path, write_scene(tmp_path, TWO, [(190, "box", "blue")]))
    (left,) = those(found, "side", "gripper", side="left")
    assert (left.target, left.others, left.needs_language, left.family) == ((2,), (5,), True, "side")
    (white,) = those(found, "attribute", "arm", colour="white")
    assert white.target == (4,)
    (blue,) = those(found, "attribute", "arm", colour="blue")
    assert (blue.target, blue.family) == ((), "absence")
    (near,) = those(found, "relation", "robot", thing="box")
    assert near.target == (4, 5)
    (mug,) = those(found, "state", "gripper", state="holding the mug")
    assert mug.target == (2,)
    (opened,) = those(found, "state", "gripper", state="open")
    assert opened.target == (2,)
    (both,) = those(found, "number", "robot")
    assert (both.target, both.count) == ((1, 2, 4, 5), 2)
    (whose,) = those(found, "composition", "gripper", side="right")
    assert whose.target == (5,)
    (rest,) = those(found, "exclusion", "robot")
    assert rest.invert and rest.target == (1, 2, 4, 5)
    (third,) = those(found, "order", "robot", rank="third", side="left")
    assert third.target == ()
    ambiguous = [a for a in found if a.family == "ambiguity"]
    assert {(a.kind, a.target) for a in ambiguous} == {("robot", (1, 2, 4, 5)), ("gripper", (2, 5))}


def test_one_robot_is_on_one_side_and_absent_on_the_other(tmp_path):
    found = asked(tmp_path, write_scene(tmp_path, TWO[:1]))
    (left,), (right,) = (those(found, "side", "robot", side=s) for s in ("left", "right"))
    assert (left.target, right.target) == ((1, 2), ())
    (both,) = those(found, "number", "arm")
    assert both.family == "absence"
    (less,) = those(found, "without", "arm", left_out="gripper")
    assert (less.target, less.others) == ((1,), (2,))


def test_ties_are_left_out(tmp_path):
    robots = [(280, "white", None, None), (291, "white", None, None)]
    found = asked(tmp_path, write_scene(tmp_path, robots, width=600))
    assert not [a for a in found if a.phrasing in ("side", "order", "composition")]
    assert not those(found, "attribute", "robot", colour="white")
    alone = tmp_path / "alone"
    found = asked(alone, write_scene(alone, [(137, "white", None, None)]))
    assert not [a for a in found if a.phrasing == "side"]


def test_hardly_seen_parts_are_not_spoken_of(tmp_path):
    ids = write_scene(tmp_path, TWO)
    ids[ids == 5] = 0
    ids[60:65, 220:225] = 5
    found = asked(tmp_path, ids)
    assert not [a for a in found if a.kind == "gripper" and a.phrasing in ("part", "side", "number")]


def test_nothing_in_view_is_absence(tmp_path):
    found = asked(tmp_path, write_scene(tmp_path, [], [(100, "box", "blue")]))
    assert {a.family for a in found} == {"absence"} and not [a for a in found if a.target]


def test_requests_are_the_same_for_a_seed_and_held_out_by_construction(tmp_path):
    write_scene(tmp_path, TWO, [(190, "box", "blue")])
    many = [r for seed in range(60) for r in requests_of_frame(tmp_path, "v", 0, seed=seed, each=20)]
    assert requests_of_frame(tmp_path, "v", 0, seed=3) == requests_of_frame(tmp_path, "v", 0, seed=3)
    assert {r.split for r in many} == {"known", "phrasing", "composition"}
    held_nouns = {n for p in NOUNS.values() for n in p.held_out}
    for r in many:
        nouns = {n for n in held_nouns if re.search(rf"\b{n}s?\b", r.text)}
        if r.family == "composition":
            # "The left robot's arm" is the arm of the left robot, not that noun.
            nouns.discard("robot's arm")
        if r.split != "phrasing":
            assert not nouns, r.text
        if r.split == "known":
            for kind, word in HELD_OUT_COMPOSITIONS:
                assert r.kind != kind or word not in r.text.split()
        assert "{" not in r.text
        assert 0 < len(r.text) < 120
    for family, phrasings in FAMILIES.items():
        assert 10 <= len(phrasings.known + phrasings.held_out) <= 30, family
        assert not set(phrasings.known) & set(phrasings.held_out)
    absent = sum(not r.target for r in many) / len(many)
    assert 0.1 <= absent <= 0.2


def test_only_the_splits_that_are_wanted(tmp_path):
    write_scene(tmp_path, TWO)
    for split in ("known", "phrasing", "composition"):
        found = [r for s in range(9) for r in requests_of_frame(tmp_path, "v", 0, seed=s, each=20, splits=(split,))]
        assert {r.split for r in found} == {split}


def test_written_requests_are_read_again_and_damaged_ones_are_named(tmp_path):
    write_scene(tmp_path, TWO)
    found = list(requests_of_set(tmp_path))
    file = tmp_path / "requests.jsonl"
    assert write_requests(file, found) == len(found)
    assert read_requests(file) == found
    file.write_text(file.read_text() + '{"video": 1}\n')
    with pytest.raises(ValueError, match=f"line {len(found) + 1} is no request"):
        read_requests(file)


def test_a_set_without_maps_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no complete video with instance maps"):
        list(requests_of_set(tmp_path))
