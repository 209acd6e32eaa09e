# SPDX-License-Identifier: Apache-2.0
"""What a training with hints is made of: stages, shares of what is drawn, the run as a whole; plain numbers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

HINTS = ("click", "box", "clicks", "negative", "fix", "mask")
"""How a row is hinted at: one click on it; its box; three clicks, some of them off it; one click off it, on something
that does not belong; a click that mends a given wrong mask; its mask."""


@dataclass(frozen=True)
class Shares:
    """How often what is drawn.  Weights of one line need not sum to 1.

    Attributes:
        rendered, real, clip, photo, bare: what a clip's base is: a rendered video, one labelled real frame, a real
            video, a photograph, a picture of hands and machines without robots.
        cut_robot, cut_real, cut_object, cut_region: what is pasted: a rendered robot, a real one, a rendered thing, a
            region of a photograph.
        robots_on_photos: probability that a photograph may get robots pasted; the others show none.
        layers: probability of each of the clip's layers to be there.
        twin: probability that a layer repeats the one below it, elsewhere in the picture.
        still: probability that a rendered video stands still.
        bad: probability of a frame after the hint to be so dark or blurred that only the memory can answer.
        later: probability that hints come on a later frame than the first.
        late_fix: probability that a later frame is corrected, with its memory.
        rounds: probabilities of 0, 1, 2 corrections after a hint.
        recolour: probability that the robots of a picture get a colour of their own.
        teacher: probability that a row remembers the truth instead of its own answer.
        parts: how much oftener real parts (robots, grippers, arms) are hinted at than other things.
        robot_token: probability that a hint at anything else comes with the category robot, not with any.
        own_token: probability that a hint at a real part comes with its own category.
    """

    rendered: float = 0.40
    real: float = 0.23
    clip: float = 0.07
    photo: float = 0.13
    bare: float = 0.17
    cut_robot: float = 0.2
    cut_real: float = 0.25
    cut_object: float = 0.2
    cut_region: float = 0.35
    robots_on_photos: float = 0.35
    layers: tuple[float, ...] = (0.8, 0.6, 0.35)
    twin: float = 0.2
    still: float = 0.1
    bad: float = 0.15
    later: float = 0.2
    late_fix: float = 0.3
    rounds: tuple[float, float, float] = (0.5, 0.3, 0.2)
    recolour: float = 0.0
    teacher: float = 0.3
    parts: float = 1.0
    robot_token: float = 0.0
    own_token: float = 0.5


@dataclass(frozen=True)
class Stage:
    """One stretch of the run.

    Attributes:
        share: of the run's time (or steps).
        sizes: sides of the input, drawn anew for every step.
        lengths: frames of a clip, drawn anew for every step.
        frames: encoded frames of a step at the largest of ``sizes``; smaller sizes get as many clips.
        hints: weights of :data:`HINTS` for the hinted rows.
        rows: hinted rows of a clip, beside arm, gripper and robot without a hint.
        lr: peak learning rate as a fraction of the run's.
        frozen: stages of the convolutional trunk that do not learn (0: all learn), for speed where there is no GPU.
        batch_norm: whether normalisation uses the batch's statistics, and learns them.
        answered: share of a step's clips that go through prompts, memory and decoder; the others teach the encoder
            alone, by the dense head, at a quarter of the cost.
        match: weight of likeness to the maps of the encoder that the weights came with; the clips go through the
            encoder alone while it is above 0.  So a new trunk first learns to speak to a decoder that is trained.
        shares: what is drawn.
    """

    share: float
    sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    frames: int
    hints: tuple[float, ...] = (0.3, 0.15, 0.15, 0.1, 0.1, 0.2)
    rows: int = 3
    lr: float = 1.0
    frozen: int = 0
    batch_norm: bool = True
    answered: float = 1.0
    match: float = 0.0
    shares: Shares = field(default_factory=Shares)

    def __post_init__(self) -> None:
        if len(self.hints) != len(HINTS):
            raise ValueError(f"hints has {len(self.hints)} weights, must be one for each of {HINTS}")
        if not self.sizes or any(size % 32 for size in self.sizes):
            raise ValueError(f"sizes are {self.sizes}, must be multiples of 32")
        if not self.lengths or min(self.lengths) < 1 or self.frames < max(self.lengths):
            raise ValueError(f"lengths are {self.lengths}, must be 1 to frames ({self.frames})")
        if not 0 < self.answered <= 1:
            raise ValueError(f"answered is {self.answered}, must be above 0 and at most 1")


@dataclass(frozen=True)
class HintedConfig:
    """A whole run.

    Attributes:
        stages: one after the other.
        store: side at which pictures are kept on the device.
        lr: peak learning rate; linear warm-up over ``warmup`` of the run, held until ``hold`` of it is done, then
            cosine to ``final`` times the peak at the end.
        trunk: learning rate of the trunk as a fraction of it.
        dense: weight of the dense head on the encoder's maps.
        structure: weight of the structure term.
        probe_every: seconds between measurements on packs that are not trained on.
        save_every: seconds between saved states.
        workers: processes that draw clips.
    """

    stages: tuple[Stage, ...]
    seed: int = 0
    store: int = 448
    lr: float = 1e-3
    warmup: float = 0.02
    hold: float = 0.4
    final: float = 0.02
    trunk: float = 0.4
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    ema: float = 0.998
    dense: float = 0.3
    structure: float = 0.2
    probe_every: float = 90.0
    save_every: float = 30.0
    workers: int = 8

    def rate(self, progress: float) -> float:
        """Learning rate when ``progress`` (0 to 1) of the run is done."""
        if progress < self.warmup:
            return self.lr * (0.02 + 0.98 * progress / self.warmup)
        done = min(1.0, max(0.0, progress - self.hold) / (1 - self.hold))
        return self.lr * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done)))

    def stage(self, progress: float) -> int:
        """Which stage it is when ``progress`` of the run is done."""
        total, ends = sum(stage.share for stage in self.stages), 0.0
        for i, stage in enumerate(self.stages):
            ends += stage.share / total
            if progress < ends:
                return i
        return len(self.stages) - 1


EASY = Shares(
    rendered=0.3, real=0.28, clip=0.0, photo=0.22, bare=0.2, still=1.0, bad=0.05, later=0.1, late_fix=0.15, teacher=0.6
)
"""Pictures moved by warps: what a click means, and what it means to follow."""

NANO = HintedConfig(
    stages=(
        # One shape of tensors a stage: cuDNN plans every shape anew, which takes seconds that a short run has not.
        Stage(0.3, (256,), (3,), 192, shares=EASY),
        Stage(0.34, (384,), (5,), 140),
        Stage(0.36, (448,), (7,), 126, batch_norm=False, lr=0.8, shares=Shares(teacher=0.1)),
    )
)
"""The run of nano 3 on one GPU of 80 GB."""

_TOLD = Shares(bad=0.05, later=0.0, late_fix=0.15, rounds=(0.5, 0.35, 0.15), parts=3.0, robot_token=0.8, own_token=0.9)
"""Hints on the first frame, most of them at real parts by their own names."""

_CLICKS = Stage(
    share=0.5,
    sizes=(256,),
    lengths=(1, 1, 1, 3),
    frames=18,
    hints=(0.35, 0.25, 0.15, 0.08, 0.1, 0.07),
    rows=5,
    frozen=7,
    batch_norm=False,
    shares=_TOLD,
)
CLICKS = HintedConfig(
    stages=(_CLICKS, dataclasses.replace(_CLICKS, sizes=(448,), frames=9, lr=0.7)),
    lr=6e-4,
    hold=0.5,
    ema=0.98,
    probe_every=900,
    save_every=60,
    workers=1,
)
"""Many small steps on a CPU, most of them single pictures with hints: to go on from what a GPU has learned."""

_REAL = Stage(
    share=0.6,
    sizes=(320,),
    lengths=(1, 1, 1, 3),
    frames=24,
    hints=(0.3, 0.3, 0.15, 0.1, 0.1, 0.05),
    rows=2,
    batch_norm=False,
    answered=0.34,
    shares=dataclasses.replace(
        _TOLD, rendered=0.22, real=0.42, clip=0.06, photo=0.12, bare=0.18, cut_real=0.4, rounds=(0.6, 0.3, 0.1)
    ),
)
REAL = HintedConfig(
    stages=(_REAL, dataclasses.replace(_REAL, share=0.4, sizes=(384,), frames=18, answered=0.5, lr=0.7)),
    store=384,
    lr=5e-4,
    warmup=0.03,
    hold=0.45,
    ema=0.99,
    dense=1.0,
    probe_every=1500,
    save_every=90,
    workers=1,
)
"""Real frames as most of what is seen, the whole encoder learning, on one core: what a GPU has learned is brought to
real cameras."""

_SEEN = Shares(
    rendered=0.36,
    real=0.32,
    clip=0.04,
    photo=0.16,
    bare=0.12,
    cut_robot=0.25,
    cut_real=0.35,
    cut_object=0.2,
    cut_region=0.2,
    robots_on_photos=0.6,
    recolour=0.35,
    parts=2.0,
    robot_token=0.5,
    own_token=0.8,
)
"""Robots in most pictures: where half of them show none, a model learns to be silent."""
_STILL = dataclasses.replace(_SEEN, real=0.36, clip=0.0, still=1.0, bad=0.05, later=0.1, late_fix=0.15, teacher=0.6)
_LARGER = Stage(0.36, (320,), (3,), 240, hints=(0.3, 0.22, 0.15, 0.1, 0.1, 0.13), answered=0.4, shares=_STILL)
LARGER = HintedConfig(
    stages=(
        dataclasses.replace(_LARGER, share=0.08, match=1.0),
        _LARGER,
        dataclasses.replace(_LARGER, share=0.31, sizes=(384,), lengths=(5,), frames=150, answered=0.7, shares=_SEEN),
        dataclasses.replace(
            _LARGER,
            share=0.25,
            sizes=(384,),
            lengths=(7,),
            frames=140,
            answered=1.0,
            batch_norm=False,
            lr=0.8,
            shares=dataclasses.replace(_SEEN, teacher=0.1),
        ),
    ),
    store=384,
    trunk=0.3,
    dense=0.5,
)
"""A trunk that has seen photographs alone, before a decoder and a memory that are trained, on one GPU."""

FINISH = dataclasses.replace(
    REAL,
    stages=(
        dataclasses.replace(
            _REAL,
            share=1.0,
            sizes=(352,),
            answered=0.4,
            shares=dataclasses.replace(
                _SEEN,
                rendered=0.28,
                real=0.38,
                clip=0.06,
                cut_real=0.4,
                rounds=(0.6, 0.3, 0.1),
                late_fix=0.15,
            ),
        ),
    ),
    lr=4e-4,
)
"""What follows :data:`LARGER` on one core: half of what is seen are real robots, in any colours."""

SCHEDULES = {"gpu": NANO, "larger": LARGER, "clicks": CLICKS, "real": REAL, "finish": FINISH}
"""Runs by name."""
