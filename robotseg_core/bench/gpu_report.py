# SPDX-License-Identifier: Apache-2.0
"""``robotseg bench --gpu-report OUT``: all that a GPU is asked, in one run of less than 100 seconds.

Sections run one after the other and each is guarded: what fails leaves its traceback in the report, and the next one
begins.  ``OUT/gpu.json`` and ``OUT/gpu.md`` are written after every section, so that a run that is cut off has lost
nothing.  What takes long to begin (``torch.compile``) comes last, each in a box of time.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from robotseg_core.bench.gpu_document import Report
from robotseg_core.bench.gpu_sections import Bench, Way
from robotseg_core.bench.gpu_table import markdown
from robotseg_core.config import BASE, HieraConfig
from robotseg_core.stream.choices import usable_device

SECONDS = 100.0
FULL_SECONDS = 600.0
NANO_SIZES = (320, 448, 640)
TINY = dataclasses.replace(
    BASE,
    image_size=64,
    encoder=HieraConfig(embed_dim=8),
    fpn_channels=(32, 32, 32),
    d_model=32,
    mem_dim=8,
    memory_layers=1,
    attention_dim=32,
    memory_ffn=64,
    decoder_ffn=64,
    head_hidden=32,
    mask_channels=(2, 4, 8, 16),
    memory_frames=3,
    max_pointers=4,
)
"""In base's place on a CPU, where the report only shows that it runs."""


def report(bench: Bench, folder: Path, seconds: float, *, full: bool) -> Report:
    """All sections in the order of their worth."""
    out = Report(folder, seconds)
    bench.save = out.write
    cuda = bench.device.type == "cuda"
    ways = [Way("eager", "bf16"), Way("eager", "fp32")]
    if cuda:
        ways = [Way("graphs", "bf16"), ways[0], Way("graphs", "fp16"), Way("graphs", "fp32"), ways[1]]
    few = ways if full else [way for way in ways if way.precision != "fp16"]
    sizes = {size: dataclasses.replace(bench.nano, image_size=size) for size in bench.nano_sizes}
    out.section("machine", bench.machine, needs=0)
    out.section("ceilings", bench.measure_ceilings)
    out.section("base", lambda found: bench.model(bench.base, ways, found), needs=8, most=seconds / 2)
    out.section("attention", bench.attention, needs=8, most=seconds / 3)
    for size, config in sizes.items():
        out.section(f"nano {size}", lambda found, c=config: bench.model(c, few, found), needs=5, most=seconds / 5)  # type: ignore[misc]
    if cuda:
        out.section("base, kernels", bench.kernels, needs=6)
    out.section("TensorRT", bench.tensorrt, needs=2)
    if cuda:
        out.section("base, compiled", lambda found: bench.compiled(bench.base, found), needs=15)
        for size, config in sizes.items() if full else ():
            out.section(f"nano {size}, compiled", lambda found, c=config: bench.compiled(c, found), needs=20)  # type: ignore[misc]
    return out


def run(arguments: argparse.Namespace) -> int:
    """Write the report; the exit status is 1 where a section failed."""
    device = usable_device(arguments.device)
    full = bool(arguments.full)
    bench = Bench(device, 100 if full else 30, 30 if full else 8, NANO_SIZES)
    if device.type == "cpu":
        # To see that it runs: a GPU's work is too much for a processor.
        bench = dataclasses.replace(bench, count=1, frames=2, nano_sizes=(64,), base=TINY)
    seconds = arguments.seconds or (FULL_SECONDS if full or device.type == "cpu" else SECONDS)
    out = report(bench, arguments.gpu_report, seconds, full=full)
    print(f"\n{markdown(out.data)}\n\n{out.folder / 'gpu.json'}, {out.folder / 'gpu.md'}")
    return int(any("failed" in found for found in out.data["sections"].values()))
