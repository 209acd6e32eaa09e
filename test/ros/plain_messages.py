# SPDX-License-Identifier: Apache-2.0
"""Images as messages, without ROS: what the codecs read of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

PLANES = {"nv12": 1.5, "nv21": 1.5, "nv24": 3}
"""Size of the data over step x height, where it is not 1."""


@dataclass(frozen=True)
class Raw:
    """The fields of sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    step: int
    data: Any
    is_bigendian: int = 0


@dataclass(frozen=True)
class File:
    """The fields of sensor_msgs/CompressedImage."""

    data: Any
    format: str = "jpeg"


def scene(height=24, width=33):
    """A picture in which every pixel has a colour of its own, nearly."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 9, columns * 7, (rows + columns) * 3], -1).astype(np.uint8)
