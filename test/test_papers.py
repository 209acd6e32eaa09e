# SPDX-License-Identifier: Apache-2.0
"""What README, docs/ and the other papers name is there: files, links, commands and their options, sections of SPEC."""

import argparse
import functools
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from robotseg_core import cli

ROOT = Path(__file__).resolve().parents[1]
CARRIED = ("specification.md", "seg-r1.md")
"""Written elsewhere and carried over as they are: they name files of others."""
PAPERS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")})
    if path.name not in CARRIED
} | {name: (ROOT / name).read_text() for name in ("models/README.md", "demo/README.md", "CHANGELOG.rst")}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = "cmake|config|demo|docs|examples|launch|models|msg|srv|robotseg_core|robotseg_ros|scripts|test"
PATH = re.compile(rf"(?<![\w/.~-])(?:{FOLDERS})/[\w./-]*\w")
MADE_BY_SETUP = ("robotseg_ros/msg", "robotseg_ros/srv")
MOST_LINES, MOST_WORDS, MOST_KB = 250, 1800, 200
FIRST_SCREEN = 20
"""Lines."""


def code_of(text):
    """Lines of code, in fences and in words, joined where they go on, without their comments."""
    fences = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = [
        " ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    ]
    lines = [line for fence in fences for line in fence.replace("\\\n", " ").splitlines()]
    return [re.sub(r"\s#( .*)?$", "", line) for line in [*lines, *spans]]


def anchors_of(text):
    """Of every heading, as GitHub makes them."""
    headings = re.findall(r"^#{1,6} (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_readme_is_short_and_shows_masks_first():
    text = PAPERS["README.md"]
    assert len(text.splitlines()) <= MOST_LINES
    assert len(text.split()) <= MOST_WORDS
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", "\n".join(text.splitlines()[:FIRST_SCREEN]))
    assert 20 < (ROOT / picture).stat().st_size / 1e3 < MOST_KB


@pytest.mark.parametrize("name", PAPERS)
def test_links_lead_somewhere(name):
    for target in LINK.findall(PAPERS[name]):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors_of(file.read_text()), f"{name} links to {target}"


@pytest.mark.parametrize("name", PAPERS)
def test_files_that_are_named_are_there(name):
    for line in code_of(PAPERS[name]):
        for path in PATH.findall(line):
            known = (ROOT / path).exists() or path.startswith(MADE_BY_SETUP)
            # A folder of the user's, or a name with a pattern in it.
            assert known or re.search(rf"{re.escape(path)}[^\s]*[*<%|]", line), f"{name} names {path}"


def test_architecture_names_every_box_and_no_file_that_is_not_there():
    text = PAPERS["ARCHITECTURE.md"]
    files = {path.name for path in ROOT.rglob("*.py") if not {".venv", "build", "msg", "srv"} & set(path.parts)}
    named = {Path(match).name for match in re.findall(r"[\w/]+\.py\b", text)}
    assert named <= files
    boxes = {path.name for path in (ROOT / "robotseg_core" / "model").glob("*.py")} - {"__init__.py"}
    assert boxes <= named
    rooms = {path.parent.name for path in ROOT.glob("robotseg_*/*/__init__.py")} - {"msg", "srv"}
    assert {room for room in rooms if f"{room}/" not in text} == set()


@functools.cache
def options_of(command, node):
    """The options that a command knows; ``node``: those of ``robotseg bench --node``."""
    if command in cli.FORWARDED:
        told = subprocess.run(
            [sys.executable, "-m", "robotseg_core.cli", command, "--help"], capture_output=True, text=True, cwd=ROOT
        ).stdout
        return set(re.findall(r"--[\w-]+", told))
    parser = argparse.ArgumentParser()
    try:
        importlib.import_module(cli.NODE_BENCH if node else cli.COMMANDS[command][0]).add_arguments(parser)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed here")
    return {option for action in parser._actions for option in action.option_strings}


def commands_in(text):
    """(command, its line) wherever ``robotseg COMMAND`` is written."""
    for line in code_of(text):
        for piece in re.split(r"&&|;| \| ", line):
            found = re.match(r"(?:\S*bin/|ros2 run robotseg_ros )?robotseg ([a-z][\w-]*)((?:\s.*)?)$", piece.strip())
            if found:
                yield found[1], found[2]


@pytest.mark.parametrize("name", PAPERS)
def test_commands_and_options_exist(name):
    for command, rest in commands_in(PAPERS[name]):
        assert command in cli.COMMANDS or command in cli.FORWARDED, f"{name}: robotseg {command}"
        wanted = {word.partition("=")[0] for word in rest.split() if re.fullmatch(r"--[a-z][\w-]*(=.*)?", word)}
        if wanted:
            assert wanted <= options_of(command, command == "bench" and "--node" in wanted), (
                f"{name}: robotseg {command}{rest}"
            )


@pytest.mark.parametrize("name", PAPERS)
def test_targets_modules_and_scripts_exist(name):
    targets = re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in code_of(PAPERS[name]):
        for target in re.findall(r"^make (?:[A-Z]+=\S+ )*([a-z][\w-]*)", line.strip()):
            assert target in targets, f"{name}: make {target}"
        for module in re.findall(r"-m ((?:robotseg_core|robotseg_ros)[\w.]*)", line):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), f"{name}: {module}"
        for script in re.findall(r"ros2 run robotseg_ros (\w+)", line):
            assert (ROOT / "scripts" / script).is_file(), f"{name}: ros2 run robotseg_ros {script}"
        for script in re.findall(r"python3? ((?:examples|scripts|test)/\S+\.py)", line):
            assert (ROOT / script).is_file(), f"{name}: {script}"


def test_commands_are_all_told_of():
    rows = re.findall(r"^\| `robotseg ([\w-]+)", PAPERS["docs/commands.md"], re.MULTILINE)
    assert sorted(rows) == sorted([*cli.COMMANDS, *cli.FORWARDED])


def test_sections_of_the_specification_that_the_code_cites_exist():
    text = (ROOT / "docs" / "specification.md").read_text()
    sections = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)", text, re.MULTILINE))
    cited = {}
    for path in [*ROOT.glob("robotseg_*/**/*.py"), *ROOT.glob("test/**/*.py")]:
        for run in re.findall(r"SPEC ((?:\d+(?:\.\d+)?(?:, )?)+)", path.read_text()):
            cited |= {number: path.name for number in re.findall(r"\d+(?:\.\d+)?", run)}
    assert len(cited) > 20
    assert set(cited) <= sections, {number: file for number, file in cited.items() if number not in sections}


def test_papers_begin_with_their_licence():
    for name, text in PAPERS.items():
        assert "SPDX-License-Identifier: Apache-2.0" in text.splitlines()[0], name


def test_code_in_shell_blocks_is_shell():
    """No quote is left open: what is copied out of a page runs as it stands."""
    for name, text in PAPERS.items():
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                try:
                    shlex.split(line, comments=True)
                except ValueError as error:
                    pytest.fail(f"{name}: {line}: {error}")


def test_the_pages_build_and_every_link_of_theirs_holds(tmp_path):
    pytest.importorskip("mkdocs", reason="pages need the extra 'docs'")
    pytest.importorskip("mkdocstrings", reason="pages need the extra 'docs'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "RobotSeg.load" in (tmp_path / "site" / "api" / "robotseg_core.stream.html").read_text()
