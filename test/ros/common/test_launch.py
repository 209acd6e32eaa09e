# SPDX-License-Identifier: Apache-2.0
"""The launch file: evaluated by a stand-in everywhere, by the genuine packages where they are installed."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import launch_file
import pytest
import yaml
from fake_model import robot_picture
from patience import PATIENCE_S
from ros_client import Client, wait_until
from sensor_msgs.msg import Image

from robotseg_ros.common import fastdds

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parents[1]
OF_EVERY_FILE = ["log_level", "namespace", "params_file", "respawn", "use_sim_time"]
FILES = sorted(file.name for file in (ROOT / "launch").iterdir() if file.suffix == ".py")


@pytest.fixture
def users_file(tmp_path):
    """Writes the parameter file of a user."""

    def write(**parameters):
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
        return str(file)

    return write


@pytest.mark.parametrize("file", FILES)
def test_arguments_say_what_holds_without_them(monkeypatch, file):
    monkeypatch.setattr(launch_file, "FILE", ROOT / "launch" / file)
    launched, entities = launch_file.evaluate({}, {})
    declared = {e.name: e for e in entities if hasattr(e, "default_value")}
    own = launch_file.arguments_of_node()
    assert sorted(declared) == sorted([*own, *OF_EVERY_FILE])
    for name, argument in own.items():
        said = argument.otherwise if argument.otherwise is not None else argument.default
        words = str(said).lower() if isinstance(said, bool) else str(said) or "empty"
        assert declared[name].default_value == "" and declared[name].description.endswith(f"else {words}."), name
    assert not any(word.startswith("__ns:=") for word in launched.command)
    assert not launched.respawn and "--log-level" not in launched.command


def test_only_autostart_is_set_where_nothing_is_given():
    launched, _ = launch_file.evaluate({}, {})
    assert (launched.package, launched.executable) == ("robotseg_ros", "segmenter")
    assert launched.command == ["--ros-args", "-p", "autostart:=true", "-r", "__node:=robotseg"]


def test_arguments_are_the_parameters_of_the_node_with_their_defaults(start_segmenter):
    from fake_model import FakeModel

    node = start_segmenter(FakeModel(), activate=False, max_age=0.2, stale_after=1.0)
    arguments = launch_file.arguments_of_node()
    own = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if not name.startswith(("qos_overrides.", "use_sim_time", "start_type_description"))
    }
    # A list of cameras has parameters of its own, which no launch file can name before.
    assert own.pop("cameras") == [""]
    assert {name: argument.default for name, argument in arguments.items()} == own


def test_arguments_reach_the_node_in_the_type_of_the_parameter(users_file):
    given = {"camera": "/wrist/image_raw", "device": "cpu", "namespace": "left", "autostart": "false", "preset": "1"}
    given |= {"max_age": "0", "mask_margin": "3", "replay": "True", "use_sim_time": "true", "click_topic": "/clicked"}
    given |= {"respawn": "true", "log_level": "debug"}
    launched, _ = launch_file.evaluate(given, {})
    assert "__ns:=/left" in launched.command and launched.respawn
    assert launched.command[launched.command.index("--log-level") + 1] == "debug"
    values, _ = launch_file.parameters_of(launched.command)
    assert values == {
        "camera": "/wrist/image_raw",
        "device": "cpu",
        "preset": "1",
        "autostart": False,
        "max_age": 0.0,
        "mask_margin": 3,
        "replay": True,
        "use_sim_time": True,
        "click_topic": "/clicked",
    }
    assert isinstance(values["max_age"], float)


def test_an_argument_wins_over_the_users_file_and_one_that_was_not_given_does_not(users_file):
    file = users_file(camera="/mine", preset="base", device="cuda", autostart=False, max_age=3.0)
    launched, _ = launch_file.evaluate({"params_file": file, "device": "cpu"}, {})
    values, _ = launch_file.parameters_of(launched.command)
    assert values == {"camera": "/mine", "preset": "base", "device": "cpu", "autostart": False, "max_age": 3.0}
    # Given with the value of the default, an argument is given.
    launched, _ = launch_file.evaluate({"params_file": file, "preset": "nano", "autostart": "true"}, {})
    values, _ = launch_file.parameters_of(launched.command)
    assert (values["preset"], values["autostart"]) == ("nano", True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_age": "soon"}, "argument max_age is 'soon', must be a number"),
        ({"mask_margin": "1.5"}, "argument mask_margin is '1.5', must be a whole number"),
        ({"replay": "maybe"}, "argument replay is 'maybe', must be true or false"),
        ({"respawn": "often"}, "argument respawn is 'often', must be true or false"),
        ({"params_file": "/nowhere.yaml"}, "argument params_file is '/nowhere.yaml', which is no file"),
    ],
)
def test_wrong_arguments_are_named(given, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        launch_file.evaluate(given, {})


def test_launched_processes_get_the_profile_under_the_names_that_are_read(monkeypatch):
    for variable in ("ROS_DISTRO", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(variable, raising=False)
    profile = str(fastdds.shipped_profile())
    assert launch_file.evaluate({}, {})[0].environment == {"FASTDDS_DEFAULT_PROFILES_FILE": profile}
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    both = {"FASTDDS_DEFAULT_PROFILES_FILE": profile, "FASTRTPS_DEFAULT_PROFILES_FILE": profile}
    assert launch_file.evaluate({}, {})[0].environment == both
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/mine.xml")
    assert set(launch_file.evaluate({}, {})[0].environment.values()) == {"/mine.xml"}


def test_parameter_file_names_only_parameters_that_the_node_has(start_segmenter):
    from fake_model import FakeModel

    defaults = {"max_age": 0.2, "stale_after": 1.0}
    node = start_segmenter(FakeModel(), activate=False, **defaults)
    in_file = yaml.safe_load((ROOT / "config" / "robotseg.yaml").read_text())["/**"]["ros__parameters"]
    assert {name: node.get_parameter(name).value for name in in_file} == in_file


def test_rviz_shows_every_picture_for_people_and_publishes_clicks(start_segmenter):
    from fake_model import FakeModel

    manager = yaml.safe_load((ROOT / "config" / "robotseg.rviz").read_text())["Visualization Manager"]
    shown = [display["Topic"]["Value"] for display in manager["Displays"]]
    node = start_segmenter(FakeModel())
    published = {publisher.topic_name for publisher in node.publishers if publisher.msg_type is Image}
    # Labels are 0, 1 and 2 of 255, which rviz shows as black, whatever its display is told.
    assert set(shown) == published - {"/robotseg/labels"} | {"/camera/image_raw"} and len(published) == 8
    assert [tool["Topic"]["Value"] for tool in manager["Tools"] if "Topic" in tool] == ["/clicked_point"]
    # Of the only two that there are; the other is Identity.
    assert manager["Transformation"]["Current"]["Class"] == "rviz_default_plugins/TF"


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
        assert process.wait(PATIENCE_S) == 0
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
    done = subprocess.run([sys.executable, executable, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
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
    assert names == {*(argument.name for argument in module.ARGUMENTS), *OF_EVERY_FILE}
    assert set(context.launch_configurations.values()) == {"", "false"}
    assert description.entities[-1].visit(context)


def test_sigint_breaks_off_the_loading_of_a_model(domain_id, tmp_path):
    loading = tmp_path / "loading"
    code = (
        "import pathlib, signal, sys, time; from robotseg_ros.run_segmenter import main; "
        # A test run in the background ignores SIGINT, and its children would as well.
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"sys.exit(main(lambda options: (pathlib.Path({str(loading)!r}).touch(), time.sleep(6000))))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, "--ros-args", "-p", "autostart:=true"])
    try:
        wait_until(loading.exists, "the model being loaded")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
