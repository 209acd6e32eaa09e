# SPDX-License-Identifier: Apache-2.0
"""The launch files of the nodes beside the segmenter, evaluated by the stand-in, against what the nodes declare."""

import importlib
import os
from pathlib import Path

import launch_file
import pytest
import yaml
from companion import Running

from robotseg_ros.common import fastdds
from robotseg_ros.run_node import NODES

ROOT = Path(__file__).resolve().parents[3]
# Not what a test may use: a fixed port, and a path that is empty where the shipped file is meant.
OWN = {"viewer": {"port": 0}, "safety_monitor": {"zones": ""}}


@pytest.fixture(params=sorted(NODES))
def name(request, monkeypatch):
    monkeypatch.setattr(launch_file, "FILE", ROOT / "launch" / f"{request.param}.launch.py")
    return request.param


def parameters_of(command):
    values = {}
    for flag, file in zip(command, command[1:], strict=False):
        if flag == "--params-file":
            values.update(yaml.safe_load(Path(file).read_text())["/**"]["ros__parameters"])
    return values


def test_launch_file_starts_the_node_with_values_that_it_has(name, context):
    launched, entities = launch_file.evaluate({}, {})
    assert (launched.package, launched.executable) == ("robotseg_ros", name)
    assert launched.command[:3] == ["--ros-args", "-r", f"__node:={name}"]
    assert launched.environment[fastdds.PROFILE_VARIABLE] == os.environ[fastdds.PROFILE_VARIABLE]
    assert all(len(e.description) > 10 for e in entities if hasattr(e, "default_value"))
    given = parameters_of(launched.command)
    if name == "viewer":
        pytest.importorskip("foxglove", reason="the viewer needs the extra 'view'")
    module, kind = NODES[name]
    running = Running(context, getattr(importlib.import_module(module), kind), **OWN.get(name, {}))
    try:
        declared = {parameter: running.node.get_parameter(parameter).value for parameter in given}
        assert declared == given | OWN.get(name, {})
        for parameter in running.node.get_parameters_by_prefix(""):
            if parameter != "use_sim_time" and not parameter.startswith("start_type_description"):
                assert parameter in given and len(running.node.describe_parameter(parameter).description) > 10
    finally:
        running.close()


def test_arguments_reach_the_node(name):
    first, *_ = [e.name for e in launch_file.evaluate({}, {})[1] if hasattr(e, "default_value")]
    launched, _ = launch_file.evaluate({first: "/there", "namespace": "left"}, {})
    assert parameters_of(launched.command)[first] == "/there" and "__ns:=/left" in launched.command


def test_every_node_has_executable_launch_file_and_parameters():
    for name in NODES:
        assert f'run("{name}")' in (ROOT / "scripts" / name).read_text()
        assert f"scripts/{name}" in (ROOT / "CMakeLists.txt").read_text()
        assert (ROOT / "config" / f"{name}.yaml").is_file()
