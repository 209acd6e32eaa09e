# SPDX-License-Identifier: Apache-2.0
"""``robotseg parity``: does this model compute what the reference computes?  A table, and an exit code.

Weights are made by the rule of :mod:`robotseg_core.weights.seeded`, so that no checkpoint is needed.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robotseg_core.config import BASE, ModelConfig
from robotseg_core.model.image_encoder_base import HieraEncoder
from robotseg_core.model.positions import sine_position_map
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.option_limits import MOST_SEED, check_option
from robotseg_core.parity.compare import Row, frame_of, rows_of, worst_of
from robotseg_core.parity.items import output_item, split_item
from robotseg_core.parity.runs import (
    PROMPT_SIDE,
    UNDECIDED_LOGIT,
    Prompts,
    Run,
    change_weights,
    drive,
    parse_run,
    tipping_changes,
)
from robotseg_core.stream.preprocess import frame_tensor
from robotseg_core.stream.session import Frame, encode_frame
from robotseg_core.weights.seeded import golden_state_dict

DEFAULT_SEED = 10


@dataclass(frozen=True)
class Tip:
    """An undecidable pixel of a prompted frame's hard mask: frame, |logit|, change [h, w] of the stored logits."""

    frame: int
    logit: float
    change: Tensor


class Parity:
    """Golden data and the model that is checked against it."""

    def __init__(
        self,
        inputs: Mapping[str, NDArray[Any]],
        goldens: Mapping[str, NDArray[Any]],
        prompts: Prompts,
        *,
        config: ModelConfig = BASE,
        seed: int = DEFAULT_SEED,
        device: torch.device | str = "cpu",
    ) -> None:
        self.inputs = inputs
        self.config = config
        self.prompts = prompts
        self.seed = seed
        self.device = torch.device(device)
        self.model = RobotSegModel(config).eval().to(self.device)
        self.arrays: dict[str, dict[tuple[str, str], NDArray[Any]]] = {}
        for key in goldens:
            run, _, rest = key.partition("/")
            tag, _, item = rest.rpartition("/")
            self.arrays.setdefault(run, {})[(tag, item)] = goldens[key]
        self._weights: dict[str, Tensor] = {}
        self._weights_seed: int | None = None
        self._frames: dict[tuple[bool, int], Frame] = {}
        self._trunk: tuple[str, list[Tensor]] | None = None
        self._hard: dict[int, Tensor] = {}

    def runs(self, names: Sequence[str] | None = None) -> list[str]:
        """Names of the runs to check, those of one weights seed together; default: all but the bfloat16 ones.

        Raises:
            ValueError: a name is not in the golden file.
        """
        if names:
            absent = sorted(set(names) - set(self.arrays))
            if absent:
                raise ValueError(f"no golden run {', '.join(absent)}; there are {', '.join(sorted(self.arrays))}")
            chosen = list(names)
        else:
            parsed = {name: parse_run(name) for name in self.arrays}
            chosen = [
                name
                for name, run in parsed.items()
                if name in ("enc", "prompt") or (run is not None and run.memory_dtype == torch.float32)
            ]
        return sorted(chosen, key=lambda name: (self._seed_of(parse_run(name)), chosen.index(name)))

    def check(self, name: str) -> list[Row]:
        """Lines of one run: for every item its worst frame.

        Where a difference comes from an undecidable pixel in the hard mask of a prompted frame, the run is repeated
        with that pixel the other way; everything must agree then, and an extra line says so.
        """
        self._hard.clear()
        tips: dict[int, Tensor] = {}
        tipped: list[Row] = []
        rows = list(self._rows(name, tips))
        while failed := [row for row in rows if not row.passed]:
            found = self._find_tip(name, failed[0].frame, tips)
            if found is None:
                break
            tips[found.frame] = found.change
            tipped.append(Row(name, "|logit| of tipped pixel", f"f{found.frame}", found.logit, UNDECIDED_LOGIT))
            rows = list(self._rows(name, tips))
        return [*worst_of(rows), *tipped]

    def _find_tip(self, name: str, failed: int, tips: Mapping[int, Tensor]) -> Tip | None:
        """The pixel of the last prompted frame up to ``failed`` that makes everything up to there agree, or None."""
        candidates = [index for index in self._hard if index <= failed and index not in tips]
        if not candidates:
            return None
        last = max(candidates)
        for logit, change in tipping_changes(self._hard[last], self.config.image_size):
            rows = self._rows(name, {**tips, last: change})
            if all(row.passed for row in takewhile(lambda row: row.frame <= failed, rows)):
                return Tip(last, logit, change)
        return None

    def _rows(self, name: str, tips: Mapping[int, Tensor]) -> Iterator[Row]:
        arrays = self.arrays[name]
        run = parse_run(name)
        self._load(run)
        if run is None:
            for (tag, item), golden in arrays.items():
                ours = self._encoder_item(name, tag, item)
                if ours is None:
                    yield Row(name, f"{item} (unknown)", tag, float("inf"), 0)
                else:
                    yield from rows_of(name, tag, item, ours, golden, loose=False)
            return
        dark = "dark" in run.variants
        numbers = [frame_of(tag) for tag, _ in arrays]
        left = set(arrays)
        bits = np.unpackbits(self.inputs["mask256_bits"])[: PROMPT_SIDE**2].reshape(PROMPT_SIDE, PROMPT_SIDE)
        for tag, output, frame in drive(
            self.model,
            run,
            count=max(numbers) + 1,
            frame=lambda index: self._frame(index, dark=dark),
            mask=torch.from_numpy(bits).to(self.device),
            prompts=self.prompts,
            video_length=len(self.inputs["frames_u8"]),
            tips=tips,
        ):
            index = frame_of(tag)
            again = run.mode == "reprompt" and tag == f"f{self.prompts.second_frame}"
            if not tips and (tag == "f0" or tag.endswith("corrected") or again):
                self._hard[index] = output.logits[0]
            for item in [item for found, item in arrays if found == tag]:
                try:
                    ours = output_item(item, self.model, output, frame)
                except KeyError:
                    continue
                left.discard((tag, item))
                loose = run.memory_dtype != torch.float32
                yield from rows_of(name, tag, item, ours, arrays[tag, item], loose=loose)
        for tag, item in sorted(left):
            yield Row(name, f"{item} (unknown)", tag, float("inf"), 0)

    def _seed_of(self, run: Run | None) -> int:
        return self.seed if run is None or run.seed is None else run.seed

    def _load(self, run: Run | None) -> None:
        """Put a run's weights into the model; features of the frames are kept while the seed stays."""
        seed = self._seed_of(run)
        if seed != self._weights_seed:
            self._weights = golden_state_dict(self.model.state_dict(), seed)
            self._weights_seed = seed
            self._frames.clear()
            self._trunk = None
        changed = change_weights(self._weights, run) if run else {}
        self.model.load_state_dict(self._weights | changed)

    def _image(self, index: int, *, dark: bool) -> Tensor:
        frames = self.inputs["frames_u8"]
        if index >= len(frames):
            raise ValueError(f"the golden runs need frame {index}, the inputs have {len(frames)}")
        frame = frames[index]
        if dark:
            # Dark enough that the edge extractor does not divide by 255 (SPEC 5.3).
            known = self.inputs.get("frames_dark_u8")
            frame = known[index] if known is not None else (frame.astype(np.uint16) * 5 // 8).astype(np.uint8)
        return frame_tensor(frame, self.config.image_size, exact=True).to(self.device)

    def _frame(self, index: int, *, dark: bool) -> Frame:
        key = (dark, index)
        if key not in self._frames:
            self._frames[key] = encode_frame(self.model, self._image(index, dark=dark))
        return self._frames[key]

    def _encoder_item(self, name: str, tag: str, item: str) -> NDArray[Any] | None:
        """Arrays of the pseudo-runs ``enc`` and ``prompt``."""
        stem, stride = split_item(item)
        value: Tensor
        if (name, stem) == ("prompt", "dense_pe"):
            grid = self.config.grid
            value = self.model.sam_prompt_encoder.dense_pe().T.unflatten(1, (grid, grid))[:, ::stride, ::stride]
        elif stem == "input":
            count = len(self.inputs["frames_u8"])
            value = torch.cat([self._image(i, dark=False)[..., ::stride, ::stride] for i in range(count)])
        elif match := re.fullmatch(r"pos(\d)", stem):
            side = self.config.image_size // (4, 8, 16)[int(match[1])]
            value = sine_position_map(side, self.config.d_model).T.unflatten(1, (side, side))[:, ::stride, ::stride]
        elif match := re.fullmatch(r"trunk(\d)", stem):
            if self._trunk is None or self._trunk[0] != tag:
                encoder = self.model.image_encoder
                assert isinstance(encoder, HieraEncoder)
                self._trunk = tag, encoder.trunk(self._image(int(tag[1:]), dark=False))
            value = self._trunk[1][int(match[1])][0, :, ::stride, ::stride]
        elif match := re.fullmatch(r"fpn(\d)(_stats)?", stem):
            features = self._frame(int(tag[1:]), dark=False).features
            x = (features.h4, features.h8, features.f16)[int(match[1])][0]
            if match[2]:
                wide = x.double()
                value = torch.stack([wide.mean(), wide.std(), wide.abs().sum()])
            else:
                value = x[:, ::stride, ::stride]
        else:
            return None
        return np.asarray(value.cpu().numpy())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code: 0 all passed, 1 a difference above its tolerance."""
    parser = argparse.ArgumentParser(
        prog="robotseg parity", description="Compare the base model with golden data of the reference, item by item."
    )
    parser.add_argument("--inputs", type=Path, required=True, help="frames and the prompt mask (inputs.npz)")
    parser.add_argument("--goldens", type=Path, required=True, help="recorded arrays (goldens.npz)")
    parser.add_argument("--prompts", type=Path, help="clicks and boxes (default: prompts.json beside the inputs)")
    parser.add_argument("--weights-seed", type=int, default=DEFAULT_SEED, help="seed of the weight rule (default 10)")
    parser.add_argument("--run", nargs="+", metavar="NAME", help="runs to check (default: all fp32 runs and encoder)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; differences are to a CPU run")
    arguments = parser.parse_args(argv)
    try:
        check_option("--weights-seed", arguments.weights_seed, 0, MOST_SEED)
    except ValueError as error:
        parser.error(str(error))
    for path in (arguments.inputs, arguments.goldens):
        if not path.is_file():
            parser.error(f"no file {path}")
    # Convolutions on NVIDIA GPUs would otherwise be rounded to 10 bits.
    torch.backends.cudnn.allow_tf32 = False
    with np.load(arguments.inputs) as inputs, np.load(arguments.goldens) as goldens, torch.inference_mode():
        prompts = Prompts.read(arguments.prompts or arguments.inputs.with_name("prompts.json"))
        parity = Parity(
            dict(inputs), dict(goldens), prompts, config=BASE, seed=arguments.weights_seed, device=arguments.device
        )
        try:
            names = parity.runs(arguments.run)
        except ValueError as error:
            parser.error(str(error))
        failed: list[str] = []
        print(f"{'run':32} {'item':26} {'where':9} {'largest':>10} {'tolerance':>10}  verdict")
        for name in names:
            start = time.perf_counter()
            rows = parity.check(name)
            for row in rows:
                verdict = "ok" if row.passed else "FAILED"
                print(f"{name:32} {row.item:26} {row.where:9} {row.difference:10.2e} {row.tolerance:10.1e}  {verdict}")
            bad = [row for row in rows if not row.passed]
            failed += [name] if bad else []
            seconds = time.perf_counter() - start
            print(f"{name}: {'FAILED' if bad else 'passed'}, {len(rows)} items, {seconds:.0f} s", flush=True)
    if failed:
        print(f"{len(failed)} of {len(names)} runs failed: {', '.join(failed)}")
        return 1
    print(f"all {len(names)} runs passed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
