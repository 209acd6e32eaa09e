# SPDX-License-Identifier: Apache-2.0
"""Writes tables of the papers from the code, so that both have one source: ``make tables``.

Those of parameters come from what the nodes declare, that of the rooms from the docstrings of the packages and from
what their files import.  A table stands between ``<!-- parameters of NODE -->`` or ``<!-- rooms -->`` and
``<!-- end -->``.  With ``--check`` nothing is written, and the exit status is 1 where a table is not as it should be.
"""

from __future__ import annotations

import ast
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robotseg_ros.companions.safety_monitor import MonitorOptions
from robotseg_ros.companions.self_filter import SelfFilterOptions
from robotseg_ros.companions.servo import ServoOptions
from robotseg_ros.segmenter.parameters.declared import Parameters

ROOT = Path(__file__).resolve().parents[1]
LIVE = "Can be changed at any time."


def _viewer(node: Node) -> object:
    # Only where the extra "view" is installed.
    from robotseg_ros.companions.viewer import ViewerOptions

    return ViewerOptions.declare(node)


TABLES: dict[str, tuple[str, Callable[[Node], object]]] = {
    "robotseg": ("docs/parameters.md", Parameters),
    "self_filter": ("docs/self-filter.md", SelfFilterOptions.declare),
    "servo": ("docs/servoing.md", ServoOptions.declare),
    "safety_monitor": ("docs/safety-monitor.md", MonitorOptions.declare),
    "viewer": ("docs/viewing.md", _viewer),
}
"""Page and declaration of each node."""


def _default(value: Any) -> str:
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, str) else str(value).replace("['']", "none")


def _plain(text: str) -> str:
    """What is neither HTML nor the end of a cell to Markdown."""
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("|", "/")


def _range(descriptor: ParameterDescriptor) -> str:
    if descriptor.floating_point_range:
        limits = descriptor.floating_point_range[0]
        return f"{limits.from_value:g} to {limits.to_value:g}"
    if descriptor.integer_range:
        limits = descriptor.integer_range[0]
        return f"{limits.from_value} to {limits.to_value}" + (f", step {limits.step}" if limits.step > 1 else "")
    return str(descriptor.additional_constraints)


def table(name: str) -> str:
    """The table of a node in Markdown, a row for each parameter in the order in which they are declared."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=random.SystemRandom().randrange(1, 100))
    try:
        node = Node(name, context=context, enable_rosout=False, start_parameter_services=False)
        ours = set(node.get_parameters_by_prefix(""))
        TABLES[name][1](node)
        rows = ["| parameter | default | what | range | live |", "|---|---|---|---|---|"]
        for parameter, value in node.get_parameters_by_prefix("").items():
            if parameter in ours:
                continue
            descriptor = node.describe_parameter(parameter)
            what = descriptor.description.replace(LIVE, "").replace("; can be changed at any time.", ".").strip()
            live = "" if descriptor.read_only else "live"
            cells = (f"`{parameter}`", _default(value.value), _plain(what), _plain(_range(descriptor)), live)
            rows.append("".join(f"| {cell} " if cell else "| " for cell in cells) + "|")
        node.destroy_node()
    finally:
        context.try_shutdown()
    return "\n".join(rows)


def rooms() -> str:
    """The table of the rooms in Markdown: what each is for, and which other rooms its files import."""
    rows = ["| room | what | imports |", "|---|---|---|"]
    for top in ("robotseg_core", "robotseg_ros"):
        for package in sorted(
            path.parent for path in (ROOT / top).glob("*/__init__.py") if path.parent.name not in ("msg", "srv")
        ):
            said = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
            what = " ".join(said.split("\n\n")[0].split()).replace("``", "`")
            found = set()
            for file in package.rglob("*.py"):
                found |= set(re.findall(r"^\s*(?:from|import) (robotseg_\w+)\.(\w+)", file.read_text(), re.MULTILINE))
            others = sorted(name for name in found if (ROOT / name[0] / name[1] / "__init__.py").is_file())
            names = [
                f"`{room if other == top else f'{other}/{room}'}`"
                for other, room in others
                if (other, room) not in ((top, package.name), (top, "msg"), (top, "srv"))
            ]
            rows.append(f"| `{top}/{package.name}/` | {_plain(what)} | {', '.join(names) or 'no other room'} |")
    return "\n".join(rows)


def put(text: str, name: str, rows: str) -> str:
    """``text`` with a table replaced.

    Raises:
        ValueError: the text has no place for it.
    """
    before, found, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not found or not end:
        raise ValueError(f"no place for {name}")
    return f"{before}{found}\n{rows}\n\n{end}{after}"


def main(check: bool) -> int:
    """Write the tables, or say which are not as the code has them."""
    tables = {f"parameters of {name}": (page, table(name)) for name, (page, _) in TABLES.items()}
    tables["rooms"] = ("ARCHITECTURE.md", rooms())
    wrong = []
    for name, (page, rows) in tables.items():
        path = ROOT / page
        text = path.read_text()
        new = put(text, name, rows)
        if new != text:
            wrong.append(page)
            if not check:
                path.write_text(new)
    if wrong and check:
        print(f"not as the code has it: {', '.join(wrong)}; run `make tables`", file=sys.stderr)
    return int(bool(wrong) and check)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
