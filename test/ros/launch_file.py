# SPDX-License-Identifier: Apache-2.0
"""Evaluates launch/segment.launch.py with the stand-in: arguments in, command line and environment out.

``python launch_file.py EXECUTABLE name:=value ...`` starts it, as ``ros2 launch`` would start the node.
"""

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "launch" / "segment.launch.py"
STAND_IN = str(Path(__file__).resolve().parent / "launch_stand_in")


@dataclass(frozen=True)
class Launched:
    """What the launch file would start."""

    package: str
    executable: str
    command: list[str]
    environment: dict[str, str]


def evaluate(arguments, environment):
    sys.path.insert(0, STAND_IN)
    try:
        from launch import LaunchContext

        spec = importlib.util.spec_from_file_location("segment_launch", FILE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        context = LaunchContext(arguments, environment)
        entities = module.generate_launch_description().entities
        for entity in entities:
            entity.execute(context)
    finally:
        sys.path.remove(STAND_IN)
        stand_ins = [name for name in sys.modules if name.partition(".")[0] in ("launch", "launch_ros")]
        # It holds on to the stand-in, where the genuine packages may be meant next.
        for name in [*stand_ins, "robotseg_ros.common.launching"]:
            del sys.modules[name]
    assert not context.given, f"unknown arguments {sorted(context.given)}"
    (node,) = (entity for entity in entities if hasattr(entity, "command"))
    return Launched(node.package, node.executable, node.command, context.environment), entities


if __name__ == "__main__":
    launched, _ = evaluate(dict(argument.split(":=", 1) for argument in sys.argv[2:]), os.environ)
    os.execve(sys.executable, [sys.executable, sys.argv[1], *launched.command], launched.environment)
