# SPDX-License-Identifier: Apache-2.0
"""The node: camera topics in, mask topics out.  A thin lifecycle around one inference thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.validate_topic_name import validate_topic_name

from robotseg_core.instruct.policies import default_policy
from robotseg_core.instruct.prompt_set import Policy
from robotseg_ros.common.camera_log import cut
from robotseg_ros.common.executor import answer_states
from robotseg_ros.common.model import Model, ModelLoader, load_robotseg
from robotseg_ros.common.qos import Topics
from robotseg_ros.segmenter.camera_topics import Camera
from robotseg_ros.segmenter.diagnostics import Diagnostics
from robotseg_ros.segmenter.encoder_batch import EncoderBatch
from robotseg_ros.segmenter.inference import Inference
from robotseg_ros.segmenter.instruct.instructions import Instructions
from robotseg_ros.segmenter.nearest.depth_images import LIVE_PATIENCE_S, REPLAY_PATIENCE_S, DepthImages
from robotseg_ros.segmenter.nearest.limits import Restriction
from robotseg_ros.segmenter.parameters.declared import Parameters
from robotseg_ros.segmenter.parameters.options import CameraOptions, LiveOptions, SegmenterOptions
from robotseg_ros.segmenter.publishers import Publishers
from robotseg_ros.segmenter.vision_messages import VisionMessages
from robotseg_ros.segmenter.watch import Watch
from robotseg_ros.segmenter.worker import FairWorker

NODE_NAME = "robotseg"
STOP_TIMEOUT_S = 1.0
"""How long deactivating waits for the image being worked on."""
WATCH_PERIOD_S = 0.05
ASK_PERIOD_S = 0.05
"""How often it is looked for questions while the model loads."""


class Segmenter(LifecycleNode):
    """Lifecycle node ``robotseg``.

    Configuring loads the model and advertises the topics, activating subscribes to the cameras, and the other way
    round.

    Attributes:
        options: the read-only parameters.
        cameras: their sessions; empty while not active.

    Args:
        load_model: makes the model when the node is configured, ready for its first image.
        give_up: called again and again while the model loads; what it raises breaks that off.
        **node_arguments: passed to ``rclpy.lifecycle.LifecycleNode``, e.g. ``context``, ``parameter_overrides``.
    """

    def __init__(
        self,
        load_model: ModelLoader = load_robotseg,
        *,
        give_up: Callable[[], None] = lambda: None,
        **node_arguments: Any,
    ) -> None:
        super().__init__(NODE_NAME, **node_arguments)
        self._settings = Parameters(self)
        self._topics = Topics(self)
        self._load_model, self._give_up = load_model, give_up
        self._model: Model | None = None
        self._policy: Policy | None = None
        self._outputs: list[Publishers] = []
        self._diagnostics: Diagnostics | None = None
        self._worker: FairWorker | None = None
        self._watch: Watch | None = None
        self._loading: threading.Thread | None = None
        self.cameras: tuple[Camera, ...] = ()

    @property
    def options(self) -> SegmenterOptions:
        """The read-only parameters."""
        return self._settings.options

    def live(self) -> LiveOptions:
        """The parameters that can be changed, as they are now."""
        return self._settings.live

    def autostart(self) -> bool:
        """Configure and activate.  Returns whether the node is active now; the log says why not."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and advertise the topics."""

        def configure() -> TransitionCallbackReturn:
            # Seen here already: a wrong name should not cost the loading of a model first.
            for camera in self.options.cameras:
                for topic in filter(None, (camera.image, camera.info, camera.click_topic)):
                    validate_topic_name(topic)
                    self.resolve_topic_name(topic)
            vision = VisionMessages() if self.options.vision_msgs else None
            started = time.monotonic()
            model = self._load()
            self._model, self._policy = model, default_policy(model)
            for camera in self.options.cameras:
                self._outputs.append(
                    Publishers(self, self._topics, camera, model, replay=self.options.replay, vision=vision)
                )
            self._diagnostics = Diagnostics(self, self._topics, model)
            self._watch = Watch(self._look, WATCH_PERIOD_S, "watch")
            adapter = f"adapter {model.robot}, " if model.robot else ""
            self.get_logger().info(
                f"{model.preset} on {model.device}, encoder on {model.backend}, weights {model.source} "
                f"(SHA-256 {model.sha256}), requests read by {self._policy.name}, "
                f"{adapter}ready after {time.monotonic() - started:.1f} s"
            )
            return TransitionCallbackReturn.SUCCESS

        return self._guarded("configure", configure, undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open a stream for each camera and listen to it."""

        def activate() -> TransitionCallbackReturn:
            # The publishers first: an answer may be there before this has returned.
            done = super(Segmenter, self).on_activate(state)
            assert self._model is not None
            together = EncoderBatch(self._model, self.get_logger().warning) if self._model.encoder_batch > 1 else None
            self._worker = FairWorker("inference", together)
            for options, publishers in zip(self.options.cameras, self._outputs, strict=True):
                publishers.publish_once()
                camera = self._open(options, publishers)
                self.cameras = (*self.cameras, camera)
                camera.open()
            return done

        def undo() -> None:
            self.stop_inference()
            super(Segmenter, self).on_deactivate(state)

        return self._guarded("activate", activate, undo=undo)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening, end the inference thread and forget the streams."""

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

    def stop_inference(self) -> bool:
        """Stop listening and end the inference thread, if they are there.

        Returns:
            False when the model still works on an image, or an image is still being decoded: the thread is left behind.
        """
        cameras, self.cameras = self.cameras, ()
        ended = all([camera.close() for camera in cameras])
        worker, self._worker = self._worker, None
        if worker is None or worker.stop(STOP_TIMEOUT_S):
            return ended
        self.get_logger().error(f"the model still works on an image after {STOP_TIMEOUT_S} s; left behind")
        return False

    def stop(self) -> bool:
        """End all threads.  Returns whether they have ended; those that have not are left behind."""
        watch, self._watch = self._watch, None
        ended = [watch is None or watch.stop(STOP_TIMEOUT_S), self.stop_inference()]
        loading = self._loading is not None and self._loading.is_alive()
        return all(ended) and not loading

    def _load(self) -> Model:
        """Load the model in a thread: who asks for the state meanwhile, as nav2's lifecycle manager, is answered."""
        made: list[Model] = []
        failed: list[Exception] = []

        def load() -> None:
            try:
                made.append(self._load_model(self.options.model))
            except Exception as error:
                failed.append(error)

        self._loading = threading.Thread(target=load, name="loading", daemon=True)
        self._loading.start()
        while self._loading.is_alive():
            self._loading.join(ASK_PERIOD_S)
            self._give_up()
            answer_states(self)
        if failed:
            raise failed[0]
        return made[0]

    def destroy_node(self) -> None:
        """Destroy the node, and with it what rclpy forgets: the lifecycle's state machine.

        It keeps the node's DDS participant, which else leaves its shared memory behind and stays in the graph, until
        Python's garbage collector finds it in the node's reference cycles; in a process that keeps these out of
        collections, for ever.
        """
        super().destroy_node()
        state_machine = self.__dict__.pop("_state_machine", None)
        if state_machine is not None:
            state_machine.destroy_when_not_in_use()

    def _open(self, options: CameraOptions, publishers: Publishers) -> Camera:
        assert self._model is not None and self._worker is not None
        replay = self.options.replay
        stream = self._model.stream()
        inference = Inference(
            self,
            stream,
            publishers,
            self.live,
            replay=replay,
            name=options.name,
            instructions=Instructions(self._model, self._policy),
            unfinished_jpeg=self.options.jpeg_without_end,
        )
        depth = DepthImages(REPLAY_PATIENCE_S if replay else LIVE_PATIENCE_S)
        limits = self._settings.limits
        inference.restriction = Restriction(
            lambda: limits.of(options.name), depth, inference.log, border=options.depth_border
        )
        return Camera(self, self._topics, options, publishers, inference, self._worker, self.live, replay=replay)

    def _look(self) -> None:
        """What the watch thread does."""
        try:
            for camera in self.cameras:
                camera.watch()
            if self._diagnostics is not None:
                self._diagnostics.update(self.cameras)
        except Exception:
            # ROS may be shut down under this thread at any moment, by Ctrl-C for one.
            if self.context.ok():
                raise

    def _release(self) -> TransitionCallbackReturn:
        self.stop()
        for publishers in self._outputs:
            publishers.destroy()
        self._outputs = []
        if self._diagnostics is not None:
            self._diagnostics.destroy()
        self._diagnostics = self._model = self._policy = None
        return TransitionCallbackReturn.SUCCESS

    def _guarded(
        self, name: str, transition: Callable[[], TransitionCallbackReturn], undo: Callable[[], Any] = lambda: None
    ) -> TransitionCallbackReturn:
        """Run a transition and log why it fails, because rclpy swallows what its callbacks raise; then undo it."""
        try:
            return transition()
        except Exception as error:
            # A file of weights may have named things that are in there.
            self.get_logger().error(f"cannot {name}: {type(error).__name__}: {cut(str(error), 2000)}")
            undo()
            return TransitionCallbackReturn.FAILURE
