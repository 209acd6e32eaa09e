# SPDX-License-Identifier: Apache-2.0
"""The core works without ROS: no module of it imports rclpy, a message package or the node's package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

CORE = Path(__file__).resolve().parents[2] / "robotseg_core"
ROS = ("ament", "builtin_interfaces", "cv_bridge", "launch", "launch_ros", "rcl_interfaces", "rclpy", "robotseg_ros")

BLOCK = """
import importlib, importlib.abc, sys

class NoRos(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        assert not top.startswith({ros}) and not top.endswith(("_msgs", "_interfaces")), name + " is of ROS"

sys.meta_path.insert(0, NoRos())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("file", sorted(CORE.rglob("*.py")), ids=lambda file: str(file.relative_to(CORE)))
def test_no_module_names_ros(file):
    tops = {name.partition(".")[0] for name in imported(file)}
    assert not {top for top in tops if top in ROS or top.endswith("_msgs")}


def test_stream_and_commands_load_where_ros_is_not():
    names = [
        f"robotseg_core.{name}"
        for name in (
            "stream",
            "cli",
            "files.segment",
            "bench.command",
            "evaluation.command",
            "files.frames",
            "files.overlay",
        )
    ]
    subprocess.run([sys.executable, "-c", BLOCK.format(ros=ROS), *names], check=True, timeout=PATIENCE_S)
