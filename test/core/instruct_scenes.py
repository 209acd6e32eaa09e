# SPDX-License-Identifier: Apache-2.0
"""Pictures of robots as bars with their masks: what a perfect model would say."""

import numpy as np

from robotseg_core.instruct.prompt_set import View
from robotseg_core.stream.postprocess import part_mask
from robotseg_core.types import PartMasks, StageTimes, State


def view_of(bars, height=120, width=200):
    """``bars``: (x, colour RGB) of an upright arm of 10 x 50 pixels under a black gripper of 14 x 12."""
    rgb = np.full((height, width, 3), 140, np.uint8)
    arm, gripper = np.zeros((2, height, width), bool)
    for x, colour in bars:
        arm[50:100, x : x + 10] = True
        rgb[50:100, x : x + 10] = colour
        gripper[38:50, x - 2 : x + 12] = True
        rgb[38:50, x - 2 : x + 12] = (20, 20, 20)
    masks = {"arm": arm, "gripper": gripper, "robot": arm | gripper}
    parts = tuple(part_mask(name, mask, 0.9) for name, mask in masks.items())
    state = State.TRACKING if bars else State.SEARCHING
    return View(rgb, PartMasks(stamp=1, state=state, parts=parts, stage_ms=StageTimes()))


WHITE, ORANGE, BLUE = (240, 240, 240), (240, 130, 20), (30, 60, 220)
