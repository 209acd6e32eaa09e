# SPDX-License-Identifier: Apache-2.0
"""Every test gets a ROS domain of its own on this machine only, with the shipped Fast DDS profile."""

import os

import pytest

from robotseg_ros.common.domains import PrivateDomain
from robotseg_ros.common.fastdds import profile_settings

# Before anything loads rclpy.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.update(profile_settings({}))
os.environ.pop("ROS_NAMESPACE", None)
# Of what takes no domain of its own: it is nobody else's either.
OURS = PrivateDomain()
os.environ["ROS_DOMAIN_ID"] = str(OURS.number)


@pytest.fixture
def domain_id(monkeypatch):
    """A domain in which nobody else is: other test runs may be going on beside this one."""
    with PrivateDomain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain.number))
        yield domain.number


@pytest.fixture
def context(domain_id):
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_id)
    yield context
    context.try_shutdown()


class Said:
    """What this process writes to standard error, as nodes in other threads do all the time.

    capfd takes away, with what it has read, what is written in that moment.
    """

    def __init__(self):
        self._read = 0

    def read(self):
        """What has come since the last time."""
        # While capfd captures, this is its file.
        new = os.pread(2, os.fstat(2).st_size - self._read, self._read)
        self._read += len(new)
        return new.decode(errors="replace")


@pytest.fixture
def stderr(capfd):
    return Said()


@pytest.fixture
def every_line(monkeypatch):
    """Every line is written, also about a subject of which one was written a moment ago, as on a slow machine."""
    from robotseg_ros.common import camera_log

    monkeypatch.setattr(camera_log, "LOG_PERIOD_S", 0.0)


@pytest.fixture
def client(context):
    from ros_client import Client

    client = Client(context)
    yield client
    client.close()


@pytest.fixture
def peer(context):
    """A node of the test's own, beside a companion."""
    from companion import Peer

    peer = Peer(context)
    yield peer
    peer.close()


@pytest.fixture
def start_segmenter(context, monkeypatch):
    """Start the node in this process: ``start_segmenter(model, camera=...)`` returns it, active.

    ``node_arguments`` go to the node's constructor.
    """
    from patience import PATIENCE_S
    from ros_client import SegmenterInThread

    from robotseg_ros.segmenter import node

    # A model that will be done is waited for, however slow the machine is; tests of one that hangs set it themselves.
    monkeypatch.setattr(node, "STOP_TIMEOUT_S", PATIENCE_S)
    running = []

    def start(model, activate=True, node_arguments=None, **parameters):
        # The stamps of these tests are of long ago and machines are slow; tests about these two set them.
        running.append(
            SegmenterInThread(
                context, model, {"max_age": 0.0, "stale_after": 60.0, **parameters}, **(node_arguments or {})
            )
        )
        if activate:
            assert running[-1].node.autostart()
        return running[-1].node

    yield start
    for segmenter in running:
        segmenter.close()


@pytest.fixture(scope="module")
def node():
    """A segmenter for its clock and log; nothing is subscribed to or published."""
    import rclpy
    from fake_model import FakeModel

    from robotseg_ros.segmenter.node import Segmenter

    context = rclpy.Context()
    with PrivateDomain() as domain:
        rclpy.init(context=context, domain_id=domain.number)
        node = Segmenter(lambda options: FakeModel(), context=context)
        yield node
        node.destroy_node()
        context.try_shutdown()


@pytest.fixture
def session(node):
    """The session of one camera with a fake model."""
    from fake_model import FakeModel
    from fault_session import Session

    return Session(node, FakeModel())
