# SPDX-License-Identifier: Apache-2.0
"""The streaming RobotSeg core: which pixels of every camera frame are the robot, its arm, its gripper.

This package never imports ROS.  ``RobotSeg.load()`` loads a model, ``robotseg.stream()`` opens a stream, and
``stream.step(frame)`` gives the masks of a frame.
"""

from __future__ import annotations

import importlib
import os

# Nothing is told to anybody: read by ONNX Runtime and Hugging Face's packages when they are imported, and inherited by
# every process that is started from here.  A value that the user has set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

# Of pictures that are decoded: a small file can claim to be a huge one.  Read by OpenCV when it is imported.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "89478485")

__version__ = "0.1.0"

_WHERE = {
    "RobotSeg": "robotseg_core.stream.robotseg",
    "Stream": "robotseg_core.stream.stream",
    "StreamPolicy": "robotseg_core.stream.policy",
    **dict.fromkeys(
        ("MaskPrompt", "ModelFault", "PARTS", "PartMask", "PartMasks", "Prompt", "PromptKind", "State"),
        "robotseg_core.types",
    ),
}

__all__ = [
    "PARTS",
    "MaskPrompt",
    "ModelFault",
    "PartMask",
    "PartMasks",
    "Prompt",
    "PromptKind",
    "RobotSeg",
    "State",
    "Stream",
    "StreamPolicy",
]


def __getattr__(name: str) -> object:
    """Imported when used: what only reads masks does not wait for PyTorch."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
