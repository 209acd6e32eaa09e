# SPDX-License-Identifier: Apache-2.0
"""Several cameras in one process: one model, a session, topics, services and a status each, in turns."""

import itertools
import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fake_model import FakeModel, robot_picture
from ros_client import wait_until
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool, Trigger

from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.msg import PartMasks, Prompt

SECOND = 1_000_000_000
STAMPS = itertools.count(SECOND, SECOND)
CAMERAS = {"wrist": "/wrist/image_raw", "front": "/cell/front/image"}


@pytest.fixture
def two(client, start_segmenter):
    model = FakeModel(delay=0.01)
    node = start_segmenter(model, cameras=list(CAMERAS), **{"front.camera": CAMERAS["front"]})
    cameras = {name: client.advertise(Image, topic) for name, topic in CAMERAS.items()}
    return node, model, cameras


def send_until(client, cameras, condition, what):
    """Publish images of all cameras, with stamps that never go back, until a condition holds."""

    def sent():
        stamp = next(STAMPS)
        for name, camera in cameras.items():
            header = client.header(stamp, frame_id=name)
            camera.publish(to_image(header, robot_picture(shift=10 if name == "front" else 0), "rgb8"))
        return condition()

    wait_until(sent, what)


def test_each_camera_has_its_own_topics_session_and_status(client, two):
    node, model, cameras = two
    parts = {name: client.hear(PartMasks, f"/robotseg/{name}/parts") for name in CAMERAS}
    masks = {name: client.hear(Image, f"/robotseg/{name}/gripper_mask") for name in CAMERAS}
    diagnostics = client.hear(DiagnosticArray, "/diagnostics")
    send_until(client, cameras, lambda: all(masks[name] and len(parts[name]) > 2 for name in CAMERAS), "both answered")
    for name in CAMERAS:
        message = parts[name][-1]
        assert (message.camera, message.header.frame_id) == (name, name)
        assert message.parts[1].roi.x_offset == (90 if name == "front" else 80)
        assert masks[name][-1].header.frame_id == name
    assert len(model.streams) == 2 and all(stream.steps for stream in model.streams)
    assert not [topic for topic, _ in client.node.get_topic_names_and_types() if topic == "/robotseg/parts"]
    wait_until(lambda: len(diagnostics[-1].status) == 3, "a status of each camera")
    assert [status.name for status in diagnostics[-1].status] == [
        "/robotseg: model",
        "/robotseg: wrist",
        "/robotseg: front",
    ]
    assert [status.hardware_id for status in diagnostics[-1].status[1:]] == list(CAMERAS.values())


def test_a_fast_camera_leaves_the_other_its_turn(two):
    node, model, _ = two
    model.delay = 0.02
    wrist, front = node.cameras
    message = to_image(Image().header, robot_picture(), "rgb8")
    for _ in range(100):
        front._on_image(message)
        # As fast as it can be.
        for _ in range(20):
            wrist._on_image(message)
        time.sleep(0.005)
    wait_until(lambda: not (wrist._lane.waiting or front._lane.waiting), "all worked on")
    counts = [len(stream.steps) for stream in model.streams]
    assert abs(counts[0] - counts[1]) <= 1 and min(counts) >= 2


def test_services_and_prompts_are_for_one_camera(client, two):
    node, model, cameras = two
    parts = {name: client.hear(PartMasks, f"/robotseg/{name}/parts") for name in CAMERAS}
    send_until(client, cameras, lambda: all(parts.values()), "both answered")
    streams = dict(zip(CAMERAS, model.streams, strict=True))
    assert client.call(Trigger, "/robotseg/front/reset", Trigger.Request()).success
    prompts = client.advertise(Prompt, "/robotseg/wrist/prompt")
    prompts.publish(Prompt(part="arm", kind=Prompt.POINT, coordinates=[1.0, 2.0], label=1))
    send_until(client, cameras, lambda: streams["front"].resets and streams["wrist"].prompts, "reset and prompt")
    assert not streams["wrist"].resets and not streams["front"].prompts
    assert client.call(SetBool, "/robotseg/wrist/enable", SetBool.Request(data=False)).success
    wait_until(lambda: parts["wrist"][-1].state == PartMasks.STALE, "the disabled camera STALE")
    before = len(parts["front"])
    send_until(client, cameras, lambda: len(parts["front"]) > before + 2, "the other goes on")


def test_camera_info_of_each_camera_is_taken_from_beside_its_images(client, two):
    node, _, cameras = two
    assert [camera.options.info for camera in node.cameras] == ["/wrist/camera_info", "/cell/front/camera_info"]
    infos = client.hear(CameraInfo, "/robotseg/front/camera_info")
    known = client.advertise(CameraInfo, "/cell/front/camera_info")
    known.publish(CameraInfo(height=120, width=160, distortion_model="front's"))
    wait_until(lambda: node.cameras[1].inference.info is not None, "camera_info")
    send_until(client, cameras, lambda: infos, "camera_info beside the masks")
    assert infos[0].distortion_model == "front's" and infos[0].header.frame_id == "front"
    assert stamp_ns(infos[0].header) % SECOND == 0


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["wrist", "wrist"], "'wrist' 2 times"),
        (["2nd"], "'2nd'"),
        (["a/b"], "'a/b'"),
        ([f"c{i}" for i in range(17)], "17 names, must have at most 16"),
    ],
)
def test_wrong_names_are_refused(start_segmenter, names, words):
    with pytest.raises(ValueError, match=words):
        start_segmenter(FakeModel(), activate=False, cameras=names)


def test_cameras_of_a_parameter_file(start_segmenter, tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(
        "/robotseg:\n  ros__parameters:\n    cameras: [wrist, front]\n    wrist: {camera: /wrist/image_raw}\n"
        "    front: {camera: /cell/front/image_raw/compressed, click_topic: /clicked_point}\n"
    )
    arguments = {"cli_args": ["--ros-args", "--params-file", str(file)]}
    wrist, front = start_segmenter(FakeModel(), activate=False, node_arguments=arguments).options.cameras
    assert (wrist.name, wrist.image, wrist.compressed) == ("wrist", "/wrist/image_raw", False)
    assert (front.name, front.image, front.compressed) == ("front", "/cell/front/image_raw/compressed", True)
    assert (front.info, front.click_topic) == ("/cell/front/camera_info", "/clicked_point")
