# SPDX-License-Identifier: Apache-2.0
"""Parameters, QoS overrides, names and clocks, as a launch file would set them."""

import pytest
from fake_model import FakeModel, robot_picture
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_client import wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from robotseg_ros.common.messages import to_image
from robotseg_ros.msg import PartMasks

SECOND = 1_000_000_000
LIVE = {
    *("max_age", "stale_after", "mask_policy", "mask_margin", "masked_image", "click_part", "region", "max_depth"),
}
READ_ONLY = {
    *("cameras", "camera", "camera_info", "click_topic", "transport", "preset", "device", "backend", "weights"),
    *("robot", "image_size", "precision", "memory_frames", "encoder_batch", "replay", "autostart", "vision_msgs"),
    "jpeg_without_end",
    *("depth", "depth_border", "hygiene"),
}
STANDARD = ("use_sim_time", "start_type_description_service")


def test_every_parameter_has_a_description_and_is_read_only_or_live(client, start_segmenter):
    node = start_segmenter(FakeModel())
    ours = {
        name
        for name in node.get_parameters_by_prefix("")
        if name not in STANDARD and not name.startswith("qos_overrides.")
    }
    assert ours == LIVE | READ_ONLY
    request = DescribeParameters.Request(names=sorted(ours))
    descriptors = client.call(DescribeParameters, "/robotseg/describe_parameters", request).descriptors
    assert {d.name for d in descriptors if not d.read_only} == LIVE
    for descriptor in descriptors:
        assert len(descriptor.description) > 10
        assert descriptor.read_only or "any time" in descriptor.description
    ranged = {d.name for d in descriptors if d.floating_point_range or d.integer_range or d.additional_constraints}
    assert ranged == LIVE | {"transport", "image_size", "precision", "memory_frames", "encoder_batch", "hygiene"}


def test_size_precision_and_memory_reach_the_model(start_segmenter):
    node = start_segmenter(FakeModel(), image_size=256, precision="bf16", memory_frames=2)
    model = node.options.model
    assert (model.image_size, model.precision, model.memory_frames) == (256, "bf16", 2)


def test_what_is_not_given_is_the_presets(start_segmenter):
    model = start_segmenter(FakeModel()).options.model
    assert (model.image_size, model.precision, model.memory_frames) == (None, "auto", None)


WRONG = [
    ("max_age", -0.1, "Min: 0.0, Max: 60.0, value: -0.1"),
    ("max_age", 61, "Max: 60"),
    ("max_age", float("nan"), "nan"),
    ("max_age", "soon", "max_age is 'soon', must be a number of seconds"),
    ("max_age", True, "max_age is True, must be a number of seconds"),
    ("stale_after", 0.01, "Min: 0.1"),
    ("stale_after", 0, "Min: 1"),
    ("mask_policy", "brave", "mask_policy is 'brave', must be 'balanced' or 'inclusive' or 'exclusive'"),
    ("mask_margin", 101, "Max: 100"),
    ("mask_margin", 2.5, "type"),
    ("mask_margin", None, "cannot be undeclared"),
    ("max_age", None, "max_age cannot be deleted"),
    ("masked_image", "blur", "masked_image is 'blur', must be 'keep' or 'remove'"),
    ("click_part", "hand", "click_part is 'hand', must be 'arm' or 'gripper' or 'robot'"),
    ("preset", "base", "read-only"),
    ("camera", "/x", "read-only"),
    ("replay", True, "read-only"),
]


def test_wrong_changes_are_refused_with_the_reason(start_segmenter):
    node = start_segmenter(FakeModel(), activate=False)
    before = (node.live(), node.options)
    for name, value, words in WRONG:
        result = node.set_parameters([Parameter(name, value=value)])[0]
        assert not result.successful and words in result.reason, (name, value)
    assert (node.live(), node.options) == before


def test_changes_by_service_are_taken_over_together(client, start_segmenter):
    node = start_segmenter(FakeModel())
    values = {"max_age": 2, "stale_after": 3.5, "mask_policy": "inclusive", "mask_margin": 3}
    request = SetParameters.Request(parameters=[Parameter(n, value=v).to_parameter_msg() for n, v in values.items()])
    answer = client.call(SetParameters, "/robotseg/set_parameters", request)
    assert all(result.successful for result in answer.results)
    live = node.live()
    assert (live.max_age, live.stale_after, live.mask_policy, live.mask_margin) == (2.0, 3.5, "inclusive", 3)
    assert isinstance(live.max_age, float)


def test_wrong_transport_is_refused_at_the_start(start_segmenter):
    with pytest.raises(ValueError, match="transport is 'h264', must be one of auto, raw, compressed"):
        start_segmenter(FakeModel(), activate=False, transport="h264")


def test_qos_is_overridden_by_parameters(client, start_segmenter):
    camera = "qos_overrides./camera/image_raw.subscription"
    start_segmenter(
        FakeModel(),
        **{
            f"{camera}.reliability": "reliable",
            f"{camera}.depth": 3,
            "qos_overrides./robotseg/robot_mask.publisher.reliability": "best_effort",
            "qos_overrides./robotseg/overlay.publisher.durability": "transient_local",
        },
    )
    wait_until(lambda: client.node.get_subscriptions_info_by_topic("/camera/image_raw"), "the subscription")
    (ours,) = client.node.get_subscriptions_info_by_topic("/camera/image_raw")
    assert ours.qos_profile.reliability == ReliabilityPolicy.RELIABLE

    def qos_of(topic):
        wait_until(lambda: client.node.get_publishers_info_by_topic(topic), f"publisher of {topic}")
        return client.node.get_publishers_info_by_topic(topic)[0].qos_profile

    assert qos_of("/robotseg/robot_mask").reliability == ReliabilityPolicy.BEST_EFFORT
    assert qos_of("/robotseg/overlay").durability == DurabilityPolicy.TRANSIENT_LOCAL


def test_wrong_qos_override_fails_to_configure_with_the_reason(start_segmenter, stderr):
    wrong = {"qos_overrides./robotseg/parts.publisher.reliability": "sometimes"}
    node = start_segmenter(FakeModel(), activate=False, **wrong)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert "`reliability`: `sometimes`" in stderr.read()


def test_a_subscriber_that_asks_for_more_than_is_offered_is_named(client, start_segmenter, stderr):
    start_segmenter(FakeModel())
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    client.node.create_subscription(Image, "/robotseg/arm_mask", lambda _: None, latched)
    said = []

    def lines():
        said.append(stderr.read())
        return [line for line in "".join(said).splitlines() if "incompatible QoS on /robotseg/arm_mask" in line]

    wait_until(lines, "a line in the log")
    assert "/client: the publisher keeps nothing for latecomers" in lines()[0]
    assert "qos_overrides./robotseg/arm_mask.publisher" in lines()[0]


def test_namespace_and_remapping_move_the_topics(client, start_segmenter):
    arguments = {"namespace": "/left", "cli_args": ["--ros-args", "-r", "~/parts:=/elsewhere/parts"]}
    start_segmenter(FakeModel(), node_arguments=arguments, camera="image")
    camera = client.advertise(Image, "/left/image")
    parts = client.hear(PartMasks, "/elsewhere/parts")
    masks = client.hear(Image, "/left/robotseg/arm_mask")

    def answered():
        camera.publish(to_image(client.header(SECOND), robot_picture(), "rgb8"))
        return parts and masks

    wait_until(answered, "answers")


def test_the_camera_topic_can_be_remapped(client, start_segmenter):
    start_segmenter(FakeModel(), node_arguments={"cli_args": ["--ros-args", "-r", "/camera/image_raw:=/other"]})
    client.advertise(Image, "/other")


def test_age_is_that_of_simulated_time(client, start_segmenter):
    node = start_segmenter(FakeModel(), use_sim_time=True, max_age=10.0)
    clock = client.advertise(Clock, "/clock")
    client.listen("parts")
    client.wait_for_camera_subscriber()
    now = Clock()
    now.clock.sec = 100

    def simulated():
        clock.publish(now)
        return node.get_clock().now().nanoseconds == 100 * SECOND

    wait_until(simulated, "simulated time")
    client.send_until(robot_picture(), 99 * SECOND, "parts", 1)
    assert client.heard["parts"][0].state == PartMasks.TRACKING
    assert client.heard["parts"][0].age_ms == pytest.approx(1000, abs=1)
    client.send_until(robot_picture(), 80 * SECOND, "parts", len(client.heard["parts"]) + 3)
    assert client.heard["parts"][-1].state == PartMasks.STALE
    assert client.heard["parts"][-1].age_ms == pytest.approx(20_000, abs=1)


def test_what_is_derived_from_a_topic_follows_its_remapping(start_segmenter):
    rules = ["-r", "/camera/image_raw:=/wrist/color", "-r", "~/gripper_mask:=/gm", "-r", "~/overlay/compressed:=/small"]
    node = start_segmenter(FakeModel(), node_arguments={"cli_args": ["--ros-args", *rules]})
    subscribed = {subscription.topic_name for subscription in node.subscriptions}
    published = {publisher.topic_name for publisher in node.publishers}
    assert {"/wrist/color", "/wrist/camera_info"} <= subscribed and "/camera/camera_info" not in subscribed
    assert {"/gm", "/gm/compressed", "/robotseg/overlay", "/small"} <= published
    assert not {"/robotseg/gripper_mask/compressed", "/robotseg/overlay/compressed"} & published


def test_compressed_images_of_a_remapped_topic_are_beside_it(start_segmenter):
    rule = ["-r", "/camera/image_raw:=/wrist/color"]
    arguments = {"cli_args": ["--ros-args", *rule]}
    node = start_segmenter(FakeModel(), node_arguments=arguments, transport="compressed")
    subscribed = {subscription.topic_name for subscription in node.subscriptions}
    assert {"/wrist/color/compressed", "/wrist/camera_info"} <= subscribed
