# SPDX-License-Identifier: Apache-2.0
"""The answer as messages of vision_msgs, for programs that know these; off unless asked for, as it may not be there."""

from __future__ import annotations

import importlib
from typing import Any

from std_msgs.msg import Header

from robotseg_core.types import PartMasks
from robotseg_ros.common.messages import LABELS


class VisionMessages:
    """Makes ``Detection2DArray`` and ``LabelInfo``.

    Raises:
        RuntimeError: vision_msgs is not installed.
    """

    def __init__(self) -> None:
        try:
            self.messages: Any = importlib.import_module("vision_msgs.msg")
        except ImportError as error:
            raise RuntimeError(
                "parameter vision_msgs is true, but the package vision_msgs is not installed (apt install "
                "ros-<distribution>-vision-msgs)"
            ) from error

    def label_info(self, header: Header) -> Any:
        """What the values of the label image mean; no threshold, as the labels are decided."""
        classes = [self.messages.VisionClass(class_id=value, class_name=name) for name, value in LABELS.items()]
        return self.messages.LabelInfo(header=header, class_map=classes, threshold=0.0)

    def detections(self, header: Header, result: PartMasks) -> Any:
        """One detection for each part that is seen: its upright box, pixels of the image, and the model's score.

        Empty where no robot is seen.  Where nothing is known (STALE, FAULT), nothing is published, as with masks.
        """
        return self.messages.Detection2DArray(
            header=header, detections=[self._detection(header, part) for part in result.parts if part.present]
        )

    def _detection(self, header: Header, part: Any) -> Any:
        hypothesis = self.messages.ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = part.name
        hypothesis.hypothesis.score = float(part.score)
        detection = self.messages.Detection2D(header=header, results=[hypothesis], id=part.name)
        x, y, width, height = part.roi
        # Pixel centres are whole numbers: a box over one pixel is centred on it.
        detection.bbox.center.position.x = x + (width - 1) / 2
        detection.bbox.center.position.y = y + (height - 1) / 2
        detection.bbox.size_x, detection.bbox.size_y = float(width), float(height)
        return detection
