# SPDX-License-Identifier: Apache-2.0
"""``robotseg finetune``: adapt shipped or own weights to videos of one's own robot.

Where every frame has its masks, single frames are learned first and then clips through the memory.  Where only the
first frame of a video has them, the rest is label-efficient training.  All weights learn, or an adapter alone, a small
file of what this robot adds to them (:mod:`robotseg_core.train.adapted`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robotseg_core.config import PRESETS
from robotseg_core.files.mask_files import FOLDERS
from robotseg_core.files.natural import in_order
from robotseg_core.storage.whole import write_whole
from robotseg_core.train.adapted import AdaptedObjective, AdapterConfig
from robotseg_core.train.command import export, use_all_cores
from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.sources import DataConfig
from robotseg_core.train.distributed import World
from robotseg_core.train.settings import Phase, TrainConfig
from robotseg_core.train.trainer import Trainer
from robotseg_core.weights.adapter import adapter_folder, check_name, save_adapter
from robotseg_core.weights.files import find_weights, sha256_of
from robotseg_core.weights.load import read_state_dict

PARTS_NEEDED = ("arm", "gripper")
RATE, ADAPTER_RATE = 3e-4, 5e-3
"""Peak learning rates: of all weights, and of an adapter, which begins with nothing."""
KIND = "finetune.json"
"""File of a run's folder that says of what kind it is."""


@dataclass(frozen=True)
class Finetuning:
    """What ``robotseg finetune`` is asked for.

    Attributes:
        data: roots of videos in VRS layout; each is as likely as any other to be learned from.
        out: folder of the run; an existing run of the same settings goes on.
        start: weights to start from: ``nano`` or a file.
        adapter: name of the adapter that learns; None: all weights do.
        rank: of the adapter's change of a matrix.
        steps: of the optimiser, in all.
        batch: frames of a step.
        size: side of the model's input, pixels.
        lr: peak learning rate; None: :data:`RATE`, or :data:`ADAPTER_RATE` for an adapter.
        seed: of all that is drawn.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """

    data: tuple[Path, ...]
    out: Path
    start: str = "nano"
    adapter: str | None = None
    rank: int = AdapterConfig.rank
    steps: int = 300
    batch: int = 12
    size: int = 256
    lr: float | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps {self.steps} and batch {self.batch} must be at least 1")
        if self.form is not None:
            check_name(str(self.adapter))

    @property
    def form(self) -> AdapterConfig | None:
        """Form of the adapter, if one is asked for."""
        return None if self.adapter is None else AdapterConfig(rank=self.rank)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg finetune``."""
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="ROOT",
        help="videos of the robot: image/ and mask_gt/ (VRS layout); several roots, say real and rendered, each weigh "
        "the same",
    )
    parser.add_argument("--from", dest="start", default="nano", help="weights to start from: nano (default) or a file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an existing run is resumed")
    parser.add_argument(
        "--adapter",
        metavar="NAME",
        help="leave the weights as they are and learn a small file NAME.safetensors of what this robot adds to them",
    )
    parser.add_argument(
        "--rank", type=int, default=AdapterConfig.rank, help=f"of the adapter (default {AdapterConfig.rank})"
    )
    parser.add_argument("--steps", type=int, default=300, help="steps in all (default 300)")
    parser.add_argument("--batch", type=int, default=12, help="frames of a step (default 12)")
    parser.add_argument("--image-size", type=int, default=256, help="side of the model's input, pixels (default 256)")
    parser.add_argument(
        "--lr", type=float, help=f"peak learning rate (default {RATE:g}, with --adapter {ADAPTER_RATE:g})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")


def labelled_throughout(data: Path) -> bool:
    """Whether every frame of every video has its masks; False: the first ones at least have.

    Raises:
        ValueError: not the layout, or a first frame without masks; says which file is missing.
    """
    for folder in ("image", "mask_gt"):
        if not (data / folder).is_dir():
            raise ValueError(
                f"{data} has no folder {folder}/: needed are image/<video>/<frame>.jpg and "
                "mask_gt/<video>/000/<frame>.png (arm) and 001/ (gripper)"
            )
    whole, videos = True, sorted(p for p in (data / "image").iterdir() if p.is_dir())
    if not videos:
        raise ValueError(f"{data / 'image'} has no folders of frames")
    for video in videos:
        for i, frame in enumerate(in_order(video.glob("*.jpg"))):
            masks = [data / "mask_gt" / video.name / FOLDERS[part] / f"{frame.stem}.png" for part in PARTS_NEEDED]
            missing = [mask for mask in masks if not mask.exists()]
            if missing and i == 0:
                raise ValueError(
                    f"the first frame of {video.name} has no mask {missing[0]}; it needs one, if a black one"
                )
            whole = whole and not missing
    return whole


def phases(*, steps: int, batch: int, size: int, lr: float, whole: bool) -> tuple[Phase, ...]:
    """Single frames, then clips; or palindromes where only first frames are labelled."""

    def phase(kind: str, steps: int, *, batch: int, length: int, lr: float, final: float) -> Phase:
        return Phase(
            kind,
            steps=steps,
            batch=max(1, batch),
            size=size,
            length=length,
            lr=lr,
            warmup=max(1, steps // 10),
            final=final,
            frozen=3,
            trunk=0.3,
            auto=0.7,
        )

    if not whole:
        return (phase("let", steps, batch=batch // 6, length=7, lr=lr, final=0.1),)
    clips = steps // 3
    frames = phase("frame", steps - clips, batch=batch, length=1, lr=lr, final=0.3)
    return (frames, phase("clip", clips, batch=batch // 3, length=3, lr=0.3 * lr, final=0.1)) if clips else (frames,)


def configure(wanted: Finetuning) -> tuple[str, TrainConfig]:
    """Preset and configuration of the run.

    Raises:
        ValueError: data that are none, or weights of another preset than nano.
    """
    start = find_weights(wanted.start)
    preset = read_state_dict(start)[1].get("preset", "nano")
    if preset != "nano":
        raise ValueError(f"{start} is of preset {preset!r}; finetune is for nano, for others write a YAML for train")
    whole = all([labelled_throughout(root) for root in wanted.data])
    if not whole:
        print("not every frame has masks: the first frames' are used, the rest is label-efficient training")
    lr = wanted.lr or (RATE if wanted.adapter is None else ADAPTER_RATE)
    config = TrainConfig(
        data=DataConfig(videos=tuple(str(root) for root in wanted.data), photo_share=0.0, even=True),
        phases=phases(steps=wanted.steps, batch=wanted.batch, size=wanted.size, lr=lr, whole=whole),
        init=str(start),
        augment=AugmentConfig(scale=(0.7, 1.8), absent=0.03),
        seed=wanted.seed,
        ema=0.98,
        save_every=50,
    )
    return preset, config


def finetune(wanted: Finetuning) -> Path:
    """Train, and write ``OUT/<preset>_finetuned.safetensors`` or ``OUT/<adapter>.safetensors``.

    Returns:
        The file; of several processes the first one writes it.

    Raises:
        ValueError: bad data, or OUT holds a run of another kind.
        WeightsError: there are no weights to start from.
    """
    preset, config = configure(wanted)
    base = sha256_of(find_weights(wanted.start))
    check_kind(wanted, base)
    use_all_cores()
    world = World.join(wanted.device)
    trainer = Trainer(PRESETS[preset], config, wanted.out, world, adapter=wanted.form)
    if world.leads:
        write_whole(wanted.out / KIND, f"{json.dumps(kind_of(wanted, base))}\n".encode())
    trainer.run()
    world.leave()
    if wanted.adapter is None:
        target = wanted.out / f"{preset}_finetuned.safetensors"
        if world.leads:
            export(trainer, target)
        return target
    target = wanted.out / f"{wanted.adapter}.safetensors"
    if world.leads:
        assert isinstance(trainer.net, AdaptedObjective)
        said = {"rank": str(wanted.rank), "updates": str(trainer.updates), "frames_seen": str(trainer.seen)}
        tensors = trainer.net.tensors(trainer.ema)
        save_adapter(tensors, target, name=wanted.adapter, base_sha256=base, preset=preset, metadata=said)
    return target


def kind_of(wanted: Finetuning, base: str) -> dict[str, str | int | None]:
    """What a run must have in common with the one in its folder that it goes on with."""
    rank = None if wanted.adapter is None else wanted.rank
    return {"base_sha256": base, "adapter": wanted.adapter, "rank": rank}


def check_kind(wanted: Finetuning, base: str) -> None:
    """See that a run in OUT is of the same kind: what it has learned fits no other.

    Raises:
        ValueError: it is not; says in what.
    """
    file, kind = wanted.out / KIND, kind_of(wanted, base)
    if file.exists():
        before = json.loads(file.read_text())
        if before != kind:
            raise ValueError(f"{wanted.out} holds a run of {before}, asked for is {kind}; give another --out")
    elif (wanted.out / "state.pt").exists() and wanted.adapter is not None:
        raise ValueError(f"{wanted.out} holds another run, not of an adapter; give another --out")


def how_to_use(wanted: Finetuning, target: Path) -> Sequence[str]:
    """Lines for whoever has just trained."""
    node = "   in the node: ros2 launch robotseg_ros segment.launch.py"
    if wanted.adapter is None:
        return (
            f"weights -> {target}",
            f"use them: robotseg segment INPUT --out DIR --weights {target}",
            f"{node}, parameter weights: {target.resolve()}",
        )
    return (
        f"adapter -> {target} ({target.stat().st_size / 1e3:.0f} kB)",
        f"use it: robotseg segment INPUT --out DIR --adapter {target}",
        f"   by name: mkdir -p {adapter_folder()} && cp -n {target} {adapter_folder()}/",
        f"{node} robot:={wanted.adapter}",
    )


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune and say how to use what has come out."""
    given = {name: value for name, value in vars(arguments).items() if name in Finetuning.__dataclass_fields__}
    wanted = Finetuning(**{**given, "data": tuple(arguments.data)})
    target = finetune(wanted)
    if target.exists():
        print("\n".join(how_to_use(wanted, target)))
    return 0
