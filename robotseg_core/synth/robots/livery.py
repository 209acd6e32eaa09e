# SPDX-License-Identifier: Apache-2.0
"""Liveries: which colour and finish each role of a robot has, as makers paint them or as people print them."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]

WHITE, PALE, GREY, DARK, BLACK = (
    (0.93, 0.93, 0.91),
    (0.78, 0.79, 0.80),
    (0.5, 0.51, 0.53),
    (0.2, 0.2, 0.22),
    (0.06, 0.06, 0.07),
)
ALUMINIUM, ORANGE, YELLOW, RED = (0.68, 0.69, 0.71), (0.95, 0.42, 0.05), (0.96, 0.76, 0.08), (0.75, 0.08, 0.07)
BLUE, SKY, GREEN, LIME, TEAL = (
    (0.08, 0.25, 0.62),
    (0.35, 0.62, 0.85),
    (0.1, 0.45, 0.28),
    (0.55, 0.8, 0.15),
    (0.1, 0.55, 0.6),
)
BEIGE, NAVY = (0.85, 0.8, 0.68), (0.07, 0.1, 0.25)
BRIGHT: tuple[Colour, ...] = (ORANGE, YELLOW, RED, BLUE, SKY, GREEN, LIME, TEAL)

ROLE_ORDER: tuple[str, ...] = ("primary", "second", "joint", "cap", "metal", "dark", "accent")

# primary, second, joint, cap
PAINTED: tuple[tuple[str, Colour, Colour, Colour, Colour], ...] = (
    ("white_grey", WHITE, PALE, WHITE, GREY),
    ("white_blue", WHITE, PALE, WHITE, SKY),
    ("white_navy", WHITE, WHITE, GREY, NAVY),
    ("white_green", WHITE, PALE, PALE, GREEN),
    ("white_lime", WHITE, PALE, WHITE, LIME),
    ("white_orange", WHITE, DARK, WHITE, ORANGE),
    ("white_red", WHITE, PALE, WHITE, RED),
    ("white_black", WHITE, BLACK, BLACK, BLACK),
    ("all_white", WHITE, WHITE, WHITE, WHITE),
    ("grey_blue", PALE, ALUMINIUM, PALE, SKY),
    ("grey_grey", GREY, PALE, GREY, DARK),
    ("aluminium_black", ALUMINIUM, ALUMINIUM, BLACK, DARK),
    ("aluminium", ALUMINIUM, ALUMINIUM, ALUMINIUM, PALE),
    ("yellow_black", YELLOW, YELLOW, BLACK, BLACK),
    ("all_yellow", YELLOW, YELLOW, YELLOW, YELLOW),
    ("orange_black", ORANGE, ORANGE, BLACK, BLACK),
    ("all_orange", ORANGE, ORANGE, ORANGE, DARK),
    ("blue", BLUE, BLUE, BLUE, DARK),
    ("sky", SKY, WHITE, SKY, PALE),
    ("red", RED, RED, DARK, BLACK),
    ("dark", DARK, DARK, DARK, GREY),
    ("dark_orange", DARK, DARK, BLACK, ORANGE),
    ("black", BLACK, BLACK, BLACK, DARK),
    ("black_red", BLACK, DARK, BLACK, RED),
    ("black_white", BLACK, WHITE, BLACK, WHITE),
    ("beige", BEIGE, BEIGE, GREY, DARK),
    ("green", LIME, WHITE, DARK, DARK),
    ("teal", TEAL, WHITE, TEAL, WHITE),
)
"""Name and colours of primary, second, joint and cap."""


@dataclass(frozen=True)
class Livery:
    """Colours of ROLE_ORDER [7, 3] in 0 to 1, with specular and shininess [7] in 0 to 1."""

    name: str
    colours: NDArray[np.float64]
    specular: NDArray[np.float64]
    shininess: NDArray[np.float64]


def sample_livery(rng: np.random.Generator, gripper: bool) -> Livery:
    """A random livery of an arm, or of a gripper (oftener black or bare metal)."""
    draw = rng.random()
    accent = BRIGHT[int(rng.integers(len(BRIGHT)))]
    if draw < 0.2:  # printed: one or two filaments
        one, two = (
            np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 1.0), rng.uniform(0.25, 1.0))) for _ in range(2)
        )
        two = one if rng.random() < 0.5 else two if rng.random() < 0.5 else np.array(BLACK)
        name, four = "printed", [one, two, one if rng.random() < 0.5 else np.array(BLACK), two]
        gloss, shine = rng.uniform(0.0, 0.25), rng.uniform(0.05, 0.4)
    elif gripper and draw < 0.75:
        dark = [BLACK, DARK, ALUMINIUM, PALE, GREY]
        pick = [np.array(dark[int(rng.integers(len(dark)))]) for _ in range(4)]
        name, four = "tool", pick
        gloss, shine = rng.uniform(0.0, 0.9), rng.uniform(0.1, 0.8)
    else:
        name, *rest = PAINTED[int(rng.integers(len(PAINTED)))]
        four = [np.array(c) for c in rest]
        gloss, shine = rng.uniform(0.05, 0.7), rng.uniform(0.1, 0.9)
        if rng.random() < 0.15:  # any hue instead of the usual ones
            hue = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.4, 1.0)))
            four = [hue if c.max() - c.min() > 0.2 else c for c in four]
    age = rng.uniform(0.85, 1.05) * rng.uniform(0.96, 1.0, 3)
    metal = np.full(3, rng.uniform(0.45, 0.8))
    dark_ = np.full(3, rng.uniform(0.04, 0.16))
    colours = np.clip(np.array([*(np.asarray(c) * age for c in four), metal, dark_, accent]), 0.04, 1)
    specular = np.array([gloss, gloss, gloss, 0.6 * gloss, 0.9, 0.2, 0.3])
    shininess = np.array([shine, shine, shine, shine, 0.5, 0.3, 0.4])
    return Livery(name, colours, specular, shininess)
