# SPDX-License-Identifier: Apache-2.0
"""Names of the colours of painted geoms."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

COLOURS: tuple[str, ...] = (
    *("white", "grey", "black", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"),
)


def colour_name(rgb: Sequence[float] | NDArray[np.floating]) -> str:
    """One of COLOURS for ``rgb`` [3], 0 to 1, as most people would say.

    >>> colour_name((0.9, 0.1, 0.1)), colour_name((0.5, 0.5, 0.52)), colour_name((0.4, 0.25, 0.1))
    ('red', 'grey', 'brown')
    """
    r, g, b = (float(v) for v in rgb)
    hue, saturation, value = colorsys.rgb_to_hsv(r, g, b)
    degrees = 360 * hue
    if value < 0.16 or (value < 0.24 and saturation < 0.5):
        return "black"
    if saturation < 0.18:
        return "white" if value > 0.78 else "grey"
    if saturation < 0.3 and value > 0.8 and 20 < degrees < 70:
        return "white"  # cream
    if degrees < 14 or degrees >= 345:
        return "pink" if saturation < 0.55 and value > 0.7 else "red"
    if degrees < 45:
        return "brown" if value < 0.68 or saturation < 0.5 else "orange"
    if degrees < 68:
        return "yellow" if value > 0.5 else "brown"
    if degrees < 170:
        return "green"
    if degrees < 258:
        return "blue"
    if degrees < 300:
        return "purple"
    return "pink" if value > 0.5 else "purple"


@dataclass(frozen=True)
class Tone:
    """The colour most of something has: its name, mean [3] 0 to 255, share of the surface 0 to 1."""

    name: str
    rgb: tuple[int, int, int]
    share: float


def geom_colours(model: mujoco.MjModel) -> NDArray[np.float64]:
    """Colour of each geom without light, [ngeom, 3] in 0 to 1: its own or its material's, times the texture's mean."""
    rgb = np.asarray(model.geom_rgba[:, :3], np.float64).copy()
    mean: dict[int, NDArray[np.float64]] = {}
    for g in np.flatnonzero(model.geom_matid >= 0):
        m = int(model.geom_matid[g])
        if np.allclose(model.geom_rgba[g], 0.5, atol=1e-6) or np.allclose(model.geom_rgba[g], (0.5, 0.5, 0.5, 1)):
            rgb[g] = model.mat_rgba[m, :3]
        texture = int(model.mat_texid[m, mujoco.mjtTextureRole.mjTEXROLE_RGB])
        if texture >= 0:
            if texture not in mean:
                start, channels = int(model.tex_adr[texture]), int(model.tex_nchannel[texture])
                count = int(model.tex_width[texture]) * int(model.tex_height[texture]) * channels
                pixels = np.asarray(model.tex_data[start : start + count]).reshape(-1, channels)[:, :3]
                mean[texture] = pixels[:: max(1, len(pixels) // 4096)].mean(axis=0) / 255
            rgb[g] = rgb[g] * mean[texture]
    return np.clip(rgb, 0, 1)


def main_tone(colours: NDArray[np.float64], weights: NDArray[np.float64]) -> Tone:
    """What colour most of the geoms have; ``colours`` [n, 3] in 0 to 1, ``weights`` [n] their surfaces."""
    if not len(colours):
        return Tone("grey", (128, 128, 128), 0.0)
    names = np.array([colour_name(c) for c in colours])
    weights = np.maximum(weights, 1e-12)
    total = {name: float(weights[names == name].sum()) for name in sorted(set(names.tolist()))}
    best = max(total, key=lambda name: total[name])
    which = names == best
    rgb = np.average(colours[which], axis=0, weights=weights[which])
    r, g, b = (int(v) for v in np.rint(255 * rgb))
    return Tone(best, (r, g, b), round(total[best] / float(weights.sum()), 3))
