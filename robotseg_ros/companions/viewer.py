# SPDX-License-Identifier: Apache-2.0
"""The viewer: camera, overlay, masks and states for Foxglove over a websocket, without ROS tools on the other side.

Needs the package ``foxglove-sdk`` (extra ``view``).  A topic is subscribed to only while somebody looks at it, so
that the segmenter composes nothing for nobody.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from robotseg_core.types import PARTS, State
from robotseg_ros.common.messages import stamp_ns
from robotseg_ros.companions.fixed_parameters import FixedParameters
from robotseg_ros.companions.inputs import Input, Inputs, Status
from robotseg_ros.companions.web_gate import WebGate, hidden_address
from robotseg_ros.msg import PartMasks

try:
    import foxglove
    from foxglove.channels import RawImageChannel
    from foxglove.messages import RawImage, Timestamp
    from foxglove.websocket import ChannelView, Client, ServerListener
except ImportError as error:
    raise RuntimeError("the viewer needs the package foxglove-sdk: pip install foxglove-sdk") from error

NODE_NAME = "viewer"
ORIGINS = "https://app.foxglove.dev https://studio.foxglove.dev file://"
"""Foxglove in the browser, its older address, and its program, whose pages are files."""
PICTURES = ("overlay", *(f"{part}_mask" for part in PARTS))
LOOK_PERIOD_S = 0.1
"""How often it is seen who looks at what."""
BACKLOG = 16
"""Messages kept for a slow viewer; then the oldest ones are lost to it."""
MAX_PICTURE = 32 * 2**20
"""Bytes of a picture that is passed on, so that what is kept is bounded; one of 3840 x 2160 has 24 MiB."""
PARTS_QOS = QoSProfile(depth=10)
PART_SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "number"}, "area": {"type": "integer"}, "present": {"type": "boolean"}},
}
PARTS_SCHEMA = {
    # What Foxglove shows as its name.
    "title": "robotseg.Parts",
    "type": "object",
    "properties": {
        "state": {"type": "string"},
        "age_ms": {"type": "number"},
        "dropped": {"type": "integer"},
        **dict.fromkeys(PARTS, PART_SCHEMA),
    },
}


@dataclass(frozen=True)
class ViewerOptions:
    """Parameters of the node: the image topic, where the segmenter's topics are, where to serve, and which pages."""

    camera: str
    prefix: str
    host: str
    port: int
    origins: tuple[str, ...]

    @staticmethod
    def declare(node: Node) -> ViewerOptions:
        """Declare the parameters."""
        fixed = FixedParameters(node)
        return ViewerOptions(
            camera=fixed.topic("camera", "/camera/image_raw", "Image topic of the camera."),
            prefix=fixed.topic("prefix", "/robotseg", "What the segmenter's topics begin with."),
            host=fixed.text("host", "127.0.0.1", "Address to serve on; 0.0.0.0 lets other machines look."),
            port=int(fixed.number("port", 8765, 0, 65535, "Port to serve on; 0: any that is free.")),
            origins=tuple(
                fixed.text("origins", ORIGINS, "Web pages that may look, by their Origin, separated by spaces.").split()
            ),
        )


class Audience(ServerListener):
    """Who looks at which topic.  Called by the server's threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._viewers: Counter[str] = Counter()

    def on_subscribe(self, client: Client, channel: ChannelView) -> None:
        """Somebody looks at a topic."""
        with self._lock:
            self._viewers[channel.topic] += 1

    def on_unsubscribe(self, client: Client, channel: ChannelView) -> None:
        """Somebody looks away, or is gone."""
        with self._lock:
            self._viewers[channel.topic] -= 1

    def looks_at(self, topic: str) -> bool:
        """Whether anybody looks at a topic."""
        with self._lock:
            return self._viewers[topic] > 0


class Viewer(Node):
    """Node ``viewer``.

    Attributes:
        options: the parameters.
        port: that is served on.

    Args:
        **node_arguments: passed to ``rclpy.node.Node``.

    Raises:
        RuntimeError: the port cannot be served on.
        ValueError: a parameter is out of its range.
        rclpy.exceptions.ParameterException: a parameter is of another type.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        options = self.options = ViewerOptions.declare(self)
        prefix = options.prefix.rstrip("/")
        self._inputs = Inputs(self, self._status)
        # Kept: channels end with their context.
        context = self._channels = foxglove.Context()
        self._images = {
            topic: RawImageChannel(topic, context=context)
            # By the names that they have after remapping.
            for topic in map(self.resolve_topic_name, (options.camera, *(f"{prefix}/{name}" for name in PICTURES)))
        }
        self._parts_topic = self.resolve_topic_name(f"{prefix}/parts")
        self._parts = foxglove.Channel(self._parts_topic, schema=PARTS_SCHEMA, context=context)
        self._audience = Audience()
        self._listening: dict[str, Input] = {}
        self._server: Any = None
        self._gate: WebGate | None = None
        try:
            self._gate = WebGate(
                options.host, options.port, options.origins, lambda words: self._inputs.log.warning("origin", words)
            )
            hidden = hidden_address()
            self._server = foxglove.start_server(
                name="robotseg",
                host=hidden,
                port=0,
                server_listener=self._audience,
                context=context,
                message_backlog_size=BACKLOG,
            )
        except Exception as error:
            if self._gate is not None:
                self._gate.close()
            raise RuntimeError(f"cannot serve on {options.host}:{options.port}: {error}") from error
        self._gate.open((hidden, int(self._server.port)))
        self.port = self._gate.port
        self.create_timer(LOOK_PERIOD_S, self._follow_audience)
        self.get_logger().info(f"open Foxglove, connect to ws://{options.host}:{self.port}")

    def destroy_node(self) -> None:
        """End the server, then the node."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.close()
        server, self._server = self._server, None
        if server is not None:
            server.stop()
        super().destroy_node()

    def _follow_audience(self) -> None:
        # The newest picture is wanted, not all of them.
        pictures = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        for topic in (*self._images, self._parts_topic):
            looked_at = self._audience.looks_at(topic)
            if looked_at and topic not in self._listening:
                if topic == self._parts_topic:
                    made = self._inputs.subscribe(PartMasks, topic, self._on_parts, PARTS_QOS, what="states")
                else:
                    made = self._inputs.subscribe(Image, topic, self._listener(topic), pictures, what="picture")
                self._listening[topic] = made
            elif not looked_at and topic in self._listening:
                self._inputs.unsubscribe(self._listening.pop(topic))

    def _listener(self, topic: str) -> Any:
        def on_image(message: Image) -> None:
            stamp = stamp_ns(message.header)
            if stamp < 0:
                self._inputs.refuse(self._listening[topic], f"stamp is {stamp / 1e9} s, must be 0 or more")
                return
            if len(message.data) > MAX_PICTURE:
                size = f"{message.width} x {message.height}"
                self._inputs.refuse(
                    self._listening[topic], f"{size} has {len(message.data)} bytes, at most {MAX_PICTURE} are passed on"
                )
                return
            picture = RawImage(
                timestamp=Timestamp(message.header.stamp.sec, message.header.stamp.nanosec),
                frame_id=message.header.frame_id,
                width=message.width,
                height=message.height,
                encoding=message.encoding,
                step=message.step,
                data=message.data.tobytes(),
            )
            self._images[topic].log(picture, log_time=stamp)

        return on_image

    def _on_parts(self, message: PartMasks) -> None:
        known = {state.value: state.name for state in State}
        if message.state not in known:
            self._inputs.refuse(self._listening[self._parts_topic], f"state is {message.state}, must be in {known}")
            return
        # JSON has no NaN and no infinity; a number that is not known is left out.
        parts = {
            part.name: {"area": part.area, "present": part.present} | _finite("score", part.score)
            for part in message.parts
            if part.name in PARTS
        }
        age = _finite("age_ms", message.age_ms)
        said = {"state": known[message.state], "dropped": message.dropped, **age, **parts}
        self._parts.log(said, log_time=self.get_clock().now().nanoseconds)

    def _status(self) -> Status:
        return DiagnosticStatus.OK, f"{len(self._listening)} topics are looked at", {}


def _finite(name: str, value: float) -> dict[str, float]:
    return {name: value} if math.isfinite(value) else {}
