# SPDX-License-Identifier: Apache-2.0
"""The safety monitor example: stop when the robot is in a zone of the image, or when nobody knows where it is.

Not a safety-rated device: an example of how masks can be watched.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, Header

from robotseg_core.geometry.zones import Caution, Event, EventKind, ZoneMonitor, load_plan
from robotseg_core.types import State
from robotseg_ros.common.fixed_parameters import FixedParameters
from robotseg_ros.common.image_codec import CodecError
from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.common.shipped import config_file
from robotseg_ros.companions.depth_codec import decode_mask
from robotseg_ros.msg import PartMasks, SafetyState

NODE_NAME = "safety_monitor"
WAITING = 8
"""Masks and states kept until their other half comes."""
LOG_PERIOD_S = 5.0


@dataclass(frozen=True)
class MonitorOptions:
    """Parameters of the node.

    Attributes:
        mask, parts: topics.
        zones: file of the zones.
        caution: how careful the monitor is.
        rate: of the output, Hz, beside every change.
    """

    mask: str
    parts: str
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
            mask=fixed.text("mask", "/robotseg/robot_mask", "Mask of the robot (sensor_msgs/Image, mono8)."),
            parts=fixed.text("parts", "/robotseg/parts", "What the segmenter says of each image (PartMasks)."),
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
        self.create_subscription(Image, options.mask, self._on_mask, qos)
        self.create_subscription(PartMasks, options.parts, self._on_parts, qos)
        # By the steady clock: it must go on when the node's clock stands still.
        self.create_timer(1 / options.rate, self._on_time, clock=Clock(clock_type=ClockType.STEADY_TIME))
        names = ", ".join(zone.name for zone in self.monitor.plan.zones)
        self.get_logger().info(f"zones of {options.zones}: {names}. This is no safety-rated device.")

    def _on_mask(self, message: Image) -> None:
        try:
            mask = decode_mask(message)
        except CodecError as error:
            self.get_logger().warning(f"mask refused: {error}", throttle_duration_sec=LOG_PERIOD_S)
            return
        self._keep(self._masks, stamp_ns(message.header), mask)
        self._judge(message.header)

    def _on_parts(self, message: PartMasks) -> None:
        known = [state.value for state in State]
        state = State(message.state) if message.state in known else State.FAULT
        if not message.parts:
            # Nothing is known: no mask will come.
            self._see(None, state, message.header)
            return
        self._keep(self._states, stamp_ns(message.header), state)
        self._judge(message.header)

    def _judge(self, header: Header) -> None:
        stamp = stamp_ns(header)
        if stamp in self._masks and stamp in self._states:
            self._see(self._masks.pop(stamp), self._states.pop(stamp), header)

    def _see(self, mask: NDArray[np.uint8] | None, state: State, header: Header) -> None:
        age = (self.get_clock().now().nanoseconds - stamp_ns(header)) / 1e9
        before = replace(self.monitor.verdict)
        self._header = header
        self._log(self.monitor.see(mask, state, age, time.monotonic()))
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

    def _log(self, events: list[Event]) -> None:
        for event in events:
            if event.kind is EventKind.UNKNOWN:
                self.get_logger().warning(f"unknown: {event.reason}")
            else:
                self.get_logger().info(f"robot {event.kind.value} {event.zone}" if event.zone else "masks are known")

    @staticmethod
    def _keep(store: OrderedDict[int, Any], stamp: int, what: Any) -> None:
        store[stamp] = what
        while len(store) > WAITING:
            store.popitem(last=False)
