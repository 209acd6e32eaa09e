# SPDX-License-Identifier: Apache-2.0
"""What others have named does nothing to the terminal that it is said on."""

import logging

import pytest
import torch

from robotseg_core import cli
from robotseg_core.storage.shown import LONGEST, ShownFormatter, shown


def test_nothing_is_left_that_a_terminal_obeys():
    assert shown("\x1b[31mred\r\x07\x9b2J\u202e\n\tplain é") == "?[31mred???2J?\n\tplain é"


def test_very_long_texts_keep_their_ends():
    text = shown("a" * 50_000 + "z")
    assert len(text) < LONGEST + 100 and text.startswith("a") and text.endswith("z") and "characters" in text


def test_lines_of_a_log_are_shown_so_too():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s", ("\x1b]0;title\x07",), None)
    assert ShownFormatter().format(record) == "?]0;title?"


@pytest.mark.parametrize("key", ["\x1b[2Jlinear.weight", "\x1b[2J" * 3000])
def test_names_in_a_file_of_weights_are_said_so(tmp_path, capfd, key):
    torch.save({key: torch.zeros(2)}, tmp_path / "w.pt")
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    assert cli.main(["segment", str(picture), "--weights", str(tmp_path / "w.pt"), "--out", str(tmp_path / "out")]) == 2
    said = capfd.readouterr().err
    assert "\x1b" not in said and "?[2J" in said
