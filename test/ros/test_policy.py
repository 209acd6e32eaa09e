# SPDX-License-Identifier: Apache-2.0
"""The SROS 2 policy against the nodes: each may do all that it does by default, and nothing that it does not."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from companion import Running
from fake_model import FakeModel

ROOT = Path(__file__).resolve().parents[2]
POLICY = ElementTree.parse(ROOT / "config" / "sros2" / "robotseg.policy.xml").getroot()
ALWAYS = {"/rosout", "/parameter_events", "/clock"}
"""What rclpy itself says and hears, some of it only with certain parameters."""


def allowed(node, kind, right):
    (profile,) = (p for p in POLICY.iter("profile") if p.get("node") == node)
    element = "service" if kind == "services" else "topic"
    return {e.text for group in profile.findall(kind) if group.get(right) == "ALLOW" for e in group.findall(element)}


def test_every_enclave_is_of_one_node_and_denies_what_it_does_not_name():
    assert POLICY.tag == "policy" and POLICY.get("version") == "0.2.0"
    for enclave in POLICY.iter("enclave"):
        (profile,) = enclave.iter("profile")
        assert enclave.get("path") == f"/{profile.get('node')}" and profile.get("ns") == "/"
        assert {value for group in profile for value in group.attrib.values()} == {"ALLOW"}
        assert not any("*" in (e.text or "") for e in profile.iter())


def check(node):
    name = node.get_name()
    said = {publisher.topic_name for publisher in node.publishers}
    heard = {subscription.topic_name for subscription in node.subscriptions}
    answered = {service.service_name for service in node.services}
    for found, kind, right in (
        (said, "topics", "publish"),
        (heard, "topics", "subscribe"),
        (answered, "services", "reply"),
    ):
        rights = allowed(name, kind, right)
        assert found - ALWAYS <= rights, f"{name} is not allowed to {right}"
        if kind == "topics":
            assert rights - ALWAYS - {f"/{name}/transition_event"} <= found, f"{name} may {right} what it never does"


def test_the_segmenter(start_segmenter):
    check(start_segmenter(FakeModel(), camera="/camera/image_raw"))


@pytest.mark.parametrize("kind", ["SelfFilter", "Servo", "SafetyMonitor"])
def test_the_nodes_beside_it(context, kind):
    from robotseg_ros.companions.safety_monitor import SafetyMonitor
    from robotseg_ros.companions.self_filter import SelfFilter
    from robotseg_ros.companions.servo import Servo

    parameters = {"zones": str(ROOT / "config" / "zones.yaml")} if kind == "SafetyMonitor" else {}
    running = Running(
        context, {"SelfFilter": SelfFilter, "Servo": Servo, "SafetyMonitor": SafetyMonitor}[kind], **parameters
    )
    try:
        check(running.node)
    finally:
        running.close()
