# SPDX-License-Identifier: Apache-2.0
"""Who may look at the viewer's websocket: programs, and the web pages that are named."""

import asyncio
import socket
import threading
import time

import pytest
from companion import Peer, Running, header
from patience import PATIENCE_S
from ros_client import wait_until
from sensor_msgs.msg import Image

from robotseg_ros.companions.web_gate import MAX_CLIENTS, WebGate, hidden_address
from robotseg_ros.msg import PartMask, PartMasks

pytest.importorskip("foxglove", reason="the viewer needs the extra 'view'")
websockets = pytest.importorskip("websockets", reason="the test looks through a websocket client")

from test_viewer import PROTOCOL, Looker  # noqa: E402

from robotseg_ros.companions.viewer import ORIGINS, Viewer  # noqa: E402


def knock(port, origin):
    """Whether a browser with a page of this origin is let in."""

    async def knock():
        async with websockets.connect(f"ws://127.0.0.1:{port}", subprotocols=[PROTOCOL], origin=origin) as socket:
            return '"serverInfo"' in await asyncio.wait_for(socket.recv(), PATIENCE_S)

    try:
        return asyncio.run(knock())
    except websockets.exceptions.InvalidStatus as error:
        assert error.response.status_code == 403
        return False


def test_pages_are_let_in_by_their_origin_and_programs_as_they_are(context, stderr):
    running = Running(context, Viewer, port=0)
    try:
        port = running.node.port
        assert knock(port, None)
        assert all(knock(port, origin) for origin in ORIGINS.split())
        assert knock(port, "HTTPS://App.Foxglove.dev")
        for origin in (
            "http://evil.example",
            "null",
            "",
            "https://app.foxglove.dev.evil.example",
            f"http://127.0.0.1:{port}",
        ):
            assert not knock(port, origin), origin
        assert "a web page of 'http://evil.example' was refused (parameter origins" in stderr.read()
    finally:
        running.close()


def test_the_pages_that_a_user_names_are_let_in(context):
    running = Running(context, Viewer, port=0, origins="http://cell.example:8080")
    try:
        assert knock(running.node.port, "http://cell.example:8080") and not knock(running.node.port, ORIGINS.split()[0])
    finally:
        running.close()


def test_the_server_behind_the_gate_is_on_an_address_that_nobody_guesses(context):
    addresses = {hidden_address() for _ in range(100)}
    assert len(addresses) > 95 and all(address.startswith("127.") for address in addresses)
    running = Running(context, Viewer, port=0)
    try:
        hidden = running.node._server.port
        for host in ("127.0.0.1", "127.0.0.2", "127.1.1.1"):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, hidden), PATIENCE_S).close()
    finally:
        running.close()


def test_pictures_that_would_fill_the_memory_of_slow_viewers_are_refused(context, monkeypatch, stderr):
    from robotseg_ros.companions import viewer

    monkeypatch.setattr(viewer, "MAX_PICTURE", 100)
    running, peer = Running(context, Viewer, port=0), Peer(context)
    looker = Looker(running.node.port, {"/robotseg/overlay"})
    try:
        overlay = peer.advertise(Image, "/robotseg/overlay")

        def refused():
            overlay.publish(Image(header=header(5), width=101, height=1, step=101, encoding="mono8", data=bytes(101)))
            time.sleep(0.05)
            return running.node._inputs.refused

        wait_until(refused, "the refusal of a large picture")
        assert "101 x 1 has 101 bytes, at most 100 are passed on" in stderr.read()
        assert not looker.heard["/robotseg/overlay"]
    finally:
        looker.close()
        peer.close()
        running.close()


def test_messages_that_foxglove_cannot_hold_end_nothing(context):
    running, peer = Running(context, Viewer, port=0), Peer(context)
    looker = Looker(running.node.port, {"/robotseg/overlay", "/robotseg/parts"})
    try:
        overlay, parts = peer.advertise(Image, "/robotseg/overlay"), peer.advertise(PartMasks, "/robotseg/parts")
        odd = [PartMask(name="x" * 1000), PartMask(name="robot", score=float("nan"), area=3)]
        before = Image(header=header(-5_000_000_000), encoding="\ud7ff", data=b"")

        def refused():
            overlay.publish(before)
            time.sleep(0.05)
            return running.node._inputs.refused

        wait_until(refused, "the refusal of a stamp before zero")
        overlay.publish(Image(header=header(5), width=2**32 - 1, height=2**32 - 1, step=2**32 - 1, encoding="x" * 5000))
        parts.publish(PartMasks(state=77))
        parts.publish(PartMasks(state=PartMasks.TRACKING, age_ms=float("inf"), parts=odd))
        wait_until(lambda: len(looker.heard["/robotseg/parts"]) == 1, "the good one")
        import json

        said = json.loads(looker.heard["/robotseg/parts"][0][1])
        assert said == {"state": "TRACKING", "dropped": 0, "robot": {"area": 3, "present": False}}
        assert running.node._inputs.refused >= 2
    finally:
        looker.close()
        peer.close()
        running.close()


# ------------------------------------------------------------------------------------------------ the gate alone
@pytest.fixture
def echo():
    """A server that says what it hears, in upper case."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = []

    def serve(connection):
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data.upper())
        ended.append(1)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    refused = []
    gate = WebGate("127.0.0.1", 0, ["https://good.example"], refused.append)
    gate.open(listener.getsockname())
    yield gate, refused, ended
    gate.close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def said(gate, request, count):
    with socket.create_connection(("127.0.0.1", gate.port), PATIENCE_S) as client:
        client.sendall(request)
        heard = b""
        while len(heard) < count and (data := client.recv(65536)):
            heard += data
    return heard


def test_everything_is_passed_on_in_both_directions_and_the_end_is_too(echo):
    gate, _, ended = echo
    request = b"GET / HTTP/1.1\r\nOrigin: https://good.example\r\n\r\n" + b"x" * 3_000_000
    assert said(gate, request, len(request)) == request.upper()
    wait_until(lambda: ended, "the end on the other side")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nOrigin: http://evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nORIGIN:http://evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nOrigin: https://good.example\r\norigin: http://evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nOrigin:\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_let_in_hears_nothing_of_the_server(echo, head):
    assert said(echo[0], head, 1).startswith(b"HTTP/1.1 403")


def test_who_is_slow_with_the_request_loses_the_place(echo, monkeypatch):
    from robotseg_ros.companions import web_gate

    monkeypatch.setattr(web_gate, "HEAD_TIMEOUT_S", 0.5)
    with socket.create_connection(("127.0.0.1", echo[0].port), PATIENCE_S) as client:

        def ended():
            # A byte is never long in coming.
            try:
                client.sendall(b"x")
            except OSError:
                return True
            time.sleep(0.05)
            return False

        wait_until(ended, "the end of the connection")


def test_a_failure_to_accept_does_not_close_the_gate(echo, monkeypatch):
    gate, failing = echo[0], [OSError(24, "too many open files")] * 3

    class Listener:
        def __init__(self, listener):
            self.listener = listener

        def accept(self):
            if failing:
                raise failing.pop()
            return self.listener.accept()

        def __getattr__(self, name):
            return getattr(self.listener, name)

    gate._listener = Listener(gate._listener)
    # The accept that is under way is of the listener itself.
    for _ in range(5):
        assert said(gate, b"get / http/1.1\r\n\r\n", 3)[:3] == b"GET"
    assert not failing


def test_more_clients_than_there_is_room_for_are_told_and_room_comes_back(echo):
    gate, _, _ = echo
    clients = [socket.create_connection(("127.0.0.1", gate.port), PATIENCE_S) for _ in range(MAX_CLIENTS)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.recv(3) == b"GET"
    assert said(gate, b"", 1).startswith(b"HTTP/1.1 503")
    for client in clients:
        client.close()

    def free():
        time.sleep(0.05)
        return said(gate, b"get / http/1.1\r\n\r\n", 3)[:3] == b"GET"

    wait_until(free, "room")
