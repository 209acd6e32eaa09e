# SPDX-License-Identifier: Apache-2.0
"""The model: one file for each box of the paper's figure.  Weights only; what a stream remembers is in ``stream``."""

from robotseg_core.model.robotseg_model import Conditioned, Features, Memory, RobotSegModel

__all__ = ["Conditioned", "Features", "Memory", "RobotSegModel"]
