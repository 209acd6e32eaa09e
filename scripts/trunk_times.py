# SPDX-License-Identifier: Apache-2.0
"""Time of nano's image encoder with other trunks and necks, by turns: ``python scripts/trunk_times.py``.

Weights are random, for they do not change the time; what quality the others would have takes a training of each.
Printed are the smallest CPU times of one thread, so that other work beside it matters little.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import torch

from robotseg_core.backends.calibration import watched
from robotseg_core.backends.int8_graph import (
    FLOAT_PREFIXES,
    Calibration,
    Layer,
    Range,
    convolutions,
    rounded_maps,
    to_int8,
)
from robotseg_core.backends.onnx_files import export_onnx
from robotseg_core.backends.onnxruntime_encoder import OnnxGraph
from robotseg_core.config import LITE0, NANO, ConvConfig, ConvStage, ModelConfig
from robotseg_core.model.robotseg_model import RobotSegModel


def lite(width: float, depth: float) -> ConvConfig:
    """EfficientNet-Lite of other sizes: widths in steps of 8; stem, first and last stage keep theirs or their depth."""
    stages = ConvConfig().stages

    def scaled(i: int, stage: ConvStage) -> ConvStage:
        blocks = stage.blocks if i in (0, len(stages) - 1) else int(np.ceil(depth * stage.blocks))
        return dataclasses.replace(stage, blocks=blocks, channels=max(8, int(width * stage.channels + 4) // 8 * 8))

    return ConvConfig(stages=tuple(scaled(i, stage) for i, stage in enumerate(stages)))


def choices(size: int) -> dict[str, ModelConfig]:
    """What is compared, by name."""
    nano = dataclasses.replace(NANO, image_size=size)
    narrow, wide = (16, 32, 128), (48, 96, 128)
    return {
        "Lite0": dataclasses.replace(nano, encoder=LITE0),
        "Lite1": dataclasses.replace(nano, encoder=lite(1.0, 1.1)),
        "Lite2 (nano)": nano,
        f"Lite2, neck {narrow}": dataclasses.replace(nano, fpn_channels=narrow),
        f"Lite2, neck {wide}": dataclasses.replace(nano, fpn_channels=wide),
    }


def graphs(config: ModelConfig) -> tuple[OnnxGraph, OnnxGraph, float]:
    """The encoder in float32 and in 8 bits, for one thread, and its parameters in millions."""
    torch.manual_seed(0)
    model = RobotSegModel(config).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(model, Path(folder) / "encoder.onnx")
        exact = onnx.load(Path(folder) / "encoder.onnx")
    names = [node.name for node in convolutions(exact)]
    maps = rounded_maps(exact, names)
    noise = np.random.default_rng(0).standard_normal((1, 3, config.image_size, config.image_size), np.float32)
    reach = next(watched(exact, maps, [noise]))
    ranges = {name: Range(min(0.0, float(reach[name].min())), float(reach[name].max())) for name in maps}
    layers = [Layer(name, (), 0.0, 0.0, not name.startswith(FLOAT_PREFIXES)) for name in names]
    rounded = to_int8(exact, Calibration(ranges, layers)).SerializeToString()
    parameters = sum(p.numel() for p in model.image_encoder.parameters()) / 1e6
    return OnnxGraph(exact.SerializeToString(), 1), OnnxGraph(rounded, 1), parameters


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=NANO.image_size, help="side of the input, pixels")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    made = {name: graphs(config) for name, config in choices(arguments.size).items()}
    image = {"image": np.zeros((1, 3, arguments.size, arguments.size), np.float32)}
    best = {(name, i): np.inf for name in made for i in range(2)}
    for _ in range(arguments.runs):
        for name, i in best:
            began = time.process_time()
            made[name][i].run(image)
            best[name, i] = min(best[name, i], 1e3 * (time.process_time() - began))
    first = next(iter(made))
    print(
        f"{'encoder':28}{'million':>9}{'float32, ms':>13}{'int8, ms':>10}{'times nano, int8':>18}{'input as fast':>15}"
    )
    for name, (*_, parameters) in made.items():
        ratio = best[name, 1] / best[first, 1]
        print(
            f"{name:28}{parameters:9.2f}{best[name, 0]:13.1f}{best[name, 1]:10.1f}{ratio:15.2f}"
            f"{arguments.size / np.sqrt(ratio):15.0f}"
        )


if __name__ == "__main__":
    main()
