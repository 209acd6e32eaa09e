# SPDX-License-Identifier: Apache-2.0
"""The node: a camera topic in, three mask topics out.  A thin lifecycle around one inference thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import Image

from robotseg_core.types import State
from robotseg_ros import msg as ros_msg
from robotseg_ros import parameters
from robotseg_ros.inference import Inference, LastImage
from robotseg_ros.messages import to_prompt
from robotseg_ros.model import Model, ModelLoader, load_robotseg
from robotseg_ros.publishers import Publishers
from robotseg_ros.worker import NewestWorker

NODE_NAME = "robotseg"
# Only the newest image counts: anything queued would be answered late.
CAMERA_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
PROMPT_QOS = QoSProfile(depth=10)
STOP_TIMEOUT_S = 1.5
"""How long deactivating waits for the image being worked on."""
WARM_UP_SHAPE = (480, 640, 3)


class Segmenter(LifecycleNode):
    """Lifecycle node ``robotseg``.

    Configuring loads the model, activating subscribes to the camera, and the other way round.

    Attributes:
        options: the read-only parameters.
        inference: what happens to the images; None while not active.

    Args:
        load_model: makes the model when the node is configured.
        **node_arguments: passed to ``rclpy.lifecycle.LifecycleNode``, e.g. ``context``, ``parameter_overrides``.
    """

    def __init__(self, load_model: ModelLoader = load_robotseg, **node_arguments: Any) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        self.options = parameters.declare(self)
        self._load_model = load_model
        self._model: Model | None = None
        self._outputs: Publishers | None = None
        self.inference: Inference | None = None
        self._worker: NewestWorker[Image] | None = None
        self._inputs: list[Any] = []
        self._stale_timer: Any = None
        self._reported_stale: LastImage | None = None

    def autostart(self) -> bool:
        """Configure and activate.  Returns whether the node is active now; the log says why not."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and advertise the topics."""

        def configure() -> TransitionCallbackReturn:
            # Seen here already: a wrong name should not cost the loading of a model first.
            validate_topic_name(self.options.camera)
            self.resolve_topic_name(self.options.camera)
            started = time.monotonic()
            model = self._load_model(self.options.model)
            # The first step of a model allocates and tunes; no camera image should wait for that.
            model.stream().step(np.zeros(WARM_UP_SHAPE, np.uint8), 0)
            self._outputs = Publishers(self, model)
            self._model = model
            self.get_logger().info(
                f"{model.preset} on {model.device}, encoder on {model.backend}, "
                f"ready after {time.monotonic() - started:.1f} s"
            )
            return TransitionCallbackReturn.SUCCESS

        return self._guarded("configure", configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open a stream and listen to the camera."""

        def activate() -> TransitionCallbackReturn:
            assert self._model is not None and self._outputs is not None
            inference = Inference(self, self._model.stream(), self._outputs)
            worker = NewestWorker(inference.process, "inference")
            self.inference, self._worker = inference, worker
            self._inputs = [
                self.create_subscription(Image, self.options.camera, worker.put, CAMERA_QOS),
                self.create_subscription(ros_msg.Prompt, "~/prompt", self._on_prompt, PROMPT_QOS),
            ]
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._stale_timer = self.create_timer(self.options.stale_after / 4, self._watch, clock=steady)
            self.get_logger().info(f"listening to {self.resolve_topic_name(self.options.camera)}")
            return super(Segmenter, self).on_activate(state)

        return self._guarded("activate", activate, undo=self.stop_inference)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening, end the inference thread and forget the stream."""

        def deactivate() -> TransitionCallbackReturn:
            self.stop_inference()
            return super(Segmenter, self).on_deactivate(state)

        return self._guarded("deactivate", deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop the model and the topics."""
        return self._guarded("clean up", self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything from whatever state."""
        return self._guarded("shut down", self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        return self._guarded("recover", self._release)

    def stop_inference(self) -> None:
        """Stop listening and end the inference thread, if they are there."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self._stale_timer is not None:
            self.destroy_timer(self._stale_timer)
            self._stale_timer = None
        worker, self._worker = self._worker, None
        inference, self.inference = self.inference, None
        if inference is not None:
            inference.stop()
        if worker is not None and not worker.stop(STOP_TIMEOUT_S):
            self.get_logger().error(f"the model still works on an image after {STOP_TIMEOUT_S} s; left behind")

    def _release(self) -> TransitionCallbackReturn:
        self.stop_inference()
        if self._outputs is not None:
            self._outputs.destroy()
        self._outputs = self._model = None
        return TransitionCallbackReturn.SUCCESS

    def _guarded(
        self, name: str, transition: Callable[[], TransitionCallbackReturn], undo: Callable[[], None] = lambda: None
    ) -> TransitionCallbackReturn:
        """Run a transition and log why it fails, because rclpy swallows what its callbacks raise; then undo it."""
        try:
            return transition()
        except Exception as error:
            self.get_logger().error(f"cannot {name}: {type(error).__name__}: {error}")
            undo()
            return TransitionCallbackReturn.FAILURE

    def _on_prompt(self, message: ros_msg.Prompt) -> None:
        try:
            prompt = to_prompt(message)
        except ValueError as error:
            self.get_logger().warning(f"prompt refused: {error}")
            return
        if self.inference is not None:
            self.inference.prompt(prompt)

    def _watch(self) -> None:
        """Say STALE once when no image was read for a while, or when the model is not done with one."""
        if self.inference is None or self._outputs is None:
            return
        last, busy = self.inference.last, self.inference.busy
        if last is self._reported_stale or time.monotonic() - last.when <= self.options.stale_after:
            return
        self._reported_stale = last
        self._outputs.publish_without_parts(last.header, State.STALE, dropped=0)
        why = "the model still works on an image after" if busy else f"no usable image on {self.options.camera} for"
        self.get_logger().warning(f"{why} {self.options.stale_after} s")
