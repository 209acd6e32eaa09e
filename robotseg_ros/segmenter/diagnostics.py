# SPDX-License-Identifier: Apache-2.0
"""What the node says about itself on /diagnostics: once a second, and at once when a state changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile

from robotseg_core.types import State
from robotseg_ros.common.model import Model
from robotseg_ros.common.qos import PublisherEventCallbacks, Topics
from robotseg_ros.segmenter.camera_topics import Camera

TOPIC = "/diagnostics"
PERIOD_S = 1.0
LEVELS = {
    None: (DiagnosticStatus.WARN, "no image yet"),
    State.SEARCHING: (DiagnosticStatus.OK, "SEARCHING: no robot seen yet"),
    State.TRACKING: (DiagnosticStatus.OK, "TRACKING"),
    State.DEGRADED: (DiagnosticStatus.WARN, "DEGRADED: masks of low score"),
    State.LOST: (DiagnosticStatus.OK, "LOST: the robot is out of view"),
    State.STALE: (DiagnosticStatus.STALE, "STALE: nothing current is known"),
    State.FAULT: (DiagnosticStatus.ERROR, "FAULT: the model failed"),
}


class Diagnostics:
    """Publishes a status for the model and one for each camera."""

    def __init__(self, node: LifecycleNode, topics: Topics, model: Model) -> None:
        self._node, self._topics, self._model = node, topics, model
        # An ordinary publisher: what is wrong is to be known in every state of the node.
        self._publisher = node.create_publisher(
            DiagnosticArray,
            TOPIC,
            QoSProfile(depth=10),
            # The executor goes through all events several times for every image.
            event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
        )
        self._last_states: list[Any] = []
        self._last_time = -PERIOD_S

    def update(self, cameras: Sequence[Camera]) -> None:
        """Publish, if it is time to or a state has changed."""
        states = [(camera.options.name, camera.enabled, camera.inference.answers.state) for camera in cameras]
        now = time.monotonic()
        if states == self._last_states and now - self._last_time < PERIOD_S:
            return
        self._last_states, self._last_time = states, now
        problems = self._topics.problems()
        array = DiagnosticArray(
            status=[self._of_model(problems, bool(cameras)), *(self._of_camera(camera) for camera in cameras)]
        )
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def destroy(self) -> None:
        """Take the topic down."""
        self._node.destroy_publisher(self._publisher)

    def _of_model(self, problems: dict[str, str], active: bool) -> DiagnosticStatus:
        model = self._model
        values = {
            "preset": model.preset,
            "device": model.device,
            "backend": model.backend,
            "weights": model.source,
            "weights_sha256": model.sha256,
            "device_memory_mib": _number(memory_mib(model.device)),
            "active": str(active).lower(),
            **{f"incompatible_qos {topic}": words for topic, words in problems.items()},
        }
        message = f"{model.preset} on {model.device}, encoder on {model.backend}"
        if problems:
            message = f"incompatible QoS on {', '.join(problems)}: {next(iter(problems.values()))}"
        return _status(
            DiagnosticStatus.WARN if problems else DiagnosticStatus.OK,
            self._name("model"),
            message,
            model.device,
            values,
        )

    def _of_camera(self, camera: Camera) -> DiagnosticStatus:
        counters, state = camera.inference.counters, camera.inference.answers.state
        level, message = LEVELS[state] if camera.enabled else (DiagnosticStatus.OK, "disabled")
        topic = self._node.resolve_topic_name(camera.options.image)
        publishers = self._node.count_publishers(topic)
        if publishers > 1 and camera.enabled:
            level = DiagnosticStatus.WARN if level == DiagnosticStatus.OK else level
            message = f"{message}; {publishers} publishers on {topic}: their images are taken for one camera's"
        contested = camera.inference.answers.contested
        if contested:
            level = DiagnosticStatus.ERROR
            message = f"{message}; {contested} publishes on these topics, too: answers are withheld"
        age, work = counters.age.percentiles, counters.work.percentiles
        restriction = camera.inference.restriction
        without_depth = 0 if restriction is None else restriction.without_depth
        values = {
            "state": "none" if state is None else state.name,
            "enabled": str(camera.enabled).lower(),
            "publishers": str(publishers),
            "images_hz": _number(counters.images_in.hz),
            "answers_hz": _number(counters.answers_out.hz),
            "age_ms_p50": _number(age.p50),
            "age_ms_p95": _number(age.p95),
            "age_ms_p99": _number(age.p99),
            "work_ms_p50": _number(work.p50),
            "work_ms_p95": _number(work.p95),
            "work_ms_p99": _number(work.p99),
            "received": str(counters.received),
            "answered": str(counters.answered),
            "encoded_with_others": str(counters.encoded_with_others),
            "dropped_for_newer": str(counters.dropped),
            "lost_on_the_way": str(counters.lost),
            "too_old": str(counters.too_old),
            "in_future": str(counters.in_future),
            "outdated": str(counters.outdated),
            "contested": str(counters.contested),
            "faults": str(counters.faults),
            "unpublished": str(counters.unpublished),
            "prompts_refused": str(counters.prompts_refused),
            "without_depth": str(without_depth),
            "refused": str(counters.refused.total()),
            "restarts": str(counters.restarts.total()),
            **{f"refused {reason}": str(count) for reason, count in sorted(counters.refused.items())},
            **{f"restarts {reason}": str(count) for reason, count in sorted(counters.restarts.items())},
        }
        return _status(level, self._name(camera.options.name or "camera"), message, topic, values)

    def _name(self, what: str) -> str:
        return f"{self._node.get_fully_qualified_name()}: {what}"


def memory_mib(device: str) -> float:
    """Memory that PyTorch holds on a CUDA device, else resident memory of this process, MiB."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.memory_reserved(device) / 2**20
    resident = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(resident.split()[1]) / 2**10


def _number(value: float) -> str:
    return f"{value:.1f}"


def _status(level: bytes, name: str, message: str, hardware: str, values: dict[str, str]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware, values=pairs)
