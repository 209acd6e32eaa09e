# SPDX-License-Identifier: Apache-2.0
"""A camera and a listener in one node, and the segmenter in a thread of the test's process."""

import os
import re
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from patience import PATIENCE_S
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from robotseg_ros.common.executor import SteadyExecutor
from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.msg import PartMasks, Prompt
from robotseg_ros.segmenter.node import Segmenter

IMAGES = ("arm_mask", "gripper_mask", "robot_mask", "masked_image", "overlay")


def wait_until(condition, what):
    """Wait for a condition: a slow machine makes a test slow, not red."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.005)


def segments_of(pid):
    """Shared memory of a process's own participants, as paths: what it holds the lock of."""
    segments = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            # Closed meanwhile.
            continue
        if re.search(r"/fast(dds|rtps)_[0-9a-f]{16}_el$", target):
            segments.add(Path(target.removesuffix("_el")))
    return segments


class Spinner:
    """An executor with one node in a thread; nodes of ours run in that of their processes."""

    def __init__(self, context, node, kind=SingleThreadedExecutor):
        self.node = node
        self.executor = kind(context=context)
        self.executor.add_node(node)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._spin)
        self.thread.start()

    def _spin(self):
        # Not spin(): shutdown() takes the means of waking it away, and it may be on its way to sleep just then.
        try:
            while not self.stopping.is_set():
                self.executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            pass

    def close(self):
        self.stopping.set()
        self.executor.wake()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.executor.shutdown()
        self.node.destroy_node()


class SegmenterInThread(Spinner):
    def __init__(self, context, model, parameters, **arguments):
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = Segmenter(lambda options: model, context=context, parameter_overrides=overrides, **arguments)
        super().__init__(context, node, SteadyExecutor)

    def close(self):
        self.node.stop()
        super().close()
        assert not self.executor.failures


class Client(Spinner):
    """Publishes camera images and prompts; keeps all that it hears, by topic, in ``heard``."""

    def __init__(self, context, camera="/camera/image_raw"):
        node = Node("client", context=context)
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.camera = node.create_publisher(Image, camera, qos)
        self.prompts = node.create_publisher(Prompt, "/robotseg/prompt", 10)
        self.heard = defaultdict(list)
        self.listening = []
        super().__init__(context, node)

    def listen(self, *topics):
        """Subscribe and wait for the publisher of each topic."""
        for topic in topics:
            kind = PartMasks if topic == "parts" else Image
            name = f"/robotseg/{topic}"
            subscription = self.node.create_subscription(kind, name, self.heard[topic].append, 50)
            self.listening.append(subscription)
            wait_until(lambda name=name: self.node.count_publishers(name) > 0, f"publisher of {name}")

    def hear(self, kind, topic, qos=50):
        """Subscribe to a topic by its full name and wait for its publisher; returns the list of what comes."""
        self.node.create_subscription(kind, topic, self.heard[topic].append, qos)
        wait_until(lambda: self.node.count_publishers(topic) > 0, f"publisher of {topic}")
        return self.heard[topic]

    def advertise(self, kind, topic, qos=10):
        """Make a publisher and wait for its subscriber."""
        publisher = self.node.create_publisher(kind, topic, qos)
        wait_until(lambda: publisher.get_subscription_count() > 0, f"subscriber of {topic}")
        return publisher

    def call(self, kind, name, request, again_after=PATIENCE_S):
        """Call a service and return its response.

        What only asks may ask again after some seconds: an answer is lost where the server does not know us yet.
        """
        service = self.node.create_client(kind, name)
        assert service.wait_for_service(PATIENCE_S), f"no service {name}"
        answers, asked = [service.call_async(request)], time.monotonic()

        def answered():
            nonlocal asked
            if time.monotonic() - asked > again_after:
                answers.append(service.call_async(request))
                asked = time.monotonic()
            return any(answer.done() for answer in answers)

        wait_until(answered, f"answer of {name}")
        self.node.destroy_client(service)
        return next(answer.result() for answer in answers if answer.done())

    def wait_for_camera_subscriber(self):
        wait_until(lambda: self.camera.get_subscription_count() > 0, "subscriber of the camera")

    def send(self, rgb, stamp, frame_id="wrist_camera"):
        """Publish an RGB image [H, W, 3] with a stamp in nanoseconds."""
        message = to_image(self.header(stamp, frame_id), rgb, "rgb8")
        self.camera.publish(message)
        return message

    def header(self, stamp, frame_id="wrist_camera"):
        message = Image()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        message.header.frame_id = frame_id
        return message.header

    def send_until(self, rgb, stamp, topic, count):
        """Publish the image again and again, each with a stamp 1 ns later, until the topic has ``count`` messages."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.heard[topic]) < count:
            assert time.monotonic() < deadline, f"{topic}: {len(self.heard[topic])} messages, {count} wanted"
            self.send(rgb, stamp)
            stamp += 1
            time.sleep(0.05)

    def heard_stamps(self, topic):
        return [stamp_ns(message.header) for message in list(self.heard[topic])]


def malformed(client, **fields):
    """A small image whose ``fields`` do not fit the others."""
    message = Image(header=client.header(1_000_000_000), height=4, width=6, step=18, encoding="rgb8")
    message.data.frombytes(bytes(72))
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def pixels(image):
    """The pixels of an image message, [H, W] or [H, W, 3]."""
    array = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
    return array if image.encoding == "mono8" else array.reshape(image.height, image.width, 3)
