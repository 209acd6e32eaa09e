# SPDX-License-Identifier: Apache-2.0
"""The safety monitor example: stop when the robot is in a zone of the image, or when nobody knows where it is.

Not a safety-rated device: an example of how masks can be watched.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, Header

from robotseg_core.geometry.zone_plan import load_plan
from robotseg_core.geometry.zones import Caution, Event, EventKind, ZoneMonitor
from robotseg_core.types import State
from robotseg_ros.common.camera_log import cut
from robotseg_ros.common.graph import clock_advice
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.common.shipped import config_file
from robotseg_ros.companions.depth_codec import decode_mask
from robotseg_ros.companions.fixed_parameters import FixedParameters
from robotseg_ros.companions.inputs import Inputs, Status
from robotseg_ros.companions.source import Source
from robotseg_ros.msg import PartMasks, SafetyState

NODE_NAME = "safety_monitor"
WAITING = 8
"""Masks and states kept until their other half comes."""
LOOK_PERIOD_S = 0.1
"""How often it is seen who publishes."""
MAX_REASON = 300


@dataclass(frozen=True)
class MonitorOptions:
    """Parameters of the node.

    Attributes:
        mask, parts: topics.
        frame_id: of the masks; empty: that of the first ones.
        zones: file of the zones.
        caution: how careful the monitor is.
        rate: of the output, Hz, beside every change.
    """

    mask: str
    parts: str
    frame_id: str
    zones: Path
    caution: Caution
    rate: float

    @staticmethod
    def declare(node: Node) -> MonitorOptions:
        """Declare the parameters."""
        fixed = FixedParameters(node)
        usual = Caution()
        zones = fixed.text("zones", "", "YAML file of the zones; empty: the example that is shipped.")
        return MonitorOptions(
            mask=fixed.topic("mask", "/robotseg/robot_mask", "Mask of the robot (sensor_msgs/Image, mono8)."),
            parts=fixed.topic("parts", "/robotseg/parts", "What the segmenter says of each image (PartMasks)."),
            frame_id=fixed.text(
                "frame_id", "", "frame_id of the camera that is watched; empty: that of the first masks."
            ),
            zones=Path(zones).expanduser() if zones else config_file("zones.yaml"),
            caution=Caution(
                max_age=fixed.number(
                    "max_age", usual.max_age, 0.02, 10.0, "Seconds from an image's stamp for which its masks count."
                ),
                clear_for=fixed.number(
                    "clear_for", usual.clear_for, 0.0, 60.0, "Seconds of clear masks until it is safe again."
                ),
                robot_in_view=fixed.flag("robot_in_view", usual.robot_in_view, "Whether 'no robot seen' is a failure."),
                accept_degraded=fixed.flag("accept_degraded", usual.accept_degraded, "Whether doubted masks count."),
            ),
            rate=fixed.number("rate", 20.0, 1.0, 1000.0, "Hz of the output, beside every change."),
        )


class SafetyMonitor(Node):
    """Node ``safety_monitor``: masks and states in, ``~/safe`` and ``~/state`` out.

    Attributes:
        options: the parameters.
        monitor: what decides.

    Args:
        **node_arguments: passed to ``rclpy.node.Node``.

    Raises:
        ValueError: a parameter is out of its range, or the zones are not right.
        OSError: the file of the zones cannot be read.
        rclpy.exceptions.ParameterException: a parameter is of another type.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        options = self.options = MonitorOptions.declare(self)
        self.monitor = ZoneMonitor(load_plan(options.zones), options.caution)
        self._header = Header()
        self._masks: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._states: OrderedDict[int, State] = OrderedDict()
        # Volatile: a verdict that was kept for those who come late could be that of a monitor that has died.
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._safe = self.create_publisher(Bool, "~/safe", qos)
        self._state = self.create_publisher(SafetyState, "~/state", qos)
        self._mask_topic, self._parts_topic = (self.resolve_topic_name(t) for t in (options.mask, options.parts))
        self._source = Source(self, (self._mask_topic, self._parts_topic), options.frame_id)
        self._inputs = Inputs(self, self._status)
        listen = partial(self._inputs.subscribe, qos=qos, one_sender=False, heard=self._source.hear)
        self._mask_input = listen(Image, options.mask, self._on_mask, what="mask")
        self._parts_input = listen(PartMasks, options.parts, self._on_parts, what="state of the masks")
        # By the steady clock: it must go on when the node's clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / options.rate, self._on_time, clock=steady)
        self.create_timer(LOOK_PERIOD_S, self._look, clock=steady)
        names = ", ".join(zone.name for zone in self.monitor.plan.zones)
        self.get_logger().info(f"zones of {options.zones}: {names}. This is no safety-rated device.")

    def _on_mask(self, message: Image) -> None:
        try:
            mask = decode_mask(message)
        except CodecError as error:
            self._inputs.refuse(self._mask_input, error)
            return
        if self._believed(message.header):
            self._keep(self._masks, stamp_ns(message.header), mask)
            self._judge(message.header)

    def _on_parts(self, message: PartMasks) -> None:
        known = [state.value for state in State]
        state = State(message.state) if message.state in known else State.FAULT
        if not message.parts:
            # Nothing is known: no mask will come.
            self._see(None, state, message.header)
        elif self._believed(message.header):
            self._keep(self._states, stamp_ns(message.header), state)
            self._judge(message.header)

    def _believed(self, header: Header) -> bool:
        """Whether a message is of the camera that is watched; if not, nothing is known until the next one that is."""
        why = self._source.accepts(header.frame_id)
        if why:
            self._doubt(why)
        return not why

    def _look(self) -> None:
        why = self._source.look()
        if why:
            self._doubt(why)

    def _doubt(self, why: str) -> None:
        # What waits for its other half is of whoever it was.
        self._masks.clear()
        self._states.clear()
        before = replace(self.monitor.verdict)
        self._log(self.monitor.doubt(cut(why, MAX_REASON), time.monotonic()))
        if self.monitor.verdict != before:
            self._publish()

    def _judge(self, header: Header) -> None:
        stamp = stamp_ns(header)
        if stamp in self._masks and stamp in self._states:
            self._see(self._masks.pop(stamp), self._states.pop(stamp), header)

    def _see(self, mask: NDArray[np.uint8] | None, state: State, header: Header) -> None:
        age = (self.get_clock().now().nanoseconds - stamp_ns(header)) / 1e9
        before = replace(self.monitor.verdict)
        self._header = header
        self._log(self.monitor.see(mask, state, age, time.monotonic()), age)
        if self.monitor.verdict != before:
            self._publish()

    def _on_time(self) -> None:
        self._log(self.monitor.wait(time.monotonic()))
        self._publish()

    def _publish(self) -> None:
        verdict = self.monitor.verdict
        self._safe.publish(Bool(data=verdict.safe))
        self._state.publish(
            SafetyState(header=self._header, safe=verdict.safe, reason=verdict.reason, occupied=list(verdict.occupied))
        )

    def _log(self, events: list[Event], age: float | None = None) -> None:
        for event in events:
            subject = f"{event.kind.value} {event.zone}"
            if event.kind is EventKind.UNKNOWN:
                # Stamps of another clock: what is set tells which.
                late = age is not None and not -self.options.caution.clock_slack <= age <= self.options.caution.max_age
                advice = f" ({clock_advice(self)})" if late else ""
                self._inputs.log.warning(subject, f"unknown: {event.reason}{advice}")
            elif event.zone:
                self._inputs.log.info(subject, f"robot {event.kind.value} {event.zone}")
            else:
                self._inputs.log.info(subject, "masks are known")

    def _status(self) -> Status:
        verdict = self.monitor.verdict
        level = DiagnosticStatus.OK if verdict.safe else DiagnosticStatus.WARN
        return (
            level,
            "safe" if verdict.safe else f"not safe: {verdict.reason}",
            {"occupied": ", ".join(verdict.occupied)},
        )

    @staticmethod
    def _keep(store: OrderedDict[int, Any], stamp: int, what: Any) -> None:
        store[stamp] = what
        while len(store) > WAITING:
            store.popitem(last=False)
