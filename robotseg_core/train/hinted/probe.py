# SPDX-License-Identifier: Apache-2.0
"""Measures on pictures that are not trained on, during a run: does a hint change the answer, does the memory?

All figures are IoU in percent at a quarter of the input's side, means over rows; good for comparing moments of a run,
not for reports, which ``robotseg eval`` makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.train.hinted.clips import motion
from robotseg_core.train.hinted.clips.compose import Pool
from robotseg_core.train.hinted.clips.draw import LABELS, TONES, Clips, Drawer, Program
from robotseg_core.train.hinted.clips.targets import CATEGORIES
from robotseg_core.train.hinted.follow import AUTOMATIC, Followed, Rows
from robotseg_core.train.hinted.learn import Learner
from robotseg_core.train.hinted.packs.catalogue import ROBOT, Catalogue
from robotseg_core.train.hinted.packs.files import IDS, PackedVideo
from robotseg_core.train.hinted.settings import Shares

Figures = dict[str, float]
SEED = 20260101
OBJECTS = Shares(rendered=0.4, real=0.0, clip=0.0, photo=0.3, bare=0.3, bad=0.3, later=0.0, late_fix=0.0, teacher=0.0)
"""Composed clips with unknown objects."""


def plain_clips(frames: NDArray[np.int64], videos: Sequence[PackedVideo], hinted: Sequence[int]) -> Clips:
    """Frames [B, T] of the pool as they are; rows arm, gripper, robot, then those categories ``hinted`` at."""
    batch, length = frames.shape
    categories = [0, 1, 2, *hinted]
    rows = len(categories)
    identity = np.broadcast_to(np.eye(2, 3, dtype=np.float32), (batch, 1, length, 2, 3)).copy()
    known = np.zeros((batch, length), bool)
    for video in videos:
        inside = (frames >= video.first) & (frames < video.stop)
        known[inside] = np.array(video.labelled)[frames[inside] - video.first]
    tone = np.zeros((batch, length, 2 * TONES), np.float32)
    tone[..., TONES:] = 1
    everything = np.ones((batch, rows, IDS), bool)
    part = np.broadcast_to(np.array([CATEGORIES[c] for c in categories]), (batch, rows, LABELS)).copy()
    owner = np.ones((batch, rows, 1), bool)
    none = np.zeros(0, np.int64)
    return Clips(
        frames=frames[:, None].copy(),
        matrix=identity,
        bend=np.zeros((batch, 1, length, 2, motion.BEND, motion.BEND), np.float32),
        cut_part=np.ones((batch, 1, LABELS), bool),
        cut_id=np.ones((batch, 1, IDS), bool),
        gain=np.ones((batch, 1, 3), np.float32),
        shown=np.ones((batch, 1, length), bool),
        labelled=known,
        category=np.broadcast_to(np.array(categories), (batch, rows)).copy(),
        want_owner=owner,
        want_part=part,
        want_id=everything,
        off_owner=owner,
        off_part=np.broadcast_to(np.array([True, False, False]), (batch, rows, LABELS)).copy(),
        off_id=everything,
        needs_labels=np.ones((batch, rows), bool),
        teacher=np.zeros((batch, rows), bool),
        tone=tone,
        bad=np.zeros((batch, length), np.uint8),
        jpeg=none,
        blur=none,
        seed=np.zeros(1, np.int64),
    )


def joined(many: Sequence[Clips]) -> Clips:
    """Clips one after the other; without compression and blur."""
    own = {
        name: np.concatenate([vars(clips)[name] for clips in many])
        for name in vars(many[0])
        if name not in ("jpeg", "blur", "seed")
    }
    none = np.zeros(0, np.int64)
    return Clips(**own, jpeg=none, blur=none, seed=many[0].seed)


@dataclass(frozen=True)
class Answers:
    """IoU and what it was of, all [R, B, T]: ``seen`` where the truth shows something, ``known`` where it is known.

    ``false`` is the share of pixels that were marked.
    """

    iou: Tensor
    seen: Tensor
    known: Tensor
    false: Tensor

    def mean(self, row: int, frames: slice, only: Tensor | None = None) -> float:
        """Mean IoU of a row over frames on which it is seen; NaN where there are none."""
        count = self.seen[row, :, frames] & self.known[row, :, frames]
        if only is not None:
            count = count & only[:, frames]
        values = self.iou[row, :, frames][count]
        return 100 * float(values.mean()) if len(values) else float("nan")


def score(followed: Followed, rows: Rows, row_count: int) -> Answers:
    """IoU of all answers."""
    logits = torch.stack(followed.logits, 1)
    found, truth = logits > 0, rows.truth > 0.5
    both, either = (found & truth).sum((2, 3)), (found | truth).sum((2, 3))

    def by_row(x: Tensor) -> Tensor:
        return x.unflatten(0, (row_count, -1)).cpu()

    return Answers(
        iou=by_row(both / either.clamp(min=1)),
        seen=by_row(truth.sum((2, 3)) > 4),
        known=by_row(rows.weight > 0),
        false=by_row(found.float().mean((2, 3))),
    )


class Probe:
    """Fixed clips of pictures that are not trained on.

    Args:
        catalogue: of the pool's pictures that are measured on.
        pool: all pictures.
        size: of the model's input.
        limit: most clips of each kind; fewer are faster.
    """

    def __init__(self, catalogue: Catalogue, pool: Pool, *, size: int, limit: int = 96) -> None:
        self.pool, self.size = pool, size
        videos = catalogue.videos
        real = [v for v in videos if v.source == "real"]
        frames = [v.first + i for v in real for i in range(len(v.labelled)) if v.labelled[i]][:limit]
        self.stills = plain_clips(np.array(frames, np.int64)[:, None], videos, [1, 2, 1, 1]) if frames else None
        bare = [v.first for v in videos if v.source in ("bare", "photo")][:limit]
        self.bare = plain_clips(np.array(bare, np.int64)[:, None], videos, []) if bare else None
        rendered = [v for v in videos if v.source == "rendered" and len(v.labelled) >= 4][: limit // 4]
        self.rendered = self._videos(rendered, 6, videos)
        # Short real videos: from a labelled frame on.
        long = [v for v in real if sum(v.labelled) > 1]
        self.videos = self._videos(long, 8, videos)
        self.objects, self.program = None, None
        if catalogue.bases["photo"] or catalogue.bases["bare"]:
            rng = np.random.default_rng(SEED)
            self.program = Program(size, ("click", "box", "mask"), 0, 0, -1, 16)
            self.objects = Drawer(catalogue, OBJECTS).draw(self.program, max(4, limit // 4), 6, rng)

    @staticmethod
    def _videos(some: Sequence[PackedVideo], length: int, videos: Sequence[PackedVideo]) -> Clips | None:
        clips = []
        for v in some:
            labelled = np.flatnonzero(v.labelled)
            shown = [i for i in labelled if ROBOT in v.parts[i]]
            if not shown:
                continue
            # Evenly from the first labelled frame on, the labelled ones among them.
            start, rest = shown[0], [i for i in labelled if i > shown[0]]
            way = np.unique([*np.linspace(start, len(v.labelled) - 1, length).round().astype(int), *rest[: length - 2]])
            keep = [int(start), *(int(i) for i in rest[: length - 1])]
            for i in way:
                if len(keep) < length and i not in keep:
                    keep.append(int(i))
            index = np.sort(np.array((keep + [keep[-1]] * length)[:length]))
            clips.append(plain_clips(v.first + index[None], videos, [1, 0, 2]))
        return joined(clips) if clips else None

    def _answers(
        self, learner: Learner, clips: Clips, what: Program, *, memory: bool = True, chunk: int = 24
    ) -> Answers:
        device = self.pool.device
        parts = []
        for i in range(0, len(clips.frames), chunk):
            own = {
                name: value if name in ("jpeg", "blur", "seed") else value[i : i + chunk]
                for name, value in vars(clips).items()
            }
            some = Clips(**{**own, "jpeg": clips.jpeg[:0], "blur": clips.blur[:0]})
            generator = torch.Generator(device).manual_seed(SEED)
            images, rows = learner.view(some, what, self.pool, generator)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                followed, _ = learner.follow(images, rows, what, generator, memory=memory)
            parts.append(score(followed, rows, AUTOMATIC + len(what.hints)))
        return Answers(*(torch.cat([getattr(p, n) for p in parts], 1) for n in ("iou", "seen", "known", "false")))

    @torch.no_grad()
    def measure(self, learner: Learner) -> Figures:
        """All figures, percent; the learner's present weights, in evaluation mode."""
        out: Figures = {}
        every, later = slice(None), slice(1, None)
        if self.stills is not None:
            what = Program(self.size, ("click", "click", "box", "clicks"), 0, 0, -1, 16)
            a = self._answers(learner, self.stills, what)
            names = ("arm", "gripper", "robot", "gripper_click", "robot_click", "gripper_box", "gripper_clicks")
            out |= {f"real_{name}": a.mean(i, every) for i, name in enumerate(names)}
        if self.bare is not None:
            a = self._answers(learner, self.bare, Program(self.size, (), 0, 0, -1, 16))
            out["false_pixels"] = 100 * float(a.false[2].mean())
        for name, clips in (("rendered", self.rendered), ("video", self.videos)):
            if clips is None:
                continue
            what = Program(self.size, ("mask", "mask", "mask"), 0, 0, -1, 16)
            a = self._answers(learner, clips, what)
            for i, part in enumerate(("arm", "gripper", "robot")):
                out[f"{name}_{part}"] = a.mean(i, later)
            for i, part in ((3, "gripper"), (4, "arm"), (5, "robot")):
                out[f"{name}_{part}_mask"] = a.mean(i, later)
        if self.objects is not None and self.program is not None:
            a = self._answers(learner, self.objects, self.program)
            off = self._answers(learner, self.objects, self.program, memory=False)
            bad = torch.from_numpy(self.objects.bad > 0)
            out |= {"object_click": a.mean(3, slice(0, 1)), "object_box": a.mean(4, slice(0, 1))}
            out |= {"object_click_later": a.mean(3, later), "object_mask_later": a.mean(5, later)}
            out |= {"bad_mask": a.mean(5, later, bad), "bad_robot": a.mean(2, later, bad)}
            out["bad_robot_alone"] = off.mean(2, later, bad)
        return out
