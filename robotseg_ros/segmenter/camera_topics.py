# SPDX-License-Identifier: Apache-2.0
"""One camera while the node is active: what is subscribed to and offered for it, and its session."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from geometry_msgs.msg import PointStamped
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from robotseg_ros import msg as ros_msg
from robotseg_ros.common import qos
from robotseg_ros.common.camera_log import cut
from robotseg_ros.common.graph import NOTHING_KNOWN, Senders, why_silent
from robotseg_ros.common.messages import to_prompt, too_long, too_long_lens
from robotseg_ros.companions.aligned_depth import COMPRESSED_DEPTH
from robotseg_ros.segmenter.hints import HINT_WORDS, Hint, check_inside, click_prompt, click_stamp
from robotseg_ros.segmenter.inference import Inference, LastImage
from robotseg_ros.segmenter.instruct.service import answer_request
from robotseg_ros.segmenter.parameters.options import CameraOptions, LiveOptions
from robotseg_ros.segmenter.publishers import Publishers
from robotseg_ros.segmenter.rivals import Rivals
from robotseg_ros.segmenter.unpacking import Unpacking
from robotseg_ros.segmenter.worker import FairWorker, Lane
from robotseg_ros.srv import Instruct

REPLAY_DEPTH = 8
"""Images of a recording that wait in the node; further ones wait in the middleware, and then at the sender."""


class Camera:
    """Made when the node is activated, closed when it is deactivated.

    Attributes:
        options: of this camera.
        inference: its session.

    Args:
        node: that it belongs to.
        topics: of the node.
        options: of this camera.
        publishers: where its answers go.
        inference: its session.
        worker: the inference thread, shared by all cameras.
        live: gives the parameters as they are now.
        replay: whether every image is worked on, in order.
    """

    def __init__(
        self,
        node: LifecycleNode,
        topics: qos.Topics,
        options: CameraOptions,
        publishers: Publishers,
        inference: Inference,
        worker: FairWorker,
        live: Callable[[], LiveOptions],
        *,
        replay: bool,
    ) -> None:
        self._node, self._topics, self._publishers, self._live = node, topics, publishers, live
        self._replay = replay
        self.options = options
        self.inference = inference
        self._reported_stale: LastImage | None = None
        self._mixed: LastImage | None = None
        depth = REPLAY_DEPTH * replay
        lane = worker.lane(inference, depth=depth, on_room=self._wake)
        # Decoding a picture may take long, whatever its size; a raw image is no work to speak of.
        self._unpacking = Unpacking(inference, lane, depth, options.name) if options.compressed else None
        self._lane: Lane | Unpacking = self._unpacking or lane
        self._gate = qos.Gate(lambda: not self._lane.full) if replay else None
        self._senders, self._info_senders = Senders(), Senders()
        self._rivals = Rivals(node, topics, publishers, inference.answers)
        self._images: Any = None
        self._listening = False
        self._subscriptions: list[Any] = []
        self._services: list[Any] = []

    @property
    def enabled(self) -> bool:
        """Whether its images are listened to."""
        return not self.inference.answers.paused

    @property
    def topic(self) -> str:
        """Full name of the image topic, after remapping."""
        return str(self._node.resolve_topic_name(self.options.image))

    def open(self) -> None:
        """Subscribe to everything and offer the services."""
        options, command = self.options, qos.command_qos()
        self._services = [
            self._node.create_service(Trigger, options.output("reset"), self._on_reset),
            self._node.create_service(SetBool, options.output("enable"), self._on_enable),
            self._node.create_service(Instruct, options.output("instruct"), self._on_instruct),
        ]
        self._subscriptions = [
            self._topics.subscribe(
                CameraInfo, options.info, lambda info, known: self._on_info(info, known), qos.info_qos()
            ),
            self._topics.subscribe(ros_msg.Prompt, options.output("prompt"), self._on_prompt, command),
        ]
        if options.click_topic:
            self._subscriptions.append(
                self._topics.subscribe(PointStamped, options.click_topic, self._on_click, command)
            )
        restriction = self.inference.restriction
        if options.depth and restriction is not None:
            kind = CompressedImage if options.depth.endswith(COMPRESSED_DEPTH) else Image
            add = restriction.depth.add
            self._subscriptions.append(
                self._topics.subscribe(
                    kind, options.depth, lambda image, info: add(image, info), qos.depth_qos(self._replay)
                )
            )
        self._rivals.watch()
        self._listen()
        self.inference.log.info("listening", f"listening to {self.topic}")

    def close(self) -> bool:
        """Take all of it down; the answer to an image still worked on is not published.

        Returns:
            False when an image is still being decoded: its thread is left behind.
        """
        self.inference.answers.stop()
        self._ignore()
        self._rivals.close()
        ended = self._unpacking is None or self._unpacking.close()
        while self._subscriptions:
            self._topics.unsubscribe(self._subscriptions.pop())
        while self._services:
            self._node.destroy_service(self._services.pop())
        return ended

    def watch(self) -> None:
        """Say STALE once when no image was read for a while, or when the model is not done with one.

        Not in replay: a recording may be slow, or over.  Called by the watch thread, which never waits for the model.
        """
        stale_after = self._live().stale_after
        last, busy = self.inference.last, self.inference.busy
        if self._replay or not self._listening or last is self._reported_stale:
            return
        if time.monotonic() - last.when <= stale_after:
            return
        if self.inference.stale(unless=lambda: self.inference.last is not last):
            self._reported_stale = last
            if busy:
                why = f"the model still works on an image after {stale_after} s"
            elif self._unpacking is not None and self._unpacking.busy:
                why = f"an image on {self.topic} is still being decoded after {stale_after} s"
            elif self._lane.waiting:
                why = f"{self.topic} waits for the model, which works on another camera, for {stale_after} s"
            else:
                why = f"no usable image on {self.topic} for {stale_after} s{self._silence()}"
            self.inference.log.warning("stale", why)

    def _silence(self) -> str:
        """What the graph says about why no image comes."""
        why = why_silent(self._node, self.topic, self._kind, qos.camera_qos(self._replay))
        if "is expected" in why:
            why += " (parameter transport)"
        return f": {why}" if why else ""

    @property
    def _kind(self) -> type:
        return CompressedImage if self.options.compressed else Image

    def _listen(self) -> None:
        self._images = self._topics.subscribe(
            self._kind,
            self.options.image,
            # rclpy gives the second argument to who has to have it.
            lambda image, info: self._on_image(image, info),
            qos.camera_qos(self._replay),
            lost=self.inference.lost,
            group=self._gate,
        )
        self.inference.listening()
        self._listening = True

    def _ignore(self) -> None:
        self._listening = False
        if self._images is not None:
            self._topics.unsubscribe(self._images)
            self._images = None
        self._lane.clear()

    def _wake(self) -> None:
        if self._node.executor is not None:
            self._node.executor.wake()

    def _on_image(self, image: Any, info: Mapping[str, Any] = NOTHING_KNOWN) -> None:
        counters = self.inference.counters
        counters.received += 1
        counters.images_in.count()
        long = too_long(image.header)
        if long:
            self.inference.refuse("frame_id", long)
            return
        senders = self._senders.hear(info, image.header.frame_id)
        if senders > 1:
            self._refuse_mixture(senders, image.header.frame_id)
            return
        if self._senders.changed:
            self.inference.reset("images come from another publisher")
        self._lane.put(image)

    def _refuse_mixture(self, senders: int, frame_id: str) -> None:
        """Several cameras that nobody can tell apart: what one shows is not what the other's last mask was about."""
        counters = self.inference.counters
        counters.refused["senders"] += 1
        self._lane.clear()
        self.inference.reset("several cameras were mixed")
        last = self.inference.last
        if last is not self._mixed:
            self._mixed = last
            self.inference.stale(unless=lambda: False)
        self.inference.log.warning(
            "senders",
            f"{senders} publishers send images of frame {frame_id!r} on {self.topic}: they cannot be told apart; none "
            f"is worked on while both send ({counters.refused['senders']} so far)",
        )

    def _on_info(self, info: CameraInfo, known: Mapping[str, Any] = NOTHING_KNOWN) -> None:
        long = too_long(info.header) or too_long_lens(info)
        if long:
            # It would go out with every answer.
            self.inference.log.warning("long info", f"camera_info is left out: {long}")
            return
        senders = self._info_senders.hear(known, info.header.frame_id)
        if senders > 1:
            # It would be now that of the one lens, now that of the other.
            self.inference.info = None
            self.inference.log.warning(
                "mixed info",
                f"camera_info is left out: {senders} publishers send it for frame {info.header.frame_id!r}",
            )
            return
        self.inference.info = info

    def _on_prompt(self, message: ros_msg.Prompt) -> None:
        try:
            prompt = to_prompt(message)
            stamp = message.stamp.sec * 1_000_000_000 + message.stamp.nanosec
            self._take(Hint(prompt, self.inference.recent.at(stamp) if stamp and prompt.xy else None))
        except ValueError as error:
            self._refuse_hint(f"prompt refused: {error}")

    def _on_click(self, click: PointStamped) -> None:
        try:
            header = self.inference.last.header
            frame_id = "" if header is None else header.frame_id
            prompt = click_prompt(click, self._live().click_part, info=self.inference.info, frame_id=frame_id)
            stamp = click_stamp(click)
            self._take(Hint(prompt, self.inference.recent.at(stamp) if stamp else None))
        except ValueError as error:
            self._refuse_hint(f"click refused: {error}")

    def _take(self, hint: Hint) -> None:
        if hint.image is not None:
            check_inside(hint.prompt, hint.image)
        self.inference.hint(hint)

    def _refuse_hint(self, words: str) -> None:
        counters = self.inference.counters
        # Said before it is counted: whoever sees the count finds the reason in the log.
        count = counters.prompts_refused + 1
        self.inference.log.warning("hint", f"{cut(words, HINT_WORDS)} ({count} refused so far)")
        counters.prompts_refused = count

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.inference.reset()
        response.success = True
        response.message = "the next image is the first one"
        return response

    def _on_instruct(self, request: Instruct.Request, response: Instruct.Response) -> Instruct.Response:
        return answer_request(self.inference, request, response, enabled=self.enabled)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success = True
        if request.data == self.enabled:
            response.message = f"was {'enabled' if self.enabled else 'disabled'} already"
            return response
        if request.data:
            self.inference.resume()
            self._listen()
            response.message = "listening again; the next image is the first one"
        else:
            self._ignore()
            self.inference.pause()
            response.message = "not listening any more; state STALE"
        return response
