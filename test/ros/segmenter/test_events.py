# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to a camera's session, in any order: what it says is true of the image that it says it of."""

import itertools
import math
import os
import time

import numpy as np
import pytest
from fake_model import FakeModel
from honest_model import LIES, Honest, Outputs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool, Trigger

from robotseg_core.types import PARTS, State
from robotseg_ros.common.graph import Senders
from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.companions.depth_codec import to_depth_image
from robotseg_ros.msg import Prompt
from robotseg_ros.segmenter.camera_topics import Camera
from robotseg_ros.segmenter.inference import Inference
from robotseg_ros.segmenter.instruct.instructions import Instructions
from robotseg_ros.segmenter.nearest.depth_images import SLOP_NS, DepthImages
from robotseg_ros.segmenter.nearest.limits import Limits, Restriction
from robotseg_ros.segmenter.parameters.options import CameraOptions, LiveOptions
from robotseg_ros.srv import Instruct

SECOND = 1_000_000_000
SIZES = ((24, 32), (30, 40))


@pytest.fixture(scope="module")
def machine(node):
    Events.node = node
    return Events


class Events(RuleBasedStateMachine):
    """Images, hints, resets, pauses, parameters, clocks and models that fail, on the session of one camera."""

    node = None

    @initialize(max_age=st.sampled_from((0.0, 0.2)))
    def begin(self, max_age):
        from types import SimpleNamespace

        self.now = 100 * SECOND
        self.live = LiveOptions(max_age=max_age)
        self.model = Honest()
        self.outputs = Outputs(lambda: self.now)
        node = SimpleNamespace(
            get_logger=self.node.get_logger,
            context=self.node.context,
            get_parameter=self.node.get_parameter,
            count_publishers=lambda topic: 0,
            resolve_topic_name=lambda topic: topic,
            get_publishers_info_by_topic=lambda topic: [],
            get_clock=lambda: SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now)),
            executor=None,
        )
        self.inference = Inference(
            node,
            self.model,
            self.outputs,
            lambda: self.live,
            replay=False,
            name="",
            instructions=Instructions(FakeModel()),
        )
        topics = SimpleNamespace(subscribe=lambda *args, **more: object(), unsubscribe=lambda subscription: None)
        lane = SimpleNamespace(full=False, waiting=0, clear=lambda: None, put=lambda image: self.waiting.append(image))
        worker = SimpleNamespace(lane=lambda *args, **more: lane)
        options = CameraOptions("", image="/image", compressed=False, info="/info", click_topic="")
        self.camera = Camera(
            node, topics, options, self.outputs, self.inference, worker, lambda: self.live, replay=False
        )
        self.limits = Limits({"": True})
        self.restriction = Restriction(lambda: self.limits.of(""), DepthImages(0.0), self.inference.log)
        self.inference.restriction = self.restriction
        self.depths, self.looked_at = {}, 0
        self.camera._listen()
        self.waiting, self.sent, self.count = [], {}, itertools.count()
        # Since when the memory that an answer speaks of may hold images: everything before was given up.
        self.given_up = 0
        self.checked = 0
        self.enabled = True

    # -------------------------------------------------------------------------------------- what happens
    def work(self):
        """What the inference thread would do."""
        while self.waiting:
            self.inference.process(self.waiting.pop(0), 0)

    def image(self, shown, size, late_ms, frame_id):
        height, width = SIZES[size]
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[0, 0, 0] = shown
        number = next(self.count)
        # Before zero, too, and near the end of what a stamp can say.
        stamp = self.now - int(late_ms) * 1_000_000 + number
        header = malformed_header(min(max(stamp, -(2**31) * SECOND), (2**31 - 1) * SECOND - 1), frame_id)
        self.sent[stamp_ns(header)] = (shown, SIZES[size], number, self.enabled)
        return to_image(header, rgb, "rgb8")

    @rule(
        shown=st.integers(0, 200),
        size=st.integers(0, 1),
        late_ms=st.sampled_from((0, 0, 50, 150, 500, 5000, -150, -5000, 150_000, 1e9, -1e9, -2e12)),
        frame_id=st.sampled_from(("a", "a", "a", "b")),
    )
    def sees(self, shown, size, late_ms, frame_id):
        if self.enabled:
            self.camera._on_image(self.image(shown, size, late_ms, frame_id))
        self.work()

    @rule(shown=st.integers(0, 200), what=st.sampled_from(("reset", "pause", "pause and resume", "clock", "contested")))
    def sees_while(self, shown, what):
        """Something happens while the model works on an image."""
        if not self.enabled:
            return
        image = self.image(shown, 0, 0, "a")
        acts = {
            "reset": [self.resets],
            "pause": [lambda: self.enables(False)],
            "pause and resume": [lambda: self.enables(False), lambda: self.enables(True)],
            "clock": [lambda: self.clock_jumps(30.0)],
            "contested": [lambda: setattr(self.inference.answers, "contested", "/another")],
        }[what]
        self.model.meanwhile = lambda: [act() for act in acts]
        before = len(self.outputs.said)
        self.camera._on_image(image)
        self.work()
        self.model.meanwhile = None
        for state, header, _ in self.outputs.said[before:]:
            outdated = what in ("reset", "pause", "pause and resume", "contested")
            if header is not None and stamp_ns(header) == stamp_ns(image.header) and outdated:
                assert state in (State.STALE, State.FAULT), (what, state)
        self.inference.answers.contested = ""

    @rule(field=st.sampled_from((("step", 1), ("height", 0), ("encoding", "none"), ("data", b""))))
    def sees_garbage(self, field):
        image = self.image(5, 0, 0, "a")
        setattr(image, *field) if field[0] != "data" else setattr(image, "data", image.data[:0])
        count = len(self.outputs.said)
        if self.enabled:
            self.camera._on_image(image)
            self.work()
        assert len(self.outputs.said) == count

    @rule()
    def two_senders_of_one_frame(self):
        if not self.enabled:
            return
        self.work()
        for gid in (b"1", b"2", b"1", b"2"):
            info = {"publisher_gid": {"data": gid * 16}}
            self.camera._on_image(self.image(9, 0, 0, "a"), info)
        count = len(self.outputs.said)
        self.waiting.clear()
        assert all(state is State.STALE for state, *_ in self.outputs.said[count:])
        self.camera._senders = Senders()
        self.given_up = next(self.count)

    @rule(
        part=st.sampled_from(("arm", "robot", "elbow")),
        kind=st.integers(0, 3),
        xy=st.lists(st.sampled_from((1.0, 5.0, math.nan, 1e30)), max_size=4),
        late=st.booleans(),
    )
    def hint(self, part, kind, xy, late):
        message = Prompt(part=part, kind=kind, coordinates=xy, label=1)
        if late and self.sent:
            stamp = sorted(self.sent)[len(self.sent) // 2]
            message.stamp.sec, message.stamp.nanosec = divmod(stamp, SECOND)
        self.camera._on_prompt(message)

    @rule()
    def resets(self):
        assert self.camera._on_reset(Trigger.Request(), Trigger.Response()).success
        self.given_up = next(self.count)

    @rule(data=st.booleans())
    def enables(self, data):
        before = self.enabled
        assert self.camera._on_enable(SetBool.Request(data=data), SetBool.Response()).success
        self.enabled = data
        if data != before:
            self.waiting.clear()
            self.given_up = next(self.count)

    @rule(
        max_age=st.sampled_from((0.0, 0.2, 2.0)),
        policy=st.sampled_from(("balanced", "inclusive", "exclusive")),
        margin=st.integers(0, 3),
    )
    def parameters_change(self, max_age, policy, margin):
        self.live = LiveOptions(max_age=max_age, mask_policy=policy, mask_margin=margin)

    @rule(
        region=st.sampled_from(("", "", "0,0, 1,0, 1,1", "0,0,1,1", "0,0,nan,0,1,1", "0,0,640,0,640,480", "left")),
        max_depth=st.sampled_from((0.0, 0.0, 1.5, 100.0, True, "far")),
    )
    def limits_change(self, region, max_depth):
        before = self.limits.of("")
        given = [Parameter("region", value=region), Parameter("max_depth", value=max_depth)]
        try:
            self.limits.set(self.limits.changed(given))
        except ValueError:
            assert self.limits.of("") == before
        else:
            assert self.limits.of("").max_depth == max_depth and bool(self.limits.of("").region) == bool(region)

    @rule(
        frame_id=st.sampled_from(("a", "a", "a", "b", "x" * 300)),
        size=st.sampled_from((*SIZES, (12, 16), (24, 24), (240, 320))),
        late_ms=st.sampled_from((0, 0, 40, -40, 60, 5000, 1e9)),
        sender=st.sampled_from((b"1", b"1", b"1", b"2")),
        garbage=st.sampled_from(("", "", "", "step", "encoding")),
    )
    def depth_comes(self, frame_id, size, late_ms, sender, garbage):
        """A depth image that says its number in every pixel."""
        number = len(self.depths) + 1
        stamp = self.now - int(late_ms) * 1_000_000
        header = malformed_header(min(max(stamp, -(2**31) * SECOND), (2**31 - 1) * SECOND - 1), frame_id)
        image = to_depth_image(header, np.full(size, number, np.uint16))
        if garbage:
            setattr(image, garbage, {"step": 1, "encoding": "none"}[garbage])
        self.depths[number] = (frame_id, size, stamp_ns(header), sender, garbage)
        self.restriction.depth.add(image, {"publisher_gid": {"data": sender * 16}})

    @rule()
    def two_senders_of_depth(self):
        for sender in (b"1", b"2", b"1", b"2"):
            self.depth_comes("a", SIZES[0], 0, sender, "")
        before = len(self.model.meant)
        self.sees(9, 0, 0, "a")
        assert all(depth is None for *_, depth in self.model.meant[before:])
        self.restriction.depth._senders = Senders()

    @rule(seconds=st.sampled_from((-50.0, -2.0, 0.01, 3.0, 1000.0)))
    def clock_jumps(self, seconds):
        self.now = max(10 * SECOND, self.now + int(seconds * SECOND))

    @rule(lie=st.sampled_from(("", "", "", *LIES)))
    def model_lies(self, lie):
        self.model.lie = lie

    @rule(refuses=st.booleans())
    def model_fails_on_hints(self, refuses):
        self.model.refuses_hints = refuses

    @rule(text=st.sampled_from(("the gripper", "the left robot", "not the arm", "forget", "", "x" * 999, "\x1b[31m\0")))
    def asks(self, text):
        answer = self.camera._on_instruct(Instruct.Request(request=text), Instruct.Response())
        assert answer.message.isprintable() and len(answer.message) <= 300
        # Nothing is found on images that were given up.
        assert self.enabled or answer.answer == Instruct.Response.REFUSED

    @rule(width=st.sampled_from((32, 40, 7)), frame_id=st.sampled_from(("a", "b", "")))
    def info_comes(self, width, frame_id):
        info = CameraInfo(width=width, height=24)
        info.header.frame_id = frame_id
        self.camera._on_info(info)

    @rule()
    def silence(self):
        count = len(self.outputs.said)
        self.inference.last = type(self.inference.last)(self.inference.last.header, time.monotonic() - 100)
        self.camera.watch()
        said = self.outputs.said[count:]
        assert all(state is State.STALE for state, *_ in said) and len(said) <= 1
        if not self.enabled:
            assert not said

    # -------------------------------------------------------------------------------------- what holds
    @invariant()
    def what_was_said_is_true(self):
        if not hasattr(self, "outputs"):
            return
        for state, header, result in self.outputs.said[self.checked :]:
            if result is None:
                assert state in (State.STALE, State.FAULT)
                continue
            shown, size, number, enabled = self.sent[stamp_ns(header)]
            # Nothing is said as current of an image from before a pause or a reset, nor too late.
            assert enabled and number >= 0
            assert tuple(part.name for part in result.parts) == PARTS
            for part in result.parts:
                assert part.mask.shape == size and part.mask.dtype == np.uint8
                assert set(np.unique(part.mask)) <= {0, 255} and np.count_nonzero(part.mask) == part.area
                assert 0.0 <= part.score <= 1.0
            arm, gripper, robot = (part.mask > 0 for part in result.parts)
            assert not (arm & gripper).any() and np.array_equal(arm | gripper, robot)
            # Never "no robot" where one is shown; and nothing where none is.
            if not shown:
                assert not robot.any() and state in (State.SEARCHING, State.LOST)
            else:
                assert result["robot"].present
                # Where a depth is needed and there is none, it is not known which robot is meant.
                needed = [meant for meant in self.model.meant if meant[0] == stamp_ns(header)]
                lacks = any(asked and depth is None for *_, asked, depth in needed)
                assert state is (State.DEGRADED if lacks else State.TRACKING)
        self.checked = len(self.outputs.said)

    @invariant()
    def depth_is_that_of_its_image(self):
        if not hasattr(self, "model"):
            return
        for stamp, size, nearest, asked, depth in self.model.meant[self.looked_at :]:
            assert asked == bool(nearest and nearest.max_depth)
            if depth is None:
                continue
            frame_id, of_size, when, _, garbage = self.depths[int(depth[0, 0])]
            assert (depth == depth[0, 0]).all() and depth.shape == of_size and not garbage and frame_id in ("a", "b")
            assert abs(when - stamp) <= SLOP_NS
            assert of_size[0] * size[1] == of_size[1] * size[0] and depth.size <= 4 * size[0] * size[1]
        self.looked_at = len(self.model.meant)

    @invariant()
    def nothing_grows(self):
        if hasattr(self, "inference"):
            assert len(self.restriction.depth._images) <= 8
            assert len(self.inference._hints) <= 32 and len(self.inference.recent._images) <= 32


def malformed_header(stamp, frame_id):
    header = Image().header
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, SECOND)
    header.frame_id = frame_id
    return header


def test_whatever_happens_what_is_said_is_true(machine):
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("ROBOTSEG_EVENTS", "120")),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie])
@pytest.mark.parametrize("shown", [0, 50])
def test_a_result_that_contradicts_itself_is_a_fault_and_the_memory_is_given_up(session, lie, shown):
    from fake_model import robot_picture

    stream = session.inference._stream = Honest()
    rgb = robot_picture(24, 32)
    rgb[0, 0] = shown
    if lie == "centroid is not finite" and not shown:
        pytest.skip("an empty mask has no centroid")
    assert session.shows(rgb, SECOND) in (State.TRACKING, State.SEARCHING)
    stream.lie = lie
    assert session.shows(rgb, 2 * SECOND) is State.FAULT and stream.seen == 0
    stream.lie = ""
    assert session.shows(rgb, 3 * SECOND) in (State.TRACKING, State.SEARCHING)
    assert session.counters.faults == 1
