# SPDX-License-Identifier: Apache-2.0
"""Freely written requests are asked where what they mean can be asked, and nowhere else."""

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
from language_sets import write_scene

from robotseg_core.evaluation.language.sets import RenderedSet
from robotseg_core.instruct.request import Request
from robotseg_core.instruct.small.text import MAX_WORDS, words_of
from robotseg_core.synth.requests.free import FreeRequest, choose_free, read_free
from robotseg_core.synth.requests.phrasings import FAMILIES, NOUNS, plural
from robotseg_core.synth.requests.programs import Asked


def asked(phrasing, kind, owner=None, **slots):
    return Asked(phrasing, phrasing, kind, (1,), slots=slots, owner=owner)


def test_a_text_fits_what_it_means():
    left = FreeRequest("arm on my left", "side", "arm", {"side": "left"})
    assert left.text_for(asked("side", "arm", side="left")) == "arm on my left"
    for other in (
        asked("side", "arm", side="right"),
        asked("side", "gripper", side="left"),
        asked("composition", "arm", "robot", side="left"),
        asked("order", "arm", side="left", rank="second"),
    ):
        assert left.text_for(other) is None


def test_stars_stand_for_any_words():
    near = FreeRequest("{thing}: who is near", "relation", "arm", {"thing": "*"})
    assert near.text_for(asked("relation", "arm", thing="red mug")) == "red mug: who is near"
    holds = FreeRequest("has the {thing}", "state", "arm", {"state": "holding the *"})
    assert holds.text_for(asked("state", "arm", state="holding the box")) == "has the box"
    assert holds.text_for(asked("state", "arm", state="open")) is None
    assert FreeRequest("spread", "state", "arm", {"state": "open"}).text_for(asked("state", "arm", state="open"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"phrasing": "nonsense"}, "'nonsense'.*must be of"),
        ({"kind": "mug"}, "'mug'"),
        ({"text": ""}, "0 characters"),
        ({"text": "x" * 201}, "201 characters, must have 1 to 200"),
        ({"text": "{side} arm"}, "braces"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_request_is_named(tmp_path, wrong, message):
    path = tmp_path / "free.jsonl"
    good = {"text": "a", "phrasing": "part", "kind": "arm"}
    path.write_text("# a comment\n\n" + json.dumps(good) + "\n" + json.dumps({**good, **wrong}) + "\n")
    with pytest.raises(ValueError, match=rf"line 4 is no free request: .*{message}"):
        read_free(path)


def test_they_are_matched_to_a_frame(tmp_path):
    write_scene(tmp_path, [(20, "orange", 0.9, "mug"), (220, "white", 0.1, None)], [(190, "box", "blue")])
    free = [
        FreeRequest("left one of the arms", "side", "arm", {"side": "left"}),
        FreeRequest("painted {colour}, that arm", "attribute", "arm", {"colour": "*"}),
        FreeRequest("third arm", "order", "arm", {"rank": "third", "side": "right"}),
        FreeRequest("who is at the {thing}", "relation", "arm", {"thing": "*"}),
        FreeRequest("robot no fingers", "without", "arm", {"left_out": "gripper"}, "robot"),
    ]
    questions = RenderedSet(tmp_path).asked("v", 0)
    found = choose_free(free, questions, "v", 0, each=40)
    said = {one.text: one for one in found}
    assert {one.split for one in found} == {"free"}
    assert said["left one of the arms"].target == (1,) and said["painted white, that arm"].target == (4,)
    assert said["who is at the box"].instances == ((4,),)
    # Two robots are in view: "the robot without its gripper" would not be clear, and so is not asked.
    assert "robot no fingers" not in said
    absent = Counter(bool(one.target) for one in found)
    assert absent[False] <= 0.2 * len(found)
    assert choose_free(free, questions, "v", 0, each=40) == found
    assert 1 <= len(choose_free(free, questions, "v", 0, each=2)) <= 2 and not choose_free([], questions, "v", 0)


FILE = Path(__file__).with_name("free_requests.jsonl")


def templated():
    """All that the generator can say, with the file's places for colours and things."""
    found = set()
    for family in FAMILIES.values():
        for template in (*family.known, *family.held_out):
            for x, y in itertools.product(NOUNS.values(), NOUNS.values()):
                for noun, owner in itertools.product((*x.known, *x.held_out), y.known):
                    for side, rank, size, state in itertools.product(
                        ("left", "right"), ("second", "third"), ("smaller", "larger"), ("open", "holding the {thing}")
                    ):
                        found.add(
                            template.format(
                                x=noun, xs=plural(noun), y=owner, ys=plural(owner), side=side, rank=rank, size=size,
                                state=state, colour="{colour}", thing="{thing}",
                            )
                        )  # fmt: skip
    return found


def test_the_written_ones_are_many_and_no_templates():
    free = read_free(FILE)
    assert len(free) >= 150 and len({one.text for one in free}) == len(free)
    assert {one.phrasing for one in free} == set(FAMILIES)
    assert not sorted({one.text.lower() for one in free} & templated())
    # None is cut by a policy that reads so many words at most, or refused.
    for one in free:
        assert Request.of(one.text).text == one.text and len(words_of(one.text)) < MAX_WORDS


def test_most_of_the_written_ones_are_asked_somewhere(tmp_path):
    arms = {"a": [(20, "orange", 0.9, "mug"), (220, "white", 0.1, None)], "b": [(40, "white", 0.5, None)]}
    arms["c"] = [(20, "red", 0.9, None), (130, "blue", 0.1, None), (240, "white", 0.9, None)]
    said = set()
    for video, robots in arms.items():
        write_scene(tmp_path, robots, [(190, "box", "blue")], video=video)
        questions = RenderedSet(tmp_path).asked(video, 0)
        said |= {one.phrasing for one in read_free(FILE) if any(one.text_for(asked) for asked in questions)}
    assert said >= set(FAMILIES) - {"size"}
