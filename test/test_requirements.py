# SPDX-License-Identifier: Apache-2.0
"""Pins and the hashes recorded beside them."""

import re
from pathlib import Path

import pytest
from script_modules import script

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "constraints.txt").read_text()


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    """Name and version of each pin for Python 3.11."""
    found = {}
    for line in TEXT.splitlines():
        if line and not line.startswith("#") and '< "3.11"' not in line:
            name, version = line.partition(";")[0].strip().split("==")
            found[normal(name)] = version
    return found


def test_recorded_hashes_are_of_the_versions_that_are_pinned():
    locked = [line.split() for line in script("locked_requirements").locked(TEXT)]
    assert len(locked) == TEXT.count("\n#: ") and len({pin for pin, _ in locked}) == len(locked) > 150
    for pin, digest in locked:
        name, version = pin.split("==")
        assert pins().get(normal(name), version) == version, pin
        assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest)


def test_what_is_asked_for_has_a_hash():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    asked += [
        name for extra in ("dev", "synth", "train", "bag", "view", "docs", "lerobot", "ray") for name in extras[extra]
    ]
    names = {normal(line.partition("==")[0]) for line in script("locked_requirements").locked(TEXT)}
    for requirement in asked:
        name = normal(re.match(r"[A-Za-z0-9._-]+", requirement)[0])
        assert name in names, name


def test_no_address_of_a_registry_is_recorded():
    assert "://" not in TEXT and "file:" not in TEXT
