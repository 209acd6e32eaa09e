# SPDX-License-Identifier: Apache-2.0
"""The tables of the README against the code: parameters, launch arguments, commands, and the tests of the faults."""

import re
from pathlib import Path

import launch_file
import pytest
import yaml
from fake_model import FakeModel

from robotseg_core.cli import COMMANDS, FORWARDED
from robotseg_ros.run_node import NODES

ROOT = Path(__file__).resolve().parents[2]
README = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])


def table(header):
    """The rows below a header, as lists of cells."""
    lines = README[README.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().strip("|").split(" |")] for line in lines]


def test_parameters_of_the_node(start_segmenter):
    # The defaults, not what tests usually set.
    node = start_segmenter(FakeModel(), activate=False, max_age=0.2, stale_after=1.0)
    told = {row[0].strip("`"): row for row in table("| parameter | default | unit, range | live |")}
    told = {name: row for name, row in told.items() if "<" not in name}
    of_ros = ("use_sim_time", "start_type_description", "qos_overrides")
    ours = {name for name in node.get_parameters_by_prefix("") if not name.startswith(of_ros)}
    assert set(told) == ours
    for name, (_, default, _, live) in told.items():
        said = "" if default == "empty" else yaml.safe_load(default.split("`")[1] if "`" in default else default)
        assert node.get_parameter(name).value == said, name
        assert node.describe_parameter(name).read_only == (live != "live"), name


def test_launch_arguments():
    _, entities = launch_file.evaluate({}, {})
    told = [row[0].strip("`") for row in table("| launch argument | default | what |")]
    assert sorted(told) == sorted(e.name for e in entities if hasattr(e, "default_value"))


def test_commands():
    told = [row[0].strip("`").split()[1] for row in table("| command | what |")]
    assert sorted(told) == sorted([*COMMANDS, *FORWARDED])


@pytest.mark.parametrize("name", sorted(NODES))
def test_every_node_beside_the_segmenter_is_told_of(name):
    assert f"{name}.launch.py" in README


def file_of(name):
    """By its name alone: test files have names of their own."""
    found = [*(ROOT / "test").rglob(name.rsplit("/", 1)[-1] if name.endswith(".py") else f"test_{name}.py")]
    return found[0] if found else None


def test_faults_name_tests_that_there_are():
    """A cell is "file: first words; more words; other file": words without a file are of the file before."""
    checked = 0
    for row in table("| fault | what the node does | test |"):
        for piece in row[-1].split("; "):
            head, colon, words = piece.partition(": ")
            if colon or file_of(head):
                files = head.split(", ")
            else:
                words = piece
            for file in files:
                names = re.findall(r"def (test_\w+)", file_of(file).read_text())
                for part in words.split(", "):
                    wanted = [word for word in re.findall(r"[a-z0-9]+", part.lower()) if len(word) > 1]
                    assert any(all(word in name for word in wanted) for name in names), (file, part)
                    checked += 1
    assert checked > 25
