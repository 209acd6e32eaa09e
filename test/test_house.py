# SPDX-License-Identifier: Apache-2.0
"""The house keeps its plan: imports run downwards, between files and between rooms, and no room grows without end."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("robotseg_core", "robotseg_ros")
MOST_FILES = 16
"""In a room, its __init__.py left out."""


def modules():
    """Files of both packages by dotted name; messages are generated and left out."""
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            if not {"msg", "srv"} & set(file.parts):
                name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = file
    return found


def imports(name, file, known):
    """The modules of ours that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                for wanted in (f"{node.module}.{alias.name}", node.module):
                    if wanted in known and wanted != name:
                        yield wanted
                        break
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known and alias.name != name)


def room(name, known):
    """The folder below the package that a module lies in; files beside the rooms stand for themselves."""
    parts = name.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 or known[name].name == "__init__.py" else name


KNOWN = modules()
GRAPH = {name: set(imports(name, file, KNOWN)) for name, file in KNOWN.items()}


def in_order(graph):
    try:
        return list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"import each other: {' -> '.join(error.args[1])}")


def test_no_files_import_each_other():
    assert len(in_order(GRAPH)) == len(KNOWN)


def test_no_rooms_import_each_other():
    rooms = {}
    for name, wanted in GRAPH.items():
        own = room(name, KNOWN)
        rooms.setdefault(own, set()).update(other for other in (room(w, KNOWN) for w in wanted) if other != own)
    in_order(rooms)


def test_core_imports_nothing_of_the_nodes():
    above = {name: wanted for name, wanted in GRAPH.items() if name.startswith("robotseg_core")}
    assert not {(a, b) for a, wanted in above.items() for b in wanted if b.startswith("robotseg_ros")}


@pytest.mark.parametrize(
    "folder", sorted({file.parent for file in KNOWN.values()}), ids=lambda f: str(f.relative_to(ROOT))
)
def test_rooms_stay_small_and_say_what_they_are_for(folder):
    files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    assert len(files) <= MOST_FILES
    if folder.parent != ROOT or folder.name == "robotseg_core":
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
