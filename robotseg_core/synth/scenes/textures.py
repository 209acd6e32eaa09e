# SPDX-License-Identifier: Apache-2.0
"""Procedural pictures of floors, walls and table tops: [size, size, 3] uint8, made of noise, free of any photograph."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.float32]


def fractal(rng: np.random.Generator, size: int, first: int = 4, stretch: int = 1) -> Field:
    """Smooth noise of several octaves, about -1 to 1, [size, size]; ``stretch`` draws it out along x."""
    out = np.zeros((size, size), np.float32)
    weight, cells = 1.0, first
    while cells < size:
        coarse = rng.normal(0, 0.5, (cells, max(2, cells // stretch))).astype(np.float32)
        out += weight * cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        weight, cells = weight * 0.55, cells * 2
    return np.clip(out, -1.5, 1.5)


def _colour(field: Field, base: NDArray[np.float64], contrast: float) -> Image:
    value = np.clip(1 + contrast * field, 0, 2)[..., None] * base
    return np.clip(np.rint(255 * value), 0, 255).astype(np.uint8)


def wood(rng: np.random.Generator, size: int, planks: int = 6) -> Image:
    """Boards along x, each of its own shade."""
    base = np.array([0.62, 0.43, 0.27]) * rng.uniform(0.5, 1.3) * rng.uniform(0.92, 1.08, 3)
    grain = fractal(rng, size, 16, stretch=8)
    shade = np.repeat(rng.normal(0, 0.12, planks), -(-size // planks))[:size].astype(np.float32)
    field = 0.25 * grain + shade[:, None]
    field[np.arange(size) % (size // planks) < max(1, size // 256)] -= 0.35
    return _colour(field, base, 1.0)


def tiles(rng: np.random.Generator, size: int, count: int = 4) -> Image:
    """Square tiles with joints."""
    base = np.full(3, rng.uniform(0.25, 0.85)) * rng.uniform(0.9, 1.1, 3)
    field = 0.12 * fractal(rng, size)
    cell = size // count
    shade = rng.normal(0, 0.05, (count, count)).astype(np.float32)
    field += np.kron(shade, np.ones((cell, cell), np.float32))[:size, :size]
    joint = np.arange(size) % cell < max(1, size // 128)
    field[joint] -= 0.3
    field[:, joint] -= 0.3
    return _colour(field, base, 1.0)


def concrete(rng: np.random.Generator, size: int) -> Image:
    """Blotches and grain on grey or on a pale paint."""
    base = np.full(3, rng.uniform(0.3, 0.85)) * rng.uniform(0.88, 1.08, 3)
    field = 0.15 * fractal(rng, size) + rng.normal(0, 0.03, (size, size)).astype(np.float32)
    return _colour(field.astype(np.float32), base, 1.0)


def cloth(rng: np.random.Generator, size: int) -> Image:
    """A woven colour."""
    base = rng.uniform(0.1, 0.85, 3)
    wave = np.sin(np.arange(size, dtype=np.float32) * 2 * np.pi * 64 / size)
    field = 0.06 * (wave[:, None] + wave[None]) + 0.08 * fractal(rng, size)
    return _colour(field.astype(np.float32), base, 1.0)


def bricks(rng: np.random.Generator, size: int, rows: int = 12) -> Image:
    """A brick wall."""
    base = np.array([0.60, 0.32, 0.25]) * rng.uniform(0.6, 1.4) * rng.uniform(0.9, 1.1, 3)
    height, width = size // rows, 2 * (size // rows)
    y, x = np.indices((size, size))
    row = y // height
    column = (x + (row % 2) * (width // 2)) // width
    shade = rng.normal(0, 0.12, (row.max() + 1, column.max() + 1)).astype(np.float32)
    field = shade[row, column] + 0.15 * fractal(rng, size, 16)
    gap = max(1, size // 200)
    joint = (y % height < gap) | ((x + (row % 2) * (width // 2)) % width < gap)
    out = _colour(field.astype(np.float32), base, 1.0)
    out[joint] = np.rint(255 * np.clip(np.full(3, rng.uniform(0.5, 0.8)), 0, 1)).astype(np.uint8)
    return out


def paint(rng: np.random.Generator, size: int) -> Image:
    """A painted wall, nearly plain."""
    base = np.full(3, rng.uniform(0.45, 0.95)) * rng.uniform(0.85, 1.05, 3)
    return _colour((0.04 * fractal(rng, size, 2)).astype(np.float32), base, 1.0)


def label_print(rng: np.random.Generator, size: int) -> Image:
    """A printed package: blocks of colour and rows of dashes that look like writing."""
    out = np.empty((size, size, 3), np.uint8)
    out[:] = rng.integers(20, 256, 3)
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.integers(0, size, 2)
        w, h = rng.integers(size // 8, size // 2, 2)
        cv2.rectangle(out, (int(x), int(y)), (int(x + w), int(y + h)), [int(c) for c in rng.integers(0, 256, 3)], -1)
    ink = [int(c) for c in rng.integers(0, 256, 3)]
    for row in range(int(rng.integers(2, 8))):
        y = int(size * (0.3 + 0.08 * row))
        x = int(size * 0.1)
        while x < size * 0.85:
            step = int(rng.integers(size // 40 + 1, size // 8))
            cv2.line(out, (x, y), (x + step, y), ink, max(1, size // 64))
            x += step + size // 32
    return out


FLOORS = (wood, tiles, concrete, cloth)
WALLS = (paint, paint, concrete, bricks, cloth)
TOPS = (wood, paint, concrete, cloth, paint)


def random_texture(rng: np.random.Generator, kinds: tuple, size: int = 512) -> Image:
    """One of ``kinds``, at random."""
    return np.asarray(kinds[int(rng.integers(len(kinds)))](rng, size), np.uint8)
