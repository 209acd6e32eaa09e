# SPDX-License-Identifier: Apache-2.0
"""Requests are any bytes: cleaned or refused, and printed without a character that does something."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robotseg_core.instruct.request import MAX_BYTES, MAX_CHARACTERS, Request, RequestError


def test_blanks_and_control_characters_become_one_blank():
    assert Request.of("  the\tleft\r\n\x1b[31m arm\u202e ").text == "the left [31m arm"


def test_what_is_printed_is_escaped():
    assert str(Request.of("Größe\u0007")) == "'Gr\\xf6\\xdfe'"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "empty"),
        (" \n\x00", "empty"),
        ("x" * (MAX_CHARACTERS + 1), f"{MAX_CHARACTERS + 1} characters, must have at most {MAX_CHARACTERS}"),
        ("x" * 100000, f"100000 bytes, must have at most {MAX_BYTES}"),
    ],
)
def test_refused_with_value_and_limit(given, words):
    with pytest.raises(RequestError, match=words):
        Request.of(given)


@pytest.mark.parametrize("text", ["forget", "Forget it!", "STOP following."])
def test_words_that_end_the_following(text):
    assert Request.of(text).forgets
    assert not Request.of("the gripper").forgets


@given(st.binary(max_size=900) | st.text(max_size=300))
def test_any_bytes_are_cleaned_or_refused(given):
    try:
        request = Request.of(given)
    except RequestError:
        return
    assert 1 <= len(request.text) <= MAX_CHARACTERS
    assert request.text.isprintable() or "\ufffd" in request.text
    assert str(request).isascii() and str(request).isprintable()
