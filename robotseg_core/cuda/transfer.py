# SPDX-License-Identifier: Apache-2.0
"""Copies between host and device that nobody waits for."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def sent(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array on its way to the device; it may change as soon as this returns."""
    here = torch.from_numpy(array if array.flags.writeable else array.copy())
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here.clone()


class OnTheWay:
    """Tensors whose copies into the host's memory are queued: the device works on while the host does other things."""

    def __init__(self, *tensors: Tensor) -> None:
        self._copies = tensors
        self._ready: torch.cuda.Event | None = None
        if tensors[0].device.type == "cuda":
            self._copies = tuple(torch.empty(x.shape, dtype=x.dtype, pin_memory=True) for x in tensors)
            for copy, x in zip(self._copies, tensors, strict=True):
                copy.copy_(x, non_blocking=True)
            self._ready = torch.cuda.Event()
            self._ready.record()

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Wait for the copies, and for nothing that was queued after them."""
        if self._ready is not None:
            self._ready.synchronize()
        return tuple(x.numpy() for x in self._copies)
