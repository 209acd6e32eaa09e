# SPDX-License-Identifier: Apache-2.0
"""The viewer: what a websocket client of Foxglove's protocol gets, and that nothing runs for nobody."""

import asyncio
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from companion import Running, header
from patience import PATIENCE_S
from ros_client import wait_until
from sensor_msgs.msg import Image

from robotseg_ros.common.messages import to_image
from robotseg_ros.msg import PartMask, PartMasks

pytest.importorskip("foxglove", reason="the viewer needs the extra 'view'")
websockets = pytest.importorskip("websockets", reason="the test looks through a websocket client")

from robotseg_ros.companions.viewer import Viewer  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
T0 = 1_700_000_000_000_000_000
CAMERA = "/camera/image_raw"
MASKS = [f"/robotseg/{part}_mask" for part in ("arm", "gripper", "robot")]
TOPICS = {CAMERA, "/robotseg/overlay", "/robotseg/parts", *MASKS}
PROTOCOL = "foxglove.sdk.v1"


class Looker:
    """A client in a thread: subscribes to topics and keeps the messages, by topic."""

    def __init__(self, port, topics):
        self.port, self.topics = port, topics
        self.advertised, self.heard, self.stop = {}, {topic: [] for topic in topics}, threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.thread.start()

    async def _run(self):
        async with websockets.connect(f"ws://127.0.0.1:{self.port}", subprotocols=[PROTOCOL]) as socket:
            ids = {}
            while not self.stop.is_set():
                try:
                    message = await asyncio.wait_for(socket.recv(), 0.1)
                except (TimeoutError, asyncio.TimeoutError):
                    continue
                if isinstance(message, str):
                    said = json.loads(message)
                    for channel in said.get("channels", []) if said["op"] == "advertise" else []:
                        self.advertised[channel["topic"]] = channel
                        if channel["topic"] in self.topics:
                            ids[len(ids)] = channel["topic"]
                            wanted = [{"id": len(ids) - 1, "channelId": channel["id"]}]
                            await socket.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))
                elif message[0] == 1:
                    number, time = struct.unpack_from("<IQ", message, 1)
                    self.heard[ids[number]].append((time, message[13:]))

    def close(self):
        self.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


@pytest.fixture
def viewer(context):
    running = Running(context, Viewer, port=0)
    yield running.node
    running.close()


def test_pictures_and_states_arrive_while_somebody_looks_and_only_then(viewer, peer):
    assert viewer.count_subscribers("/robotseg/overlay") == 0
    looker = Looker(viewer.port, {"/robotseg/overlay", "/robotseg/parts"})
    try:
        # The publishers wait for the viewer to subscribe.
        overlay = peer.advertise(Image, "/robotseg/overlay")
        parts = peer.advertise(PartMasks, "/robotseg/parts")
        assert viewer.count_subscribers(CAMERA) == 0
        picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
        overlay.publish(to_image(header(T0), picture, "rgb8"))
        robot = PartMask(name="robot", score=0.75, area=5, present=True)
        parts.publish(PartMasks(header=header(T0), state=PartMasks.TRACKING, parts=[robot], age_ms=3.0))
        parts.publish(PartMasks(state=PartMasks.STALE, age_ms=float("nan")))
        heard = looker.heard
        wait_until(lambda: heard["/robotseg/overlay"] and len(heard["/robotseg/parts"]) == 2, "what is looked at")
        time, payload = heard["/robotseg/overlay"][0]
        assert time == T0 and picture.tobytes() in payload and b"rgb8" in payload and b"wrist_camera" in payload
        tracking, stale = (json.loads(data) for _, data in heard["/robotseg/parts"])
        assert tracking["state"] == "TRACKING" and tracking["robot"] == {"score": 0.75, "area": 5, "present": True}
        assert tracking["age_ms"] == 3.0 and stale == {"state": "STALE", "dropped": 0}
        assert set(looker.advertised) == TOPICS
        assert looker.advertised[CAMERA]["schemaName"] == "foxglove.RawImage"
        assert looker.advertised["/robotseg/parts"]["schemaName"] == "robotseg.Parts"
    finally:
        looker.close()
    wait_until(lambda: viewer.count_subscribers("/robotseg/overlay") == 0, "nothing for nobody")


def test_process_serves_and_ends_on_sigint(domain_id):
    command = [sys.executable, "-m", "robotseg_ros.run_node", "viewer", "--ros-args", "-p", "port:=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ), start_new_session=True)
    try:
        line = process.stderr.readline()
        looker = Looker(int(re.search(r"ws://127\.0\.0\.1:(\d+)", line)[1]), set())
        try:
            wait_until(lambda: set(looker.advertised) == TOPICS, "the topics")
            # While somebody is connected.
            looker.stop.set()
        finally:
            looker.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_port_that_is_taken_is_said_in_one_line(viewer, domain_id):
    command = [sys.executable, "-m", "robotseg_ros.run_node", "viewer", "--ros-args", "-p", f"port:={viewer.port}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 1 and f"cannot serve on 127.0.0.1:{viewer.port}" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_shipped_layout_shows_what_is_served():
    layout = json.loads((ROOT / "config" / "robotseg_foxglove.json").read_text())
    shown = set()

    def leaves(node):
        return [node] if isinstance(node, str) else leaves(node["first"]) + leaves(node["second"])

    assert sorted(leaves(layout["layout"])) == sorted(layout["configById"])
    for panel in layout["configById"].values():
        shown |= {panel["imageMode"]["imageTopic"]} if "imageMode" in panel else set()
        shown |= {path["value"].partition(".")[0] for path in panel.get("paths", [])}
    assert shown == TOPICS
