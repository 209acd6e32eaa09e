# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
from tiny_base import TINY
from train_videos import make_videos

from robotseg_core.model import image_encoder_base as image_encoder
from robotseg_core.train.data.augment import AugmentConfig
from robotseg_core.train.data.sources import DataConfig
from robotseg_core.train.distributed import World
from robotseg_core.train.settings import Phase, TrainConfig
from robotseg_core.train.trainer import Trainer


def train(root: Path, name: str, world: World | None = None) -> Trainer:
    """Two palindromes a step, which two processes share.  The terms of LET are means over rows, unlike the dense
    head's, and Hiera has no normalisation over the batch: halves of a batch add up to the whole."""
    image_encoder.MAX_DROP_PATH = 0.0
    torch.set_num_threads(1)
    config = TrainConfig(
        data=DataConfig(videos=(str(root / "videos"),)),
        phases=(Phase("let", steps=2, batch=2, size=64, length=3, warmup=1, lr=1e-4),),
        augment=AugmentConfig(scale=(1, 1), occlude=0),
        workers=0,
        clip_norm=1e9,
    )
    trainer = Trainer(TINY, config, root / name, world)
    trainer.run()
    return trainer


def process(rank: int, root: Path, port: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world = World.join("cpu")
    train(root, "two", world)
    world.leave()


def momentum(folder: Path) -> torch.Tensor:
    """Running mean of the gradients of every parameter that learns, in one vector."""
    state = torch.load(folder / "state.pt", weights_only=True)["optimizer"]["state"]
    return torch.cat([state[key]["exp_avg"].flatten() for key in sorted(state)])


def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(image_encoder, "MAX_DROP_PATH", 0.0)
    threads = torch.get_num_threads()
    make_videos(tmp_path / "videos")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(process, (tmp_path, port), nprocs=2)
    one = train(tmp_path, "one")
    torch.set_num_threads(threads)
    whole, shared = momentum(tmp_path / "one"), momentum(tmp_path / "two")
    assert whole.shape == shared.shape
    # bfloat16 rounds sums of another order; half of the batch alone would be off by its own size.
    assert float((whole - shared).norm() / whole.norm()) < 0.05
    state = torch.load(tmp_path / "two" / "state.pt", weights_only=True)
    assert (state["seen"], state["updates"]) == (one.seen, one.updates) == (12, 2)
    for key, value in one.ema.items():
        torch.testing.assert_close(state["ema"][key], value, atol=5e-4, rtol=0.01)


def test_one_process_needs_no_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    world = World.join("cpu")
    assert (world.rank, world.size, world.leads) == (0, 1, True)
    net = torch.nn.Linear(1, 1)
    assert world.share(net) is net


def test_a_device_that_is_not_there_is_named(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="'cuda:3'.*no CUDA device"):
        World.join("cuda:3")
