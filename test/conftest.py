# SPDX-License-Identifier: Apache-2.0
"""What tests of the core and of the nodes share."""

import pytest


@pytest.fixture
def small(monkeypatch):
    """Whatever model is asked for, a small one of random weights is loaded."""
    from small_models import small_robotseg

    from robotseg_core.stream.robotseg import RobotSeg

    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: small_robotseg()))
