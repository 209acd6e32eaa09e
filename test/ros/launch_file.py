# SPDX-License-Identifier: Apache-2.0
"""Evaluates launch/segment.launch.py with the stand-in: arguments in, command line and environment out.

``python launch_file.py EXECUTABLE name:=value ...`` starts it, as ``ros2 launch`` would start the node.
"""

import importlib.util
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

FILE = Path(__file__).resolve().parents[2] / "launch" / "segment.launch.py"
STAND_IN = str(Path(__file__).resolve().parent / "launch_stand_in")


@dataclass(frozen=True)
class Launched:
    """What the launch file would start."""

    package: str
    executable: str
    command: list[str]
    environment: dict[str, str]
    respawn: bool


@contextmanager
def loaded():
    """The launch file as a module, with the stand-in in the place of launch and launch_ros."""
    sys.path.insert(0, STAND_IN)
    try:
        spec = importlib.util.spec_from_file_location("segment_launch", FILE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(STAND_IN)
        stand_ins = [name for name in sys.modules if name.partition(".")[0] in ("launch", "launch_ros")]
        # It holds on to the stand-in, where the genuine packages may be meant next.
        for name in [*stand_ins, "robotseg_ros.common.launching"]:
            del sys.modules[name]


def arguments_of_node():
    """The arguments that set parameters of its node, by name."""
    with loaded() as module:
        return {argument.name: argument for argument in module.ARGUMENTS}


def parameters_of(command):
    """What a command line sets: values of its -p and files, later ones over earlier ones, and those of files alone."""
    values, of_files = {}, {}
    for option, word in zip(command, command[1:], strict=False):
        if option == "-p":
            name, _, text = word.partition(":=")
            values[name] = yaml.safe_load(text)
        elif option == "--params-file":
            of_files.update(yaml.safe_load(Path(word).read_text())["/**"]["ros__parameters"])
            values.update(of_files)
    return values, of_files


def evaluate(arguments, environment):
    with loaded() as module:
        from launch import LaunchContext

        context = LaunchContext(arguments, environment)
        entities = module.generate_launch_description().entities
        for entity in entities:
            entity.execute(context)
    assert not context.given, f"unknown arguments {sorted(context.given)}"
    (node,) = (entity for entity in entities[-1].entities if hasattr(entity, "command"))
    return Launched(node.package, node.executable, node.command, context.environment, node.respawn), entities


if __name__ == "__main__":
    launched, _ = evaluate(dict(argument.split(":=", 1) for argument in sys.argv[2:]), os.environ)
    os.execve(sys.executable, [sys.executable, sys.argv[1], *launched.command], launched.environment)
