# SPDX-License-Identifier: Apache-2.0
"""The launch file: evaluated by a stand-in everywhere, by the genuine packages where they are installed."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import launch_file
import pytest
import yaml
from fake_model import robot_picture
from ros_client import Client, wait_until
from sensor_msgs.msg import Image

from robotseg_ros.common import shipped

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parents[1]
DEFAULTS = {
    "camera": "/camera/image_raw",
    "preset": "nano",
    "device": "auto",
    "params_file": str(ROOT / "config" / "robotseg.yaml"),
    "namespace": "",
    "autostart": "true",
}


def parameters_of(command):
    """All parameters that a command line gives, later files over earlier ones."""
    values = {}
    for flag, file in zip(command, command[1:], strict=False):
        if flag == "--params-file":
            values.update(yaml.safe_load(Path(file).read_text())["/**"]["ros__parameters"])
    return values


def test_arguments_have_defaults_and_descriptions():
    launched, entities = launch_file.evaluate({}, {})
    arguments = {e.name: e for e in entities if hasattr(e, "default_value")}
    assert {name: argument.default_value for name, argument in arguments.items()} == DEFAULTS
    assert all(len(argument.description) > 10 for argument in arguments.values())
    assert (launched.package, launched.executable) == ("robotseg_ros", "segmenter")
    assert launched.command[:3] == ["--ros-args", "-r", "__node:=robotseg"]
    assert not any(word.startswith("__ns:=") for word in launched.command)
    given = parameters_of(launched.command)
    assert given["camera"] == "/camera/image_raw" and given["autostart"] is True and given["masked_image"] == "keep"


def test_arguments_reach_the_node():
    given = {"camera": "/wrist/image_raw", "device": "cpu", "namespace": "left", "autostart": "false"}
    launched, _ = launch_file.evaluate(given, {})
    assert "__ns:=/left" in launched.command
    parameters = parameters_of(launched.command)
    assert (parameters["camera"], parameters["device"], parameters["autostart"]) == ("/wrist/image_raw", "cpu", False)


def test_profile_is_the_shipped_one_unless_the_user_has_set_another():
    launched, _ = launch_file.evaluate({}, {})
    assert launched.environment[shipped.PROFILE_VARIABLE] == str(ROOT / "config" / "fastdds_profile.xml")
    launched, _ = launch_file.evaluate({}, {shipped.PROFILE_VARIABLE: "/mine.xml"})
    assert launched.environment[shipped.PROFILE_VARIABLE] == "/mine.xml"


def test_parameter_file_names_only_parameters_that_the_node_has(start_segmenter):
    from fake_model import FakeModel

    defaults = {"max_age": 0.2, "stale_after": 1.0}
    node = start_segmenter(FakeModel(), activate=False, **defaults)
    in_file = yaml.safe_load((ROOT / "config" / "robotseg.yaml").read_text())["/**"]["ros__parameters"]
    assert {name: node.get_parameter(name).value for name in in_file} == in_file


def test_rviz_shows_every_picture_that_is_published_and_publishes_clicks(start_segmenter):
    from fake_model import FakeModel

    manager = yaml.safe_load((ROOT / "config" / "robotseg.rviz").read_text())["Visualization Manager"]
    shown = [display["Topic"]["Value"] for display in manager["Displays"]]
    node = start_segmenter(FakeModel())
    published = {publisher.topic_name for publisher in node.publishers if publisher.msg_type is Image}
    assert set(shown) == published | {"/camera/image_raw"} and len(published) == 7
    assert [tool["Topic"]["Value"] for tool in manager["Tools"] if "Topic" in tool] == ["/clicked_point"]


def test_launched_node_starts_by_itself_and_ends_on_sigint(context, tmp_path):
    """The command line of the launch file, with the fake model behind the real executable's main."""
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("/**: {ros__parameters: {max_age: 0.0}}")
    command = [
        sys.executable,
        str(HERE / "launch_file.py"),
        str(HERE / "fake_segmenter.py"),
        "camera:=/wrist/image_raw",
        f"params_file:={parameters}",
    ]
    process = subprocess.Popen(command, env=dict(os.environ), start_new_session=True)
    client = Client(context, camera="/wrist/image_raw")
    try:
        client.listen("gripper_mask")
        client.wait_for_camera_subscriber()
        client.send_until(robot_picture(), 1_000_000_000, "gripper_mask", 3)
        process.send_signal(signal.SIGINT)
        # It takes 0.2 s on an idle machine and should never take 2; the rest is for busy machines.
        assert process.wait(10.0) == 0
        wait_until(lambda: client.node.count_publishers("/robotseg/gripper_mask") == 0, "the topic gone")
    finally:
        client.close()
        process.kill()
        process.wait()


def test_installed_executable_fails_clearly_when_the_model_cannot_be_loaded(domain_id):
    executable = Path(sys.prefix) / "lib" / "robotseg_ros" / "segmenter"
    if not executable.is_file():
        pytest.skip(f"{executable} is not installed: this is not the environment of `make setup`")
    arguments = ["--ros-args", "-p", "autostart:=true", "-p", "weights:=/nowhere/nano.safetensors"]
    done = subprocess.run([sys.executable, executable, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "cannot configure" in done.stderr and "/nowhere/nano.safetensors" in done.stderr


def test_genuine_launch_evaluates_the_file():
    pytest.importorskip("launch_ros", reason="launch_ros is in no Python registry; a ROS workspace has it")
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument

    spec = importlib.util.spec_from_file_location("segment_launch", launch_file.FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    description = module.generate_launch_description()
    for entity in description.entities[:-1]:
        entity.visit(context)
    names = {e.name for e in description.entities if isinstance(e, DeclareLaunchArgument)}
    assert names == set(DEFAULTS)
    assert context.launch_configurations["camera"] == "/camera/image_raw"


def test_sigint_breaks_off_the_loading_of_a_model(domain_id, tmp_path):
    loading = tmp_path / "loading"
    code = (
        "import pathlib, signal, sys, time; from robotseg_ros.run_segmenter import main; "
        # A test run in the background ignores SIGINT, and its children would as well.
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"sys.exit(main(lambda options: (pathlib.Path({str(loading)!r}).touch(), time.sleep(300))))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, "--ros-args", "-p", "autostart:=true"])
    try:
        wait_until(loading.exists, "the model being loaded")
        process.send_signal(signal.SIGINT)
        assert process.wait(30.0) == 0
    finally:
        process.kill()
        process.wait()
