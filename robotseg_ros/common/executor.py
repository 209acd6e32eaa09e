# SPDX-License-Identifier: Apache-2.0
"""An executor that no message ends.

rclpy lets what a callback raises out of ``spin``, its own callbacks included: a parameter of a type number that does
not exist, or a time before zero on /clock, sent by anybody, ends the process.  A failure while a message is taken is
worse: its entity, and the group that it is in, are never served again.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from robotseg_core.lifetime import raise_lost_interrupt, uninterrupted
from robotseg_ros.common.camera_log import CameraLog, cut

MAX_PARAMETERS = 128
"""Parameters in one request at most; the node has fewer."""
PAUSE_S = 0.001
"""After a failure, so that one that comes again and again leaves time to others."""


class SteadyExecutor(SingleThreadedExecutor):
    """A single-threaded executor that logs what a callback raises, and goes on.

    Attributes:
        failures: callbacks that have raised so far.
    """

    def __init__(self, *, context: Context | None = None) -> None:
        super().__init__(context=context)
        self.failures = 0
        self._logs: dict[Node, CameraLog] = {}
        self._stopping = threading.Event()

    def add_node(self, node: Node) -> bool:
        """Serve a node; its parameter services then answer also what rclpy fails on."""
        answer_wrong_parameters(node)
        answer_wrong_transitions(node)
        self._logs[node] = CameraLog(node)
        return super().add_node(node)

    def remove_node(self, node: Node) -> None:
        """Serve a node no more."""
        self._logs.pop(node, None)
        super().remove_node(node)

    def spin(self) -> None:
        """Run callbacks until :meth:`stop` is called or ROS is shut down."""
        while self.context.ok() and not self._stopping.is_set():
            self.spin_once()

    def stop(self) -> None:
        """Have :meth:`spin` return after the callback that it is in; from any thread, also before it begins."""
        self._stopping.set()
        # It may be taken down just now.
        with suppress(Exception):
            # Something to do: woken up alone, rclpy goes on waiting.
            self.create_task(lambda: None)

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback and run it.

        Raises:
            ExternalShutdownException: ROS was shut down.
            KeyboardInterrupt: of a program that is interrupted, before or after the callback, not in its middle.
        """
        raise_lost_interrupt()
        try:
            with uninterrupted():
                super().spin_once(timeout_sec)
        except (ShutdownException, ExternalShutdownException):
            raise
        except Exception as error:
            if not self.context.ok():
                raise ExternalShutdownException() from error
            self._report(error)

    # How rclpy takes a message before its callback runs; None: there was nothing to take.
    def _take_subscription(self, sub: Any) -> Any:
        return self._taken(super()._take_subscription, sub)

    def _take_service(self, srv: Any) -> Any:
        return self._taken(super()._take_service, srv)

    def _take_client(self, client: Any) -> Any:
        return self._taken(super()._take_client, client)

    def _take_waitable(self, waitable: Any) -> Any:
        return self._taken(super()._take_waitable, waitable)

    def _taken(self, take: Callable[[Any], Any], entity: Any) -> Any:
        try:
            return take(entity)
        except Exception as error:
            self._report(error)
            return None

    def _report(self, error: Exception) -> None:
        self.failures += 1
        where = traceback.extract_tb(error.__traceback__)[-1]
        for log in self._logs.values():
            log.error(
                "callback",
                f"a message, request or event could not be dealt with: {type(error).__name__}: {cut(str(error), 200)} "
                f"(in {where.name}, {where.filename}:{where.lineno}; {self.failures} so far); going on",
            )
        time.sleep(PAUSE_S)


def answer_wrong_parameters(node: Node) -> None:
    """Have the services that set parameters answer a request that rclpy fails on, or that is too long."""
    for service in node.services:
        if service.srv_type in (SetParameters, SetParametersAtomically) and not isinstance(service.callback, _Refusing):
            service.callback = _Refusing(service.callback)


def answer_wrong_transitions(node: Node) -> None:
    """Have a lifecycle node answer a transition that it does not know, or cannot make now, without lines in its log."""
    changing = [s for s in node.services if s.srv_type is ChangeState]
    listing = [
        s
        for s in node.services
        if s.srv_type is GetAvailableTransitions and s.srv_name.endswith("get_available_transitions")
    ]
    for service, available in zip(changing, listing, strict=True):
        if not isinstance(service.callback, _Knowing):
            service.callback = _Knowing(service.callback, available.callback)


def answer_states(node: Node) -> None:
    """Answer those who ask a lifecycle node for its state; for callbacks that take long, in the executor's thread."""
    for service in node.services:
        if service.srv_type is not GetState:
            continue
        with service.handle:
            request, header = service.handle.service_take_request(GetState.Request)
        if header is not None:
            service.send_response(service.callback(request, GetState.Response()), header)


class _Knowing:
    """A service callback that changes the state; ``available`` is that which lists the transitions of now."""

    def __init__(self, callback: Callable[[Any, Any], Any], available: Callable[[Any, Any], Any]) -> None:
        self._callback, self._available = callback, available

    def __call__(self, request: Any, response: Any) -> Any:
        listed = self._available(GetAvailableTransitions.Request(), GetAvailableTransitions.Response())
        known = [item.transition for item in listed.available_transitions]
        wanted = request.transition
        if not any(t.label == wanted.label if wanted.label else t.id == wanted.id for t in known):
            response.success = False
            return response
        return self._callback(request, response)


class _Refusing:
    """A service callback that sets parameters; what it raises becomes the reason of a refusal."""

    def __init__(self, callback: Callable[[Any, Any], Any]) -> None:
        self._callback = callback

    def __call__(self, request: Any, response: Any) -> Any:
        count = len(request.parameters)
        if count > MAX_PARAMETERS:
            return _refused(response, 1, f"{count} parameters in one request, must be at most {MAX_PARAMETERS}")
        try:
            return self._callback(request, response)
        except Exception as error:
            return _refused(type(response)(), count, cut(f"{type(error).__name__}: {error}", 300))


def _refused(response: Any, count: int, reason: str) -> Any:
    result = SetParametersResult(successful=False, reason=reason)
    if hasattr(response, "results"):
        response.results = [result] * count
    else:
        response.result = result
    return response
