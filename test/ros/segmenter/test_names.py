# SPDX-License-Identifier: Apache-2.0
"""Names that are derived or said follow remapping and namespace; parameters that are empty or of a wrong type."""

import subprocess
import sys
from pathlib import Path

import pytest
import rclpy
from fake_model import FakeModel
from patience import PATIENCE_S
from rclpy.exceptions import ParameterException
from ros_client import wait_until

from robotseg_ros.companions.safety_monitor import SafetyMonitor
from robotseg_ros.companions.self_filter import SelfFilter
from robotseg_ros.companions.servo import Servo
from robotseg_ros.segmenter.node import Segmenter

FAKE = str(Path(__file__).parents[1] / "fake_segmenter.py")


@pytest.fixture
def segmenter(context):
    made = []

    def make(*arguments):
        node = Segmenter(lambda options: FakeModel(), context=context, cli_args=["--ros-args", *arguments])
        made.append(node)
        assert node.autostart()
        return node

    yield make
    for node in made:
        node.stop()
        node.destroy_node()


def test_compressed_images_and_camera_info_follow_the_remapping_of_the_camera(segmenter, stderr):
    node = segmenter(
        *("-p", "camera:=/left/image_raw", "-p", "transport:=compressed", "-r", "/left/image_raw:=/zed/image_raw")
    )
    (camera,) = node.cameras
    assert camera.topic == "/zed/image_raw/compressed" and camera.options.info == "/zed/camera_info"
    assert "listening to /zed/image_raw/compressed" in stderr.read()
    assert node.count_subscribers("/zed/image_raw/compressed") == node.count_subscribers("/zed/camera_info") == 1


def test_a_raw_topic_that_is_remapped_is_remapped_once(segmenter):
    node = segmenter("-p", "camera:=/a/image", "-r", "/a/image:=/b/image", "-r", "/b/image:=/a/image")
    assert node.cameras[0].topic == "/b/image" and node.cameras[0].options.info == "/b/camera_info"


def test_relative_names_are_of_the_namespace(segmenter):
    node = segmenter(
        "-p", "camera:=image", "-p", "transport:=compressed", "-r", "__ns:=/cell", "-p", "stale_after:=0.1"
    )
    assert (
        node.cameras[0].topic == "/cell/image/compressed"
        and node.resolve_topic_name(node.cameras[0].options.info) == "/cell/camera_info"
    )


def test_silence_is_said_of_the_topic_that_is_listened_to(segmenter, stderr):
    segmenter("-p", "camera:=/left/image_raw", "-r", "/left/image_raw:=/zed/image_raw", "-p", "stale_after:=0.1")
    said = ""

    def told():
        nonlocal said
        said += stderr.read()
        return "no usable image on /zed/image_raw for 0.1 s: nobody publishes it" in said

    wait_until(told, "the line")


def test_the_compressed_variant_of_an_output_follows_its_remapping(segmenter):
    node = segmenter("-r", "~/gripper_mask:=/gm")
    assert node.count_publishers("/gm") == node.count_publishers("/gm/compressed") == 1
    assert node.count_publishers("/robotseg/gripper_mask/compressed") == 0


def test_companions_derive_and_say_names_after_remapping(context, stderr):
    arguments = ["--ros-args", "-p", "depth:=/d/image/compressedDepth", "-r", "/d/image:=/zed/depth"]
    node = SelfFilter(context=context, cli_args=[*arguments, "-r", "/robotseg/robot_mask:=/cell/mask"])
    try:
        assert [entry.topic for entry in node.inputs._inputs] == [
            "/zed/depth/compressedDepth",
            "/cell/mask",
            "/camera/aligned_depth_to_color/camera_info",
            "/cell/camera_info",
        ]
    finally:
        node.destroy_node()


# ------------------------------------------------------------------------------------------------ odd values
ODD = ("[]", '""', "~", "[1, 2]", "{a: 1}", ".nan", "-1", '["", ""]')
KINDS = {
    "robotseg": lambda **more: Segmenter(lambda options: FakeModel(), **more),
    "self_filter": SelfFilter,
    "servo": Servo,
    "safety_monitor": SafetyMonitor,
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", KINDS)
def test_any_value_of_any_parameter_is_taken_or_refused_by_name(domain_id, tmp_path, kind, odd):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_id)
    try:
        plain = KINDS[kind](context=context)
        names = [name for name in plain._parameters if not name.startswith(("qos_overrides", "start_type"))]
        if kind == "robotseg":
            plain.stop()
        plain.destroy_node()
        for name in names:
            file = tmp_path / "odd.yaml"
            file.write_text(f"/**:\n  ros__parameters:\n    {name}: {odd}\n")
            try:
                node = KINDS[kind](context=context, cli_args=["--ros-args", "--params-file", str(file)])
            # What the process says in one line; anything else would be an accident.
            except (ParameterException, ValueError, OSError) as error:
                assert str(error)
            except RuntimeError as error:
                assert "Failed to parse" in str(error) or "arguments" in str(error) or name in str(error), (name, error)
            else:
                if kind == "robotseg":
                    node.trigger_configure()
                    node.stop()
                node.destroy_node()
    finally:
        context.try_shutdown()


def test_an_empty_list_of_cameras_is_a_single_one(segmenter, tmp_path):
    (tmp_path / "none.yaml").write_text("/**:\n  ros__parameters:\n    cameras: []\n")
    node = segmenter("--params-file", str(tmp_path / "none.yaml"))
    assert [camera.options.name for camera in node.cameras] == [""]


@pytest.mark.parametrize("value", ["camera: [1]", "transport: []", "cameras: [a, 1]", "max_age: []", "cameras: {a: 1}"])
def test_a_process_says_in_one_line_what_is_wrong(domain_id, tmp_path, value):
    (tmp_path / "odd.yaml").write_text(f"/**:\n  ros__parameters:\n    {value}\n")
    command = [sys.executable, FAKE, "--ros-args", "--params-file", str(tmp_path / "odd.yaml"), "-p", "autostart:=true"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "listening" in line:
                process.terminate()
        status = process.wait(PATIENCE_S)
    assert "Traceback" not in "".join(lines)
    assert (status == 1 and "cannot start" in lines[-1]) or (status == 0 and any("listening" in line for line in lines))
