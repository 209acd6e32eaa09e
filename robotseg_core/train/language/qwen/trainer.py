# SPDX-License-Identifier: Apache-2.0
"""A stage of Seg-R1: pictures in a drawn order, answers in groups, masks by the frozen segmenter, GRPO (SEGR1 3, 4)."""

from __future__ import annotations

import copy
import csv
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from robotseg_core.evaluation.language.public.foregrounds import read_foregrounds
from robotseg_core.evaluation.language.public.samples import TARGET, PublicSample
from robotseg_core.files.pictures import read_rgb
from robotseg_core.instruct.grammar import parse, to_prompts
from robotseg_core.instruct.prompt_set import Answer, PromptSet
from robotseg_core.instruct.qwen import SEGR1_SYSTEM, Messages
from robotseg_core.storage.whole import replacing
from robotseg_core.train.language.grpo import Rollout, StepLog, grpo_step
from robotseg_core.train.language.qwen.learner import PictureRequest, QwenLearner, with_lora
from robotseg_core.train.language.qwen.settings import QwenStage
from robotseg_core.train.language.rewards import paper_reward
from robotseg_core.weights.load import read_pickle

QUESTIONS = {
    "rl": "Find and segment all primary objects in the image.",
    "pre-rl": "Give a sparse set of points on and off the most salient object: <points>[[x,y],[x,y]]</points>, "
    "<labels>[1,0]</labels>.",
}
"""In our words; Seg-R1's own are in its scripts."""
Segmenter = Callable[[NDArray[np.uint8], PromptSet], NDArray[np.bool_]]
"""A picture [S, S, 3] and prompts in its pixels to a mask [S, S]."""


def messages_of(form: str) -> Messages:
    """The chat of a stage; points alone are asked for without a system message."""
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTIONS[form]}]}
    if form == "pre-rl":
        return [user]
    return [{"role": "system", "content": [{"type": "text", "text": SEGR1_SYSTEM}]}, user]


def picture_request(sample: PublicSample, stage: QwenStage) -> PictureRequest:
    """A sample squashed to the square; the truth is resized bilinearly, on above one half."""
    side = (stage.side, stage.side)
    rgb = np.asarray(cv2.resize(read_rgb(sample.image), side, interpolation=cv2.INTER_AREA), np.uint8)
    truth = (sample.truth() == TARGET).astype(np.uint8) * 255
    wanted = np.asarray(cv2.resize(truth, side, interpolation=cv2.INTER_LINEAR)) > 127
    return PictureRequest(rgb, messages_of(stage.form), wanted)


def reward_of(text: str, request: PictureRequest, form: str, segment: Segmenter) -> float:
    """0.7 IoU + 0.3 S + 1 for the form, the S-measure being the true one; 0 for what cannot be used (SEGR1 3).

    Stage ``pre-rl`` reads points and labels alone; stage ``rl`` makes no mask unless box, points and labels are there.
    """
    parsed = parse(text)
    earned = parsed.format_reward if form == "rl" else parsed.points_format_reward
    if not (parsed.scored if form == "rl" else earned):
        return earned
    side = request.rgb.shape[0]
    if form == "pre-rl":
        text = text.replace("<bbox>", "<no box>")
    prompts = to_prompts(text, (side, side), (side, side))
    if prompts.answer is not Answer.FOUND:
        return earned
    mask = segment(request.rgb, prompts)
    # An empty mask would still be paid 0.15 by the S-measure (SEGR1 3).
    return earned + (paper_reward(mask, request.truth) if mask.any() else 0.0)


class QwenTrainer:
    """One stage.  ``out/state.pt`` has what a resumed run needs: the weights that learn, the optimiser, the step."""

    def __init__(self, stage: QwenStage, model: Any, processor: Any, segment: Segmenter, out: Path) -> None:
        self.stage, self._segment, self.out = stage, segment, out
        reference: Any = None
        if stage.lora is not None:
            model = with_lora(model, stage.lora)
            reference = model
        elif stage.settings.beta:
            reference = copy.deepcopy(model).eval().requires_grad_(False)
        self.model = model
        self.policy = QwenLearner(model, processor, max_new_tokens=stage.max_new_tokens)
        self.reference = None
        if reference is not None and stage.settings.beta:
            self.reference = QwenLearner(
                reference, processor, max_new_tokens=stage.max_new_tokens, without_adapters=stage.lora is not None
            )
        learning = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, stage.lr, weight_decay=0.0)
        self.samples = [s for one in stage.pictures for s in read_foregrounds(Path(one.root), one.layout)]
        self.step = 0
        self.steps = stage.epochs * len(self.samples) // stage.prompts
        if not self.steps:
            raise ValueError(f"{len(self.samples)} pictures are fewer than the {stage.prompts} of one step")
        out.mkdir(parents=True, exist_ok=True)
        if (out / "state.pt").is_file():
            state = read_pickle(out / "state.pt")
            self.model.load_state_dict(state["learned"], strict=False)
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = int(state["step"])
            print(f"resume: step {self.step} of {self.steps}")

    def save(self) -> None:
        """Write the state; it is there completely or as it was."""
        learned = {name: p.detach().cpu() for name, p in self.model.named_parameters() if p.requires_grad}
        state = {"learned": learned, "optimizer": self.optimizer.state_dict(), "step": self.step}
        with replacing(self.out / "state.pt") as partial:
            torch.save(state, partial)

    def run(self) -> None:
        """Go through the remaining steps; the model is written to ``out/model``."""
        with tqdm(total=self.steps, initial=self.step, unit="step") as bar:
            while self.step < self.steps:
                torch.manual_seed(self.stage.seed * 1_000_003 + self.step)
                log = self.one_step(self._samples_of(self.step))
                self.step += 1
                self._write(log)
                bar.set_postfix_str(f"reward {log.reward:.3f} kl {log.kl:.4f}")
                bar.update()
                if self.step % self.stage.save_every == 0:
                    self.save()
        self.save()
        self.model.save_pretrained(self.out / "model")

    def one_step(self, samples: Sequence[PublicSample]) -> StepLog:
        """Draw, reward, learn: one optimiser step, summed over ``micro`` prompts at a time."""
        requests = [picture_request(sample, self.stage) for sample in samples]
        steps = len(requests) // self.stage.micro
        logs = []
        optimizer = _Summed(self.optimizer, steps)
        for i in range(steps):
            own = requests[i * self.stage.micro : (i + 1) * self.stage.micro]
            logs.append(grpo_step(self.policy, self.reference, optimizer, own, self._rewards, self.stage.settings))  # type: ignore[arg-type]
            optimizer.count()
        names = ("reward", "kl", "entropy", "length", "used", "loss")
        means = {name: float(np.mean([getattr(log, name) for log in logs])) for name in names}
        return StepLog(**means, ratio=max(log.ratio for log in logs))

    def _rewards(self, requests: Sequence[PictureRequest], rollout: Rollout, group: int) -> Tensor:
        texts = self.policy.texts(rollout)
        earned = [reward_of(text, requests[i // group], self.stage.form, self._segment) for i, text in enumerate(texts)]
        return torch.tensor(earned).view(len(requests), group)

    def _samples_of(self, step: int) -> list[PublicSample]:
        """Those of a step: every picture once an epoch, in an order drawn for it."""
        found = []
        for at in range(step * self.stage.prompts, (step + 1) * self.stage.prompts):
            epoch, number = divmod(at, len(self.samples))
            order = np.random.default_rng([self.stage.seed, epoch]).permutation(len(self.samples))
            found.append(self.samples[int(order[number])])
        return found

    def _write(self, log: StepLog) -> None:
        path = self.out / "curve.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(("step", "reward", "kl", "entropy", "length", "used", "loss"))
            row = (log.reward, log.kl, log.entropy, log.length, log.used, log.loss)
            writer.writerow((self.step, *(f"{value:.5f}" for value in row)))


class _Summed:
    """An optimiser that steps once after ``count`` backward passes, over their mean gradient."""

    def __init__(self, optimizer: torch.optim.Optimizer, count: int) -> None:
        self._optimizer, self._count, self._done, self._waiting = optimizer, count, 0, False
        self.param_groups = optimizer.param_groups
        self._sums: dict[Tensor, Tensor] = {}

    def zero_grad(self) -> None:
        """Before a backward pass: gradients of this pass alone."""
        self._optimizer.zero_grad()

    def step(self) -> None:
        """After one: add what it has found."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._sums[p] = self._sums.get(p, torch.zeros_like(p)) + p.grad / self._count

    def count(self) -> None:
        """A pass is done, whether it taught something or not; after the last one the genuine step is taken."""
        self._done += 1
        if self._done < self._count or not self._sums:
            return
        for p, gradient in self._sums.items():
            p.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._sums.clear()


def load_for_training(stage: QwenStage) -> tuple[Any, Any]:
    """Model and processor of a folder.

    Raises:
        ValueError: the folder holds no model.
        RuntimeError: ``transformers`` is not installed.
    """
    folder = Path(stage.weights)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; give a folder with the weights of Qwen2.5-VL or Seg-R1")
    try:
        transformers = importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise RuntimeError("a language model needs transformers: pip install 'robotseg_ros[qwen]'") from error
    dtype = torch.bfloat16 if stage.device.startswith("cuda") else torch.float32
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=dtype, local_files_only=True)
    processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    if stage.device.startswith("cuda"):
        model.gradient_checkpointing_enable()
    return model.to(stage.device), processor
