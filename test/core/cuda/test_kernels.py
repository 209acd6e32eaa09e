# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels in Triton's interpreter, which needs no GPU: the same numbers as attention written out.

Triton is not among what the project installs on a CPU; `pip install triton` and these tests run.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

CHECK = """
import torch
from robotseg_core.cuda.attention import Tiling, attend_by, kernels
from robotseg_core.model.attention import rotate, rope_table

torch.manual_seed(0)
batch, queries, keys, width, narrow = {sizes}
q = torch.randn({shared} or batch, queries, width).to(torch.float16)
space = torch.randn(batch, keys + 24, width).to(torch.float16)
k, v = space[:, :keys], torch.randn(batch, keys, narrow).to(torch.float16)
mask = None
if {masked}:
    dead = torch.zeros(batch, 1, keys, dtype=torch.bool)
    dead[0, :, : keys // 2 + 5] = True
    dead[-1, :, 3::2] = True
    mask = torch.full(dead.shape, 0.7).masked_fill(dead, float("-inf"))
    mask[-1, :, ::4] = 0
out = attend_by(q, k, v, mask, Tiling(32, 16, 4, 2, tma={tma}))
scores = q.double() @ k.double().transpose(1, 2) * width**-0.5
want = (scores if mask is None else scores + mask).softmax(-1) @ v.double()
error = float((out.double() - want).norm() / want.norm())
assert error < 2e-3, error

x = torch.randn(2, 3, 16, 64).to(torch.float16)
cos, sin = rope_table(4, 64)
turned = torch.empty_like(x)
kernels().turn_pairs[(-(-96 // 16),)](x, cos, sin, turned, 96, 16, ROWS=16, HALF=32)
assert torch.allclose(turned.float(), rotate(x.float(), cos, sin), atol=4e-3)
print("good")
"""


@pytest.mark.parametrize("tma", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_kernels_give_what_attention_written_out_gives(masked, tma):
    # One part without a mask, on the plain way; queries that the parts share, on that of the copy engine.
    sizes, shared = (3, 40, 300, 64, 16) if masked else (1, 64, 500, 64, 32), int(tma)
    # Triton reads the variable when it is imported.
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    code = CHECK.format(sizes=sizes, shared=shared, masked=masked, tma=tma)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "good" in done.stdout, done.stderr[-2000:]
