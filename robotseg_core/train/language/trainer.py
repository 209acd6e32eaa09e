# SPDX-License-Identifier: Apache-2.0
"""Training of the small policy: stage after stage, saved often, resumed where it stopped."""

from __future__ import annotations

import copy
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from robotseg_core.instruct.small.network import SmallNetwork
from robotseg_core.instruct.small.policy import SmallWeights, load_policy, save_policy
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.storage.whole import replacing
from robotseg_core.train.language.grpo import grpo_step
from robotseg_core.train.language.instances import instance_loss
from robotseg_core.train.language.learner import PoolPolicy
from robotseg_core.train.language.pool import Pool, training_words
from robotseg_core.train.language.reward_of_masks import AnswerStatistics, MaskReward
from robotseg_core.train.language.settings import PolicyConfig, Stage
from robotseg_core.train.language.supervised import (
    WHERE_WEIGHT,
    accuracies,
    likelihood_loss,
    make_batch,
    scene_of,
    where_loss,
)
from robotseg_core.weights.load import read_pickle

MEANS_OVER = 20
"""Steps of a line of the curves."""
COLUMNS = ("stage", "kind", "step", "cpu_minutes", "rate", "name", "value")


class PolicyTrainer:
    """Runs the stages; all that a resumed run needs is in ``out/state.pt``, and the policy so far in
    ``out/policy.safetensors``.
    """

    def __init__(self, config: PolicyConfig, pool: Pool, model: RobotSegModel, base: str, out: Path) -> None:
        """Begin or resume a run.

        Args:
            config: what to do.
            pool: frames to learn from.
            model: the frozen segmenter.
            base: SHA-256 of its weights.
            out: folder of the run.
        """
        self.config, self.pool, self.model, self.base, self.out = config, pool, model, base, out
        torch.manual_seed(config.seed)
        if config.init is not None:
            start = load_policy(Path(config.init))
            if start.bases[0] != base:
                raise ValueError(f"{config.init} was trained on weights {start.bases[0][:12]}, not on {base[:12]}")
            self.network, self.vocabulary = start.network, dict(start.vocabulary)
            # Words that it was not trained on yet take what is left of its table.
            lacking = [word for word in training_words() if word not in self.vocabulary]
            for word in lacking[: start.network.config.words - 1 - len(self.vocabulary)]:
                self.vocabulary[word] = len(self.vocabulary) + 1
        else:
            words = training_words()
            if len(words) >= config.network.words:
                raise ValueError(f"network.words is {config.network.words}, must be above {len(words)}")
            self.network = SmallNetwork(config.network)
            self.vocabulary = {word: i for i, word in enumerate(words, 1)}
        self.network.train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-3, betas=(0.9, 0.98), weight_decay=0.01)
        self.stage = self.step = 0
        self.used = 0.0
        self.reference: SmallNetwork | None = None
        out.mkdir(parents=True, exist_ok=True)
        if (out / "state.pt").is_file():
            self._load()

    # ------------------------------------------------------------------------------------------ state
    def save(self) -> None:
        """Write state and policy; each is there completely or as it was."""
        state = {
            "stage": self.stage,
            "step": self.step,
            "used": self.used,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "reference": None if self.reference is None else self.reference.state_dict(),
            "base": self.base,
        }
        with replacing(self.out / "state.pt") as partial:
            torch.save(state, partial)
        self.export(self.out / "policy.safetensors")

    def export(self, path: Path) -> None:
        """Write the policy as it is."""
        done = ", ".join(f"{s.kind}" for s in self.config.stages[: self.stage + 1])
        note = f"{done}; stage {self.stage}, step {self.step}, {len(self.pool.frames)} frames, seed {self.config.seed}"
        with replacing(path) as partial:
            save_policy(partial, SmallWeights(self.network, self.vocabulary, (self.base,), note))

    def _load(self) -> None:
        state: dict[str, Any] = read_pickle(self.out / "state.pt")
        if state["base"] != self.base:
            raise ValueError(f"{self.out} was trained on weights {state['base'][:12]}, not on {self.base[:12]}")
        self.stage, self.step, self.used = state["stage"], state["step"], state["used"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["reference"] is not None:
            self.reference = copy.deepcopy(self.network)
            self.reference.load_state_dict(state["reference"])
        print(f"resume: stage {self.stage}, step {self.step}")

    # ------------------------------------------------------------------------------------------ loop
    def run(self) -> None:
        """Go through the remaining stages."""
        while self.stage < len(self.config.stages):
            stage = self.config.stages[self.stage]
            self._run(stage)
            self.save()
            with replacing(self.out / f"stage{self.stage}_{stage.kind}.safetensors") as partial:
                save_policy(partial, SmallWeights(self.network, self.vocabulary, (self.base,), f"stage {self.stage}"))
            self.stage, self.step, self.used, self.reference = self.stage + 1, 0, 0.0, None
        self.save()

    def _run(self, stage: Stage) -> None:
        if stage.kind == "grpo" and self.reference is None:
            self.reference = copy.deepcopy(self.network).eval().requires_grad_(False)
        policy = PoolPolicy(self.network, self.pool, self.vocabulary)
        reference = None
        if self.reference is not None:
            reference = PoolPolicy(self.reference.requires_grad_(False), self.pool, self.vocabulary)
        reward = MaskReward(self.pool, self.model, self.config.reward)
        before, clock = self.used, time.process_time()
        means: dict[str, list[float]] = {}
        with tqdm(total=stage.steps, initial=self.step, desc=f"{self.stage} {stage.kind}", unit="step") as bar:
            while self.step < stage.steps:
                self.used = before + (time.process_time() - clock) / 60
                done = max(self.step / stage.steps, self.used / stage.cpu_minutes if stage.cpu_minutes else 0.0)
                if done >= 1:
                    break
                # What is drawn in a step repeats by its number, so that a resumed run is the run that it resumes.
                rng = np.random.default_rng([self.config.seed, self.stage, self.step])
                torch.manual_seed(int(rng.integers(1 << 31)))
                rate = stage.rate(self.step, done)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                if stage.kind == "supervised":
                    figures = self._supervised(stage, rng)
                else:
                    reward.statistics = AnswerStatistics()
                    figures = self._grpo(stage, rng, policy, reference, reward)
                for name, value in figures.items():
                    means.setdefault(name, []).append(value)
                self.step += 1
                bar.update()
                if self.step % MEANS_OVER == 0:
                    line = {name: float(np.mean(values)) for name, values in means.items()}
                    self._write(stage, rate, line)
                    bar.set_postfix_str(" ".join(f"{name} {value:.3f}" for name, value in line.items()))
                    means.clear()
                if self.step % self.config.save_every == 0:
                    self.save()

    def _supervised(self, stage: Stage, rng: np.random.Generator) -> dict[str, float]:
        self.network.drop.p = stage.dropout
        examples = self.pool.draw(rng, stage.frames, stage.each)
        batch = make_batch(self.pool, examples)
        with torch.autocast("cpu", torch.bfloat16, enabled=stage.bf16):
            scene, found = scene_of(self.network, batch, examples, self.vocabulary)
            logits = self.network(scene, batch.tokens, 1)
            where = self.network.where(scene)
        likelihood, covered = likelihood_loss(logits, batch.tokens, batch.mask), where_loss(where, batch.covered)
        who = instance_loss(found, batch.instances)
        loss = likelihood + WHERE_WEIGHT * covered + who.sum()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        figures = {"loss": float(likelihood.detach()), "where": float(covered.detach())}
        figures.update(zip(("there", "number", "box", "colour"), who.tolist(), strict=True))
        return {**figures, **accuracies(logits.detach(), batch.tokens, batch.mask)}

    def _grpo(
        self,
        stage: Stage,
        rng: np.random.Generator,
        policy: PoolPolicy,
        reference: PoolPolicy | None,
        reward: MaskReward,
    ) -> dict[str, float]:
        # What is scored must be what was drawn.
        self.network.drop.p = 0.0
        examples = self.pool.draw(rng, stage.frames, stage.each)
        log = grpo_step(policy, reference, self.optimizer, examples, reward, stage.settings)
        figures = {"reward": log.reward, "kl": log.kl, "entropy": log.entropy, "used": log.used, "ratio": log.ratio}
        return {**figures, **reward.statistics.means()}

    def _write(self, stage: Stage, rate: float, figures: dict[str, float]) -> None:
        path = self.out / "curve.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            for name, value in figures.items():
                row = (self.stage, stage.kind, self.step, f"{self.used:.2f}", f"{rate:.2e}", name, f"{value:.5f}")
                writer.writerow(row)


def plot_curves(source: Path, target: Path) -> None:
    """Draw ``curve.csv``, a panel for each figure, over the CPU minutes of all stages."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    series: dict[tuple[str, str], list[tuple[float, float]]] = {}
    starts: dict[str, float] = {}
    end = 0.0
    with source.open() as file:
        for row in csv.DictReader(file):
            start = starts.setdefault(row["stage"], end)
            end = max(end, start + float(row["cpu_minutes"]))
            series.setdefault((row["kind"], row["name"]), []).append(
                (start + float(row["cpu_minutes"]), float(row["value"]))
            )
    figure, axes = plt.subplots(3, -(-len(series) // 3), figsize=(14, 8), layout="constrained", squeeze=False)
    for axis, ((kind, name), points) in zip(axes.flat, series.items(), strict=False):
        axis.plot(*zip(*points, strict=True), linewidth=1)
        axis.set_title(f"{kind}: {name}", fontsize=9)
        axis.set_xlabel("CPU minutes", fontsize=8)
    figure.savefig(target, dpi=90)
    plt.close(figure)
