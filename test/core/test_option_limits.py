# SPDX-License-Identifier: Apache-2.0
"""A number that an option takes has limits, and is looked at before anything else is done."""

import argparse
import importlib

import pytest

from robotseg_core import cli
from robotseg_core.model_arguments import add_model_arguments
from robotseg_core.option_limits import check_option

# How long and how fast a training goes is its user's affair.
OTHERS = [name for name, (path, _) in cli.COMMANDS.items() if not path.startswith("robotseg_core.train.")]


def parser_of(words):
    """The parser of a command, as :mod:`robotseg_core.cli` makes it."""
    name = words.split()[0]
    path = cli.NODE_BENCH if words == "bench --node" else {**cli.COMMANDS, **cli.FORWARDED}[name][0]
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        pytest.skip(f"{words} needs {error.name}")
    if name in cli.FORWARDED:
        return module.build_parser()
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser


def numbers(parser):
    """Options of a parser that take numbers."""
    return [action for action in parser._actions if action.type in (int, float)]


def needed(parser):
    """The least that a command line must have, with names of files that are not there."""
    required = [action for action in parser._actions if action.required and action.nargs != 0]
    required += [group._group_actions[0] for group in parser._mutually_exclusive_groups if group.required]
    words = []
    for action in sorted(required, key=lambda action: bool(action.option_strings)):
        words += action.option_strings[:1] + [str(next(iter(action.choices or ["not_here/any.urdf"])))]
    return words


def refused(command, option, count, kind, capsys):
    for value in ["9" * 30, "-" + "9" * 12] + ["nan"] * (kind is float):
        try:
            status = cli.main([*command, *([f"{option}={value}"] if count == 1 else [option, *[value] * count])])
        except SystemExit as ended:
            status = ended.code
        said = capsys.readouterr().err.splitlines()[-1]
        assert status == 2 and f"{option} is {kind(value)}, must be " in said


@pytest.mark.parametrize("words", [*OTHERS, "bench --node", "synth"])
def test_a_number_out_of_range_is_named(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = argparse.ArgumentParser()
    add_model_arguments(model)
    # Refused where the model is loaded, whoever asks.
    known = {(action.dest, action.help) for action in numbers(model)}
    parser = parser_of(words)
    for action in numbers(parser):
        if (action.dest, action.help) not in known:
            command = [*words.split(), *needed(parser)]
            refused(command, action.option_strings[0], action.nargs or 1, action.type, capsys)
    assert not list(tmp_path.iterdir())


def test_the_seed_of_parity_has_limits(capsys):
    refused(["parity", "--inputs", "none.npz", "--goldens", "none.npz"], "--weights-seed", 1, int, capsys)


def test_both_ends_are_in_range_and_nothing_is_no_number():
    for value in (None, 1, 2, 3):
        check_option("--frames", value, 1, 3)
    for value in (0, 4, float("nan")):
        with pytest.raises(ValueError, match=rf"--frames is {value}, must be 1 to 3"):
            check_option("--frames", value, 1, 3)
