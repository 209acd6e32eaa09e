# SPDX-License-Identifier: Apache-2.0
"""Draws what the clips of a step show and what is asked of them, on the host and without a pixel.

Shape glossary: B clips, T frames, L layers (the base is layer 0), R rows a clip: arm, gripper and robot without a hint,
then hinted ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from robotseg_core.train.hinted.clips import motion
from robotseg_core.train.hinted.clips.targets import CATEGORIES, Asker, Target, tables
from robotseg_core.train.hinted.packs.catalogue import ROBOT, Catalogue, CutOut
from robotseg_core.train.hinted.packs.files import IDS
from robotseg_core.train.hinted.settings import HINTS, Shares, Stage

LABELS = 3
"""Values of a part map: 0 none, 1 arm, 2 gripper."""
TONES = 14
"""Numbers that tell how a frame is photographed, see :mod:`robotseg_core.train.hinted.clips.photograph`."""


@dataclass(frozen=True)
class Program:
    """What all clips of a step have in common.

    Attributes:
        size: side of the input.
        hints: of each hinted row, one of ``HINTS``.
        hint_frame: frame on which they are given.
        rounds: corrections that follow at once.
        late: frame that is corrected with its memory; -1 none.
        coarse: how much the heavy blur of bad frames shrinks the picture.
    """

    size: int
    hints: tuple[str, ...]
    hint_frame: int
    rounds: int
    late: int
    coarse: int


@dataclass(frozen=True, eq=False)
class Clips:
    """What B clips show, and what is asked of them.

    Attributes:
        frames: [B, L, T] int64 of the pool.
        matrix: [B, L, T, 2, 3] float32, see :mod:`robotseg_core.train.hinted.clips.motion`.
        bend: [B, L, T, 2, n, n] float32.
        cut_part, cut_id: [B, L, 3], [B, L, 256] bool: source pixels that belong to a layer.
        gain: [B, L, 3] float32: brightness of each layer; of the base, of its robots alone.
        shown: [B, L, T] bool: the layer is there.
        labelled: [B, T] bool: the base's parts are known.
        category: [B, R] int64, the class token of each row.
        want_owner, want_part, want_id: [B, R, L], [B, R, 3], [B, R, 256] bool: what a row's mask shows, a product of
            all three.
        off_owner, off_part, off_id: likewise what a negative click may be on.
        needs_labels: [B, R] bool: the target cannot be told where parts are not known.
        teacher: [B, R] bool: the row remembers the truth.
        tone: [B, T, 2 * TONES] float32: how much of each effect, and whether it is on.
        bad: [B, T] uint8: 0 as it is, 1 dark, 2 blurred.
        jpeg, blur: [n] int64 numbers (of B * T) of frames that are compressed or blurred.
        seed: [1] int64 of the noise.
    """

    frames: NDArray[np.int64]
    matrix: NDArray[np.float32]
    bend: NDArray[np.float32]
    cut_part: NDArray[np.bool_]
    cut_id: NDArray[np.bool_]
    gain: NDArray[np.float32]
    shown: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    category: NDArray[np.int64]
    want_owner: NDArray[np.bool_]
    want_part: NDArray[np.bool_]
    want_id: NDArray[np.bool_]
    off_owner: NDArray[np.bool_]
    off_part: NDArray[np.bool_]
    off_id: NDArray[np.bool_]
    needs_labels: NDArray[np.bool_]
    teacher: NDArray[np.bool_]
    tone: NDArray[np.float32]
    bad: NDArray[np.uint8]
    jpeg: NDArray[np.int64]
    blur: NDArray[np.int64]
    seed: NDArray[np.int64]

    def first(self, count: int) -> Clips:
        """The first ``count`` clips alone."""
        length = self.frames.shape[2]
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        own = {name: v[:count] for name, v in values.items() if name not in ("jpeg", "blur", "seed")}
        inside = {name: values[name][values[name] < count * length] for name in ("jpeg", "blur")}
        return Clips(**own, **inside, seed=self.seed)


def program(stage: Stage, rng: np.random.Generator) -> tuple[Program, int, int]:
    """What the clips of a step have in common, their number and their length."""
    size, length = int(rng.choice(stage.sizes)), int(rng.choice(stage.lengths))
    # Smaller pictures are more; their number does not depend on the length, so that few shapes of tensors occur.
    unit = math.lcm(*stage.lengths)
    room = stage.frames * (max(stage.sizes) / size) ** 2 * (1.0 if size == max(stage.sizes) else 0.9)
    room = max(unit, int(room) // unit * unit) if room >= unit else room
    weights = np.asarray(stage.hints) / sum(stage.hints)
    hints = tuple(sorted((HINTS[i] for i in rng.choice(len(HINTS), stage.rows, p=weights)), key=HINTS.index))
    shares = stage.shares
    later = length > 1 and rng.random() < shares.later
    hint_frame = int(rng.integers(1, max(2, length - 1))) if later else 0
    late = hint_frame + 1 + int(rng.integers(max(1, length - hint_frame - 1)))
    late = late if late < length and rng.random() < shares.late_fix else -1
    rounds = int(rng.choice(3, p=np.asarray(shares.rounds) / sum(shares.rounds)))
    coarse = int(rng.choice([8, 16, 32]))
    return Program(size, hints, hint_frame, rounds, late, coarse), max(1, int(room / length)), length


class Drawer:
    """Draws clips of a catalogue."""

    def __init__(self, catalogue: Catalogue, shares: Shares) -> None:
        self.catalogue, self.shares = catalogue, shares
        self._asker = Asker(catalogue, shares)
        kinds = [k for k in catalogue.bases if catalogue.bases[k]]
        weight = np.array([getattr(shares, kind) for kind in kinds])
        if not kinds or not weight.sum():
            raise ValueError(f"nothing to draw from: videos of {kinds}, shares {shares}")
        self._bases = kinds, weight / weight.sum()
        cuts = [k for k in catalogue.cuts if catalogue.cuts[k]]
        self._cuts = cuts, np.array([getattr(shares, f"cut_{kind}") for kind in cuts])

    def draw(self, what: Program, count: int, length: int, rng: np.random.Generator) -> Clips:
        """``count`` clips of ``length`` frames."""
        clips = [self._clip(what, length, rng) for _ in range(count)]
        stacked = {key: np.stack([clip[key] for clip in clips]) for key in clips[0]}
        order = rng.permutation(count * length)
        jpeg, blur = order[: len(order) // 6], rng.permutation(order)[: len(order) // 6]
        return Clips(**stacked, jpeg=jpeg, blur=blur, seed=rng.integers(1 << 40, size=1))

    # ------------------------------------------------------------------------------------ pictures
    def _clip(self, what: Program, length: int, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
        shares, catalogue = self.shares, self.catalogue
        layers = 1 + len(shares.layers)
        times = np.arange(length, dtype=np.float64) - what.hint_frame
        kinds, weights = self._bases
        kind = kinds[int(rng.choice(len(kinds), p=weights))]
        video = int(rng.choice(catalogue.bases[kind]))
        still = kind not in ("rendered", "clip") or rng.random() < shares.still
        base = catalogue.frames(video, length, rng, still=still)
        own = catalogue.videos[video]

        frames = np.repeat(base[None], layers, 0)
        matrix = np.zeros((layers, length, 2, 3), np.float32)
        bends = np.zeros((layers, length, 2, motion.BEND, motion.BEND), np.float32)
        cut_part, cut_id = np.zeros((layers, LABELS), bool), np.zeros((layers, IDS), bool)
        shown = np.zeros((layers, length), bool)
        gain = np.ones((layers, 3), np.float32)
        cut_part[0] = cut_id[0] = shown[0] = True
        matrix[0] = motion.camera(
            rng, times, self._aim(video, int(base[what.hint_frame]), rng), moving=2.0 if still else 1.0
        )
        bends[0] = motion.bend(rng, times if still else 0 * times, 0.03 if still else 0.012)

        if rng.random() < shares.recolour:
            gain[0] = np.exp(rng.normal(0, 0.35) + rng.normal(0, 0.22, 3))
        pasted: list[CutOut | None] = [None] * layers
        robots = kind not in ("photo", "bare") or rng.random() < shares.robots_on_photos
        for k in range(1, layers):
            if rng.random() > shares.layers[k - 1]:
                continue
            below = pasted[k - 1]
            if below is not None and rng.random() < shares.twin:
                cut, frames[k], gain[k] = below, frames[k - 1], gain[k - 1]
            else:
                found = self._cut(rng, robots=robots)
                if found is None:
                    continue
                cut = found
                frames[k] = self._cut_frames(cut, length, rng)
                spread = 0.22 if not cut.ids and rng.random() < shares.recolour else 0.06
                gain[k] = np.exp(rng.normal(0, 0.2) + rng.normal(0, spread, 3))
            pasted[k] = cut
            extent = (0.5, 1.7) if not cut.ids else (0.2, 1.0)
            way = str(rng.choice(["still", "drift", "cross", "leave"], p=[0.15, 0.4, 0.25, 0.2]))
            matrix[k] = motion.flight(rng, times, cut.box, extent, way)
            bends[k] = motion.bend(rng, times, 0.02)
            cut_part[k] = True if cut.ids else (False, True, True)
            cut_id[k, list(cut.ids) if cut.ids else slice(None)] = True
            shown[k] = True
        rows = [self._asker.automatic(c) for c in range(len(CATEGORIES))]
        off: list[Target] = [self._asker.anything(rng, pasted) for _ in rows]
        for hint in what.hints:
            target, avoid = self._asker.hinted(hint, video, int(base[what.hint_frame]), pasted, rng)
            rows.append(target)
            off.append(avoid)
        known = np.array([own.labelled[f - own.first] for f in base])
        return {
            "frames": frames,
            "matrix": matrix,
            "bend": bends,
            "cut_part": cut_part,
            "cut_id": cut_id,
            "gain": gain,
            "shown": shown,
            "labelled": known,
            "category": np.array([self._any_token(rng) if r.category is None else r.category for r in rows]),
            **tables("want", rows, layers),
            **tables("off", off, layers),
            "needs_labels": np.array([r.needs_labels for r in rows]),
            "teacher": rng.random(len(rows)) < shares.teacher,
            "tone": self._tone(length, rng),
            "bad": self._bad(times, rng),
        }

    def _aim(self, video: int, frame: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Where to look: often at the robot, as often at its gripper."""
        one = self.catalogue.videos[video]
        parts = one.parts[frame - one.first]
        which = [value for value in (ROBOT, 2) if value in parts]
        if not which or rng.random() < 0.2:
            return np.asarray(rng.uniform(-0.6, 0.6, 2))
        _, x0, y0, x1, y1 = parts[int(rng.choice(which))]
        return np.array([x0 + x1, y0 + y1]) / 2 + rng.normal(0, 0.15, 2)

    def _cut(self, rng: np.random.Generator, *, robots: bool) -> CutOut | None:
        kinds, weights = self._cuts
        if not robots:
            weights = weights * [kind in ("object", "region") for kind in kinds]
        if not weights.sum():
            return None
        candidates = self.catalogue.cuts[kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]]
        return candidates[int(rng.integers(len(candidates)))]

    def _cut_frames(self, cut: CutOut, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """A rendered cut-out often moves within itself as its video goes on."""
        one = self.catalogue.videos[cut.video]
        if one.source != "rendered" or not all(one.labelled) or rng.random() < 0.4:
            return np.full(length, cut.frame)
        step = cut.frame - one.first + np.arange(length)
        return one.first + np.minimum(step, len(one.labelled) - 1)

    def _any_token(self, rng: np.random.Generator) -> int:
        return 2 if rng.random() < self.shares.robot_token else int(rng.integers(3))

    def _tone(self, length: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Of a clip, with a little of each frame's own."""
        clip = rng.normal(0, 1, TONES)
        switch = rng.random(TONES)
        return np.concatenate([clip + rng.normal(0, 0.12, (length, TONES)), np.tile(switch, (length, 1))], 1).astype(
            np.float32
        )

    def _bad(self, times: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
        bad = (rng.random(len(times)) < self.shares.bad) & (times > 0)
        return np.where(bad, rng.integers(1, 3, len(times)), 0).astype(np.uint8)
