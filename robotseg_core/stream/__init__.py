# SPDX-License-Identifier: Apache-2.0
"""One camera through time: from a frame to its masks, with what is remembered of the frames before."""

from robotseg_core.stream.policy import StreamPolicy
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.stream.stream import Stream

__all__ = ["RobotSeg", "Stream", "StreamPolicy"]
