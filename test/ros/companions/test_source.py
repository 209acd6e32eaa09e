# SPDX-License-Identifier: Apache-2.0
"""The safety monitor believes the masks of one node and one camera, and nobody else's."""

import time

import numpy as np
import pytest
from companion import Running, header
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_client import Spinner, wait_until
from sensor_msgs.msg import Image

from robotseg_ros.common.messages import to_image
from robotseg_ros.companions.safety_monitor import SafetyMonitor
from robotseg_ros.msg import PartMask, PartMasks, SafetyState

ZONES = """
image: {width: 64, height: 48}
zones:
  - {name: door, polygon: [[40, 0], [63, 0], [63, 47], [40, 47]], enter: 20, leave: 10}
"""


@pytest.fixture
def start(context, tmp_path):
    running = []
    (tmp_path / "zones.yaml").write_text(ZONES)

    class Watched:
        def __init__(self, **parameters):
            usual = {"zones": str(tmp_path / "zones.yaml"), "max_age": 5.0, "clear_for": 0.1, "robot_in_view": False}
            running.append(Running(context, SafetyMonitor, **{**usual, **parameters}))
            self.node = running[-1].node
            self.states = []
            listener = Node("listener", context=context)
            listener.create_subscription(SafetyState, "/safety_monitor/state", self.states.append, 50)
            running.append(Spinner(context, listener))

        def cell(self, name, topics=("robot_mask", "parts")):
            return Cell(context, name, topics)

        def says(self, condition, *sending, frame=None):
            """Have cells send until the monitor says something; returns what."""
            self.states.clear()

            def said():
                for cell in sending:
                    cell.send()
                time.sleep(0.02)
                return self.states and condition(self.states[-1])

            wait_until(said, "the verdict")
            return self.states[-1].reason

    class Cell:
        def __init__(self, context, name, topics):
            self.node = Node(name, context=context)
            running.append(self)
            self.name, self.frame, self.right = name, f"{name}_camera", 30
            qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
            self.mask = (
                self.node.create_publisher(Image, "/robotseg/robot_mask", qos) if "robot_mask" in topics else None
            )
            self.parts = self.node.create_publisher(PartMasks, "/robotseg/parts", qos) if "parts" in topics else None
            for publisher in filter(None, (self.mask, self.parts)):
                wait_until(lambda p=publisher: p.get_subscription_count() > 0, "the monitor")

        def send(self, stamp=None):
            mask = np.zeros((48, 64), np.uint8)
            mask[10:20, : self.right] = 255
            of = header(stamp or time.time_ns(), self.frame)
            if self.mask is not None:
                self.mask.publish(to_image(of, mask, "mono8"))
            if self.parts is not None:
                self.parts.publish(PartMasks(header=of, state=PartMasks.TRACKING, parts=[PartMask(name="robot")]))

        def close(self):
            if self.node is not None:
                self.node.destroy_node()
                self.node = None

    yield Watched
    for one in reversed(running):
        one.close()


def safe(state):
    return state.safe


def unsafe(state):
    return not state.safe


def test_a_second_publisher_is_not_safe_even_when_it_is_silent_and_its_leaving_is(start):
    watched = start()
    own = watched.cell("own")
    watched.says(safe, own)
    other = watched.cell("other")
    reason = watched.says(unsafe, own)
    assert "2 publishers on /robotseg" in reason and "/other" in reason and "/own" in reason
    other.close()
    watched.says(safe, own)


def test_the_masks_of_another_cell_do_not_make_safe_when_the_own_one_has_died(start):
    watched = start()
    own, other = watched.cell("own"), watched.cell("other")
    for _ in range(10):
        own.send(), other.send()
        time.sleep(0.02)
    watched.says(unsafe, own, other)
    own.close()
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        other.send()
        time.sleep(0.02)
    assert not watched.states[-1].safe
    assert "restart the monitor" in watched.says(lambda s: "at once" in s.reason, other)


def test_another_node_after_the_own_one_is_not_believed_and_the_own_one_is_again(start):
    watched = start()
    own = watched.cell("own")
    watched.says(safe, own)
    own.close()
    other = watched.cell("other")
    other.frame = "own_camera"
    assert "masks come from /other, those before came from /own" in watched.says(
        lambda s: not s.safe and "come from" in s.reason, other
    )
    other.close()
    back = watched.cell("own")
    watched.says(safe, back)


def test_another_frame_is_not_believed_and_the_own_one_is_again(start):
    watched = start()
    own = watched.cell("own")
    watched.says(safe, own)
    own.frame = "elsewhere"
    assert "masks are of frame 'elsewhere', those to be watched of 'own_camera'" in watched.says(unsafe, own)
    own.frame = "own_camera"
    watched.says(safe, own)


def test_the_frame_that_a_parameter_names_is_the_only_one(start):
    watched = start(frame_id="front")
    cell = watched.cell("own")
    assert "of 'front'" in watched.says(lambda s: "frame" in s.reason, cell)
    cell.frame = "front"
    watched.says(safe, cell)


def test_mask_and_states_of_different_nodes_are_not_safe(start):
    watched = start()
    masks, states = watched.cell("masks", ("robot_mask",)), watched.cell("states", ("parts",))

    def send():
        stamp = time.time_ns()
        masks.frame = states.frame = "camera"
        masks.send(stamp)
        states.send(stamp)

    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        send()
        time.sleep(0.02)
    assert not any(state.safe for state in watched.states)
    assert "different nodes: /masks, /states" in watched.states[-1].reason


def test_a_mask_and_a_state_of_one_stamp_but_two_frames_are_no_pair(start):
    watched = start()
    own = watched.cell("own")
    watched.says(safe, own)
    watched.states.clear()

    def mixed():
        stamp = time.time_ns()
        of, strange = header(stamp, "own_camera"), header(stamp, "elsewhere")
        own.parts.publish(PartMasks(header=of, state=PartMasks.TRACKING, parts=[PartMask(name="robot")]))
        own.mask.publish(to_image(strange, np.zeros((48, 64), np.uint8), "mono8"))
        time.sleep(0.02)
        return watched.states and "elsewhere" in watched.states[-1].reason

    wait_until(mixed, "the doubt")
    assert not watched.states[-1].safe


def test_a_segmenter_that_is_killed_and_starts_again_is_believed(start):
    """Its remains stay in the graph for a while, and send nothing."""
    watched = start()
    first = watched.cell("own")
    watched.says(safe, first)
    again = watched.cell("own")
    assert "2 publishers" in watched.says(unsafe, again)
    first.close()
    # Two of one name that did not send at once.
    watched.says(safe, again)
