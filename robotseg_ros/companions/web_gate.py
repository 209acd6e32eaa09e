# SPDX-License-Identifier: Apache-2.0
"""The door before the viewer's websocket: a browser is let in by the page that asks, not by where the browser runs.

Any web page may open a websocket to this machine, and its browser sends the page's Origin along.  The server of
foxglove-sdk does not look at it.  So that server listens on a loopback address that nobody can guess, and the port that
users know is this one's.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Sequence

MAX_HEAD = 16 * 1024
"""Bytes of a request before its empty line."""
HEAD_TIMEOUT_S = 5.0
ACCEPT_PAUSE_S = 0.1
MAX_CLIENTS = 16
CHUNK = 256 * 1024
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def hidden_address() -> str:
    """An address of this machine alone that a web page would have to guess among millions, and its port besides."""
    draw = random.SystemRandom()
    return f"127.{draw.randrange(1, 255)}.{draw.randrange(1, 255)}.{draw.randrange(1, 255)}"


class WebGate:
    """Passes connections on to a server, those of web pages only where their Origin is one of ``origins``.

    Programs that are no browser send no Origin, and are let in: they could say anything.

    Attributes:
        port: that is listened on.

    Args:
        host, port: to listen on; port 0 takes one that is free.
        origins: of pages that are let in.
        refuse: called with a line about each connection that is not.

    Raises:
        OSError: the port cannot be listened on.
    """

    def __init__(self, host: str, port: int, origins: Sequence[str], refuse: Callable[[str], object]) -> None:
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._refuse = refuse
        self._server: tuple[str, int] | None = None
        self._free = threading.Semaphore(MAX_CLIENTS)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listener = socket.create_server((host, port), family=_family(host), backlog=MAX_CLIENTS)
        self.port = int(self._listener.getsockname()[1])

    def open(self, server: tuple[str, int]) -> None:
        """Begin to let connections in to a server, given by address and port."""
        self._server = server
        threading.Thread(target=self._accept, name="gate", daemon=True).start()

    def close(self) -> None:
        """Listen no more, and end all connections."""
        self._closing.set()
        # Shut down as well: closing alone does not wake who waits in accept().
        _shut(self._listener)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                _shut(connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                if self._closing.wait(ACCEPT_PAUSE_S):
                    return
                # No descriptor is free, or who knocked is gone: the next one is not to suffer for it.
                continue
            if not self._free.acquire(blocking=False):
                _answer(client, _FULL)
                continue
            threading.Thread(target=self._serve, args=(client,), name="gate", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection, to its end."""
        assert self._server is not None
        server = None
        with self._lock:
            self._open.add(client)
        try:
            head = _read_head(client)
            origin = _origin(head)
            if head is None or (origin is not None and origin.rstrip("/").lower() not in self._origins):
                if origin is not None:
                    self._refuse(f"a web page of {origin[:100]!r} was refused (parameter origins says which may look)")
                _answer(client, _REFUSED)
                return
            server = socket.create_connection(self._server, HEAD_TIMEOUT_S)
            server.settimeout(None)
            client.settimeout(None)
            with self._lock:
                self._open.add(server)
            server.sendall(head)
            back = threading.Thread(target=_pass_on, args=(server, client), name="gate", daemon=True)
            back.start()
            _pass_on(client, server)
            back.join()
        except OSError:
            pass
        finally:
            for connection in filter(None, (client, server)):
                with self._lock:
                    self._open.discard(connection)
                connection.close()
            self._free.release()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _read_head(client: socket.socket) -> bytes | None:
    """The request up to its empty line and what has come behind it; None where it is none."""
    head, deadline = b"", time.monotonic() + HEAD_TIMEOUT_S
    while b"\r\n\r\n" not in head:
        # In all: a byte now and then would hold the place for ever.
        client.settimeout(max(0.01, deadline - time.monotonic()))
        more = client.recv(4096)
        head += more
        if not more or len(head) > MAX_HEAD:
            return None
    return head


def _origin(head: bytes | None) -> str | None:
    """The Origin of a request; several are taken for one that nobody knows."""
    lines = (head or b"").split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]
    found = [
        value.strip()
        for name, _, value in (line.partition(b":") for line in lines)
        if name.strip().lower() == b"origin"
    ]
    return b",".join(found).decode("latin-1") if found else None


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Everything from one to the other, until either ends."""
    chunk = memoryview(bytearray(CHUNK))
    try:
        while count := source.recv_into(chunk):
            target.sendall(chunk[:count])
    except OSError:
        pass
    _shut(source)
    _shut(target)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _answer(client: socket.socket, answer: bytes) -> None:
    try:
        client.sendall(answer)
    except OSError:
        pass
    client.close()
