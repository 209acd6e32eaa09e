# SPDX-License-Identifier: Apache-2.0
"""What is recorded as CUDA graphs obeys the rules of capture, shown without a GPU on a device that has no numbers."""

import pytest
import torch
from small_models import SMALL
from tiny_base import TINY
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from robotseg_core.backends.encoder import EncoderGraph
from robotseg_core.model import structure
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.loops import cuda_loop
from robotseg_core.stream.memory_bank import MemoryBank

COPIES = {"aten::lift_fresh", "aten::_pin_memory"}
"""How numbers of the host become tensors."""
ELSEWHERE = torch.device("meta")
"""A device without numbers: whoever looks at one fails."""


class Rules(TorchDispatchMode):
    """Notes operators that wait for the device, or that read the host's memory."""

    def __init__(self):
        super().__init__()
        self.broken, self.seen = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen += 1
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        made = [x for x in tree_flatten(out)[0] if isinstance(x, torch.Tensor)]
        name = func.name()
        if name.split(".")[0] in COPIES or any(x.device.type == "cpu" for x in (*given, *made)):
            self.broken.append((name, [(tuple(x.shape), x.device.type) for x in (*given, *made)]))
        return out


class Called:
    """In place of a recording: calls what would be recorded, by the rules."""

    rules: Rules

    def __init__(self, function, device, before=None):
        self.function = function
        self.outputs = ()

    def __call__(self):
        with self.rules:
            self.outputs = self.function()
        return self.outputs


def to_elsewhere(model):
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(torch.empty_like(weight, device=ELSEWHERE), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty_like(buffer, device=ELSEWHERE))
    return model


@pytest.fixture
def constants(monkeypatch):
    """Those that are on the device since the calls before the recording."""

    def there(values, dtype, device):
        return torch.empty(1, 3, 1, 1, dtype=dtype, device=device)

    monkeypatch.setattr(structure, "channel_constants", there)


@pytest.mark.parametrize("config", [SMALL, TINY], ids=["nano", "base"])
def test_loop_never_waits_and_reads_the_device_only(monkeypatch, constants, config):
    monkeypatch.setattr(cuda_loop, "Recording", Called)
    monkeypatch.setattr(cuda_loop.GraphedLoop, "_check", lambda self: None)
    Called.rules = Rules()
    model = RobotSegModel(config).eval()
    with torch.inference_mode():
        to_elsewhere(model)
        keys = model.time_keys().to(torch.float32)
        bank = MemoryBank(config, 3, keys, frames=config.memory_frames, conditioning=2)
        loop = cuda_loop.GraphedLoop(model, bank, None)
        for start in (0, 1):
            memory, look_up, decoder = loop._find(start)
            (image, *_), (logits, *_) = look_up(), decoder()
            assert image.device == logits.device == ELSEWHERE
        for made in (loop._remember(), loop._token(), loop._key()):
            assert made[0].device == ELSEWHERE
    assert Called.rules.seen > 300
    assert not Called.rules.broken, Called.rules.broken[:5]


@pytest.mark.parametrize("config", [SMALL, TINY], ids=["nano", "base"])
def test_encoder_never_waits_and_reads_the_device_only(config):
    rules = Rules()
    graph = EncoderGraph(RobotSegModel(config))
    with torch.inference_mode():
        to_elsewhere(graph)
        image = torch.randn(1, 3, config.image_size, config.image_size, device=ELSEWHERE)
        with rules:
            maps = graph(image)
    assert all(x.device == ELSEWHERE for x in maps)
    assert rules.seen > 20 and not rules.broken, rules.broken[:5]
