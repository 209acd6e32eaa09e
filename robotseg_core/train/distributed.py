# SPDX-License-Identifier: Apache-2.0
"""One training on several processes, as ``torchrun`` starts them; without it, one process."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class World:
    """The processes of a run and this one's place among them."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str) -> World:
        """Take part in the run that ``torchrun`` started, if it did.

        Args:
            device: ``cpu``, ``cuda`` (each process takes the GPU of its number) or ``cuda:N`` (one process).

        Raises:
            ValueError: no such device, or one GPU for several processes.
        """
        place = torch.device(device)
        if place.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device here")
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(place)
        if place.type == "cuda":
            if place.index is not None:
                raise ValueError(f"device is {device!r}: {size} processes cannot share it, say cuda")
            place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(place)
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
        return cls(place, distributed.get_rank(), size)

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, net: nn.Module) -> nn.Module:
        """``net`` with its gradients averaged over the processes.

        Running statistics of normalisation layers are those of the first process.
        """
        if self.size == 1:
            return net
        # Each kind of phase uses a part of the network, and parts are frozen.
        return nn.parallel.DistributedDataParallel(
            net, device_ids=[self.device] if self.device.type == "cuda" else None, find_unused_parameters=True
        )

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            distributed.barrier()

    def leave(self) -> None:
        """End the processes' connection."""
        if self.size > 1 and distributed.is_initialized():
            distributed.destroy_process_group()
