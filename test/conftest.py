# SPDX-License-Identifier: Apache-2.0
"""What tests of the core and of the nodes share."""

import signal

import pytest

if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    # Under nohup: what the tests start would inherit it, and not end by the SIGHUP that tests send.  A handler goes
    # on keeping this process and is not inherited.
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture
def small(monkeypatch):
    """Whatever model is asked for, a small one of random weights is loaded."""
    from small_models import small_robotseg

    from robotseg_core.stream.robotseg import RobotSeg

    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: small_robotseg()))
