# SPDX-License-Identifier: Apache-2.0
"""The launch files of the nodes beside the segmenter, evaluated by the stand-in, against what the nodes declare."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import launch_file
import pytest
import yaml
from companion import Running

from robotseg_ros.common import fastdds
from robotseg_ros.run_node import NODES

ROOT = Path(__file__).resolve().parents[3]
# Not what a test may use: a fixed port.
OWN = {"viewer": {"port": 0}}


@pytest.fixture(params=sorted(NODES))
def name(request, monkeypatch):
    monkeypatch.setattr(launch_file, "FILE", ROOT / "launch" / f"{request.param}.launch.py")
    return request.param


def test_launch_file_has_the_parameters_of_its_node(name, context):
    launched, _ = launch_file.evaluate({}, {})
    assert (launched.package, launched.executable) == ("robotseg_ros", name)
    assert launched.command == ["--ros-args", "-r", f"__node:={name}"]
    assert launched.environment[fastdds.PROFILE_VARIABLE] == os.environ[fastdds.PROFILE_VARIABLE]
    arguments = launch_file.arguments_of_node()
    in_file = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())["/**"]["ros__parameters"]
    if name == "viewer":
        pytest.importorskip("foxglove", reason="the viewer needs the extra 'view'")
    module, kind = NODES[name]
    running = Running(context, getattr(importlib.import_module(module), kind), **OWN.get(name, {}))
    try:
        declared = {
            parameter: running.node.get_parameter(parameter).value
            for parameter in running.node.get_parameters_by_prefix("")
            if not parameter.startswith(("use_sim_time", "start_type_description", "qos_overrides."))
        }
        own = OWN.get(name, {})
        assert {a.name: a.default for a in arguments.values()} | own == declared
        assert declared == declared | in_file | own
        assert all(len(running.node.describe_parameter(parameter).description) > 10 for parameter in declared)
    finally:
        running.close()


def test_arguments_reach_the_node(name):
    first = next(iter(launch_file.arguments_of_node()))
    launched, _ = launch_file.evaluate({first: "/there", "namespace": "left", "use_sim_time": "true"}, {})
    values, _ = launch_file.parameters_of(launched.command)
    assert values == {first: "/there", "use_sim_time": True} and "__ns:=/left" in launched.command


def test_every_node_has_executable_launch_file_and_parameters():
    for name in NODES:
        assert f'run("{name}")' in (ROOT / "scripts" / name).read_text()
        assert f"scripts/{name}" in (ROOT / "CMakeLists.txt").read_text()
        assert (ROOT / "config" / f"{name}.yaml").is_file()


def test_nodes_beside_the_segmenter_start_without_pytorch():
    names = ", ".join(f"robotseg_ros.companions.{name}" for name in ("self_filter", "servo", "safety_monitor"))
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
