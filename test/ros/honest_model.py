# SPDX-License-Identifier: Apache-2.0
"""A stream whose answers can be told to be true or not, that lies when told to, and publishers that keep answers."""

import dataclasses
import math

import numpy as np
from fake_model import mask_of

from robotseg_core.types import PARTS, PartMasks, StageTimes, State
from robotseg_ros.common.messages import stamp_ns

LIES = {
    "raises": None,
    "score is not a number": {"score": math.nan},
    "score is above 1": {"score": 1.5},
    "centroid is not finite": {"centroid": (math.inf, 0.0)},
    "mask of another size": {"mask": np.zeros((7, 9), np.uint8)},
    "mask of another type": {"mask": np.zeros((24, 32), np.float32)},
    "area is another": {"area": 10_000},
    "state without a robot": "state",
    "time is not a number": "time",
}


class Honest:
    """Remembers what it has seen since it was reset, and says so by the area of the arm; lies when told to."""

    def __init__(self):
        self.seen, self.lie, self.meanwhile = 0, "", None
        self.prompts = []
        # Of a hint; the model then fails on the next image.
        self.refuses_hints = False
        # Which of several robots is meant, and of each step what was meant and its depth image, if one was asked for.
        self.nearest, self.meant = None, []

    def step(self, frame, stamp, *, depth=None):
        self.seen += 1
        self.meant.append((stamp, frame.shape[:2], self.nearest, depth is not None, depth() if depth else None))
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if self.lie == "raises":
            raise RuntimeError("out of imaginary memory")
        height, width = frame.shape[:2]
        shown = int(frame[0, 0, 0])
        arm = np.zeros((height, width), bool)
        arm.ravel()[:shown] = True
        gripper = np.zeros((height, width), bool)
        parts = [mask_of(name, mask) for name, mask in zip(PARTS, (arm, gripper, arm | gripper), strict=True)]
        state = State.TRACKING if shown else State.SEARCHING if self.seen == 1 else State.LOST
        if shown and depth is not None and self.meant[-1][-1] is None:
            state = State.DEGRADED
        times = StageTimes()
        lie = LIES.get(self.lie)
        if lie == "state":
            state = State.LOST if shown else State.TRACKING
        elif lie == "time":
            times = StageTimes(encoder=math.nan)
        elif lie:
            parts[2] = dataclasses.replace(
                parts[2], **({**lie, "area": max(1, parts[2].area)} if "centroid" in lie else lie)
            )
        return PartMasks(stamp, state, tuple(parts), times)

    def step_encoded(self, encoded, stamp, **more):
        return self.step(encoded.frame, stamp, **more)

    def prompt(self, prompt):
        if self.refuses_hints:
            raise RuntimeError("out of imaginary memory for a hint")
        self.prompts.append(prompt)

    def reset(self):
        self.seen = 0
        self.prompts.clear()


class Outputs:
    """Publishers that keep what they are given."""

    def __init__(self, clock):
        self.clock, self.said = clock, []
        self.parts_topic = "/robotseg/parts"

    def publish(self, answer, live):
        # What is too old, or not yet, is not said as current.
        assert not live.max_age or abs(self.age_ms(answer.header)) <= live.max_age * 1e3
        if answer.followed is not None:
            target = answer.followed.target
            assert target.stamp == stamp_ns(answer.header) and target.mask.mask.shape == answer.rgb.shape[:2]
        self.said.append((State(answer.result.state), answer.header, answer.result))

    def publish_without_parts(self, header, state, *, dropped):
        assert 0 <= dropped
        self.said.append((state, header, None))

    def age_ms(self, header):
        return (self.clock() - stamp_ns(header)) / 1e6
