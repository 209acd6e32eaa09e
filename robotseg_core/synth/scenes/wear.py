# SPDX-License-Identifier: Apache-2.0
"""Textures of used robots, around white, to be multiplied with a paint: grain, dirt, writing, stickers, tape."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.scenes.textures import fractal

WORDS = ("R-", "MX", "UNIT", "CELL", "KG", "AX", "LAB", "ROBO", "TECH", "ARM", "SN", "2.5", "10", "CE", "400V", "DYNA")


def noise_texture(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """A grey pattern around white, [size, size, 3] uint8: grain, scratches, stripes, patches or checks."""
    kind = rng.integers(5)
    value: NDArray[np.floating]
    if kind == 0:
        value = rng.normal(0, 0.08, (size, size))
    elif kind == 1:
        value = np.repeat(rng.normal(0, 0.12, (size, 1)), size, axis=1) + rng.normal(0, 0.03, (size, size))
    elif kind == 2:
        phase = np.arange(size) * 2 * np.pi * rng.integers(2, 9) / size
        value = np.repeat(np.sign(np.sin(phase))[:, None] * rng.uniform(0.1, 0.4), size, axis=1)
    elif kind == 3:
        cell = int(rng.integers(4, 17))
        value = np.kron(rng.normal(0, 0.25, (cell, cell)), np.ones((-(-size // cell),) * 2))[:size, :size]
    else:
        yx = np.indices((size, size)).sum(axis=0) * rng.integers(2, 9) // size
        value = np.where(yx % 2 == 0, 0.0, -rng.uniform(0.2, 0.6))
    grey = np.clip(0.85 + value, 0, 1)
    tint = 1 - rng.uniform(0, 0.25, 3) * (rng.random() < 0.5)
    return np.rint(255 * grey[..., None] * tint).astype(np.uint8)


def _ink(rng: np.random.Generator) -> tuple[int, int, int]:
    if rng.random() < 0.5:
        value = int(rng.integers(0, 90))
        return value, value, value
    r, g, b = (int(v) for v in rng.integers(0, 256, 3))
    return r, g, b


def wear_texture(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """One side of a used part, [size, size, 3] uint8: nearly white, with any of dirt, writing, stickers and tape."""
    image = np.full((size, size, 3), 255, np.uint8)
    if rng.random() < 0.35:  # a word
        text = "".join(str(rng.choice(WORDS)) for _ in range(int(rng.integers(1, 3))))
        scale = float(rng.uniform(0.25, 0.9)) * size / 96
        at = (int(rng.uniform(0, 0.4) * size), int(rng.uniform(0.3, 0.8) * size))
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, _ink(rng), int(rng.integers(1, 4)), cv2.LINE_AA)
    if rng.random() < 0.25:  # a sticker
        x, y, w, h = (rng.uniform([0, 0, 0.1, 0.08], [0.8, 0.8, 0.4, 0.3]) * size).astype(int).tolist()
        cv2.rectangle(image, (x, y), (x + w, y + h), _ink(rng), -1)
        if rng.random() < 0.5:
            cv2.rectangle(image, (x + w // 6, y + h // 3), (x + w // 2, y + h // 2 + 1), (250, 250, 250), -1)
    if rng.random() < 0.1:  # warning stripes
        y, h = int(rng.uniform(0, 0.8) * size), int(rng.uniform(0.06, 0.16) * size)
        yy, xx = np.mgrid[y : min(size, y + h), 0:size]
        stripe = ((xx + yy) // max(2, size // 12)) % 2 == 0
        image[y : y + h] = np.where(stripe[..., None], (250, 205, 20), (20, 20, 20))
    if rng.random() < 0.12:  # tape
        y, h = int(rng.uniform(0, 0.85) * size), int(rng.uniform(0.04, 0.12) * size)
        image[y : y + h] = _ink(rng)
    if rng.random() < 0.15:  # a seam
        cv2.line(image, (0, int(rng.uniform(0, size))), (size, int(rng.uniform(0, size))), (90, 90, 90), 1, cv2.LINE_AA)
    value = image.astype(np.float32)
    if rng.random() < 0.6:  # dirt, scratches
        dirt = np.clip(fractal(rng, size, 3) - rng.uniform(0.1, 0.6), 0, 1)[..., None] * rng.uniform(0.2, 0.9)
        value *= 1 - dirt * (1 - rng.uniform(0.1, 0.6, 3) * np.array([1.0, 0.9, 0.8]))
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 8))):
            a, b = (tuple(int(v) for v in rng.integers(0, size, 2)) for _ in range(2))
            cv2.line(value, a, b, (float(rng.uniform(60, 230)),) * 3, 1)
    return np.clip(np.rint(value), 0, 255).astype(np.uint8)
