# SPDX-License-Identifier: Apache-2.0
"""Augmentation of clips: hard on purpose, because the data is rendered and the world is not.

Everything is drawn once per clip; small drifts from frame to frame imitate a moving camera.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Background = Callable[[np.random.Generator], Image]


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges and probabilities.  Scale below 1 shows more of the picture (mirrored at the border)."""

    scale: tuple[float, float] = (0.8, 2.2)
    rotation_deg: float = 15.0
    stretch: float = 1.3
    background: float = 0.15
    recolour: float = 0.25
    occlude: float = 0.5
    blur: float = 0.15
    noise: float = 0.2
    jpeg: float = 0.2
    absent: float = 0.0
    """Probability that the robot leaves or enters the clip: its first or last half shows the background only."""


def paste_over(base: Image, top: Image, mask: NDArray[np.bool_], rng: np.random.Generator) -> Image:
    """``top`` over ``base`` [S, S, 3] where ``mask``, with a soft edge and a brightness matched by chance."""
    if rng.random() < 0.5:
        mean_top = float(top[mask].mean()) if mask.any() else 128.0
        gain = np.clip((float(base.mean()) + 40.0) / (mean_top + 40.0), 0.5, 1.6)
        top = np.clip(top * gain, 0, 255).astype(np.uint8)
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), float(rng.uniform(0.4, 1.0)))[..., None]
    return (base * (1 - alpha) + top * alpha).astype(np.uint8)


def _affine(
    rng: np.random.Generator, config: AugmentConfig, source: int, size: int, anchor: NDArray[np.float64]
) -> NDArray[np.float64]:
    scale = float(np.exp(rng.uniform(*np.log(config.scale)))) * size / source
    stretch = float(np.exp(rng.uniform(-1, 1) * np.log(config.stretch)))
    angle = np.deg2rad(rng.normal(0, config.rotation_deg / 2))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = np.cos(angle), np.sin(angle)
    linear = scale * np.array([[cos, -sin], [sin, cos]]) @ np.diag([flip * stretch, 1 / stretch])
    target = size / 2 + rng.uniform(-0.2, 0.2, 2) * size
    return np.hstack([linear, (target - linear @ anchor)[:, None]])


def _colour(image: Image, rng: np.random.Generator, strength: float) -> Callable[[Image], Image]:
    """A random tone curve and colour matrix as a function to apply to every frame alike."""
    gamma = np.exp(rng.normal(0, 0.25 * strength))
    gain = np.exp(rng.normal(0, 0.2 * strength)) * np.exp(rng.normal(0, 0.1 * strength, 3))
    contrast = np.exp(rng.normal(0, 0.25 * strength))
    saturation = rng.uniform(0.0, 1.6) if rng.random() < 0.6 else 1.0
    mean = float(image.mean()) / 255
    ramp = np.linspace(0, 1, 256)[:, None]
    table = ((ramp**gamma * gain - mean) * contrast + mean).clip(0, 1)
    table = (255 * table).astype(np.uint8).reshape(1, 256, 3)
    swap = rng.permutation(3) if rng.random() < 0.1 else np.arange(3)

    def apply(frame: Image) -> Image:
        out = cv2.LUT(np.ascontiguousarray(frame[..., swap]), table)
        if saturation != 1.0:
            gray = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None]
            out = cv2.addWeighted(out, saturation, np.repeat(gray, 3, 2), 1 - saturation, 0)
        return np.asarray(out, np.uint8)

    return apply


def _smooth(rng: np.random.Generator, size: int) -> Image:
    """A smooth shaded surface [S, S, 3]: what is smooth need not be a robot, though rendered robots are."""
    base = rng.uniform(0, 255) + rng.normal(0, 40 if rng.random() < 0.5 else 6, 3)
    corners = (base + rng.normal(0, 35, (2, 2, 1))).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _occluder(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """A random blob, bar or polygon as a mask [S, S] of 0 and 1."""
    mask = np.zeros((size, size), np.uint8)
    centre = rng.uniform(0, size, 2)
    kind = rng.random()
    if kind < 0.4:
        axes = rng.uniform(0.03, 0.22, 2) * size
        cv2.ellipse(mask, (centre.tolist(), (2 * axes).tolist(), float(rng.uniform(0, 180))), 1, -1)
    elif kind < 0.7:
        end = centre + rng.normal(0, 0.4, 2) * size
        cv2.line(
            mask, centre.astype(int).tolist(), end.astype(int).tolist(), 1, int(rng.uniform(0.01, 0.08) * size) + 1
        )
    else:
        points = centre + rng.normal(0, rng.uniform(0.05, 0.2), (int(rng.integers(3, 7)), 2)) * size
        cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.int32)), 1)
    return mask


@dataclass(frozen=True)
class _Camera:
    """What the camera does to a clip: resolution, blur, noise, compression; 0 is off."""

    coarse: float
    blur: float
    motion: tuple[int, int]
    noise: float
    quality: int

    @classmethod
    def draw(cls, rng: np.random.Generator, config: AugmentConfig) -> _Camera:
        length = int(rng.integers(3, 8))
        motion = (length, 1) if rng.random() < 0.5 else (1, length)
        return cls(
            coarse=float(rng.uniform(0.4, 0.9)) if rng.random() < 0.2 else 1.0,
            blur=float(rng.uniform(0.3, 1.6)) if rng.random() < config.blur else 0.0,
            motion=motion if rng.random() < config.blur / 3 else (1, 1),
            noise=float(rng.uniform(2, 14)) if rng.random() < config.noise else 0.0,
            quality=int(rng.integers(25, 80)) if rng.random() < config.jpeg else 0,
        )

    def apply(self, rgb: Image, rng: np.random.Generator) -> Image:
        size = rgb.shape[0]
        if self.coarse < 1.0:
            small = cv2.resize(rgb, None, fx=self.coarse, fy=self.coarse, interpolation=cv2.INTER_AREA)
            rgb = np.asarray(cv2.resize(small, (size, size)), np.uint8)
        if self.blur:
            rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), self.blur), np.uint8)
        if self.motion != (1, 1):
            rgb = np.asarray(cv2.blur(rgb, self.motion), np.uint8)
        if self.noise:
            grain = rng.standard_normal((size, size, 1), np.float32) * self.noise
            rgb = np.clip(rgb + grain, 0, 255).astype(np.uint8)
        if self.quality:
            _, coded = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            rgb = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        return rgb


def augment_clip(
    frames: Image, labels: Image, background: Background, config: AugmentConfig, size: int, rng: np.random.Generator
) -> tuple[Image, Image]:
    """Frames [T, S0, S0, 3] and labels [T, S0, S0] -> [T, size, size, 3] and [T, size, size], both uint8."""
    length, source = labels.shape[:2]
    # Aim at a robot pixel, as often at the small gripper as at the whole, so that enlarging keeps it in view.
    inside = np.argwhere(labels[0] == 2) if rng.random() < 0.5 else np.argwhere(labels[0] > 0)
    anchor = np.full(2, source / 2)
    if len(inside) and rng.random() < 0.8:
        anchor = inside[int(rng.integers(len(inside)))][::-1] * 0.7 + anchor * 0.3
    matrix = _affine(rng, config, source, size, anchor)
    drift = rng.normal(0, 0.01, 2) * size if rng.random() < 0.5 else np.zeros(2)
    shrinks = float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))) < 0.75
    swap_background = rng.random() < config.background
    plate = cv2.resize(background(rng), (size, size)) if swap_background else None
    recolour = _colour(frames[0], rng, 1.8) if rng.random() < config.recolour else None
    colour = _colour(frames[0], rng, 1.0)
    occluders = []
    if rng.random() < config.occlude:
        for _ in range(int(rng.integers(1, 5))):
            texture = cv2.resize(background(rng), (size, size)) if rng.random() < 0.35 else _smooth(rng, size)
            occluders.append((_occluder(rng, size), rng.normal(0, 0.03, 2) * size, texture))
    gone = np.zeros(length, bool)
    if rng.random() < config.absent:
        cut = int(rng.integers(1, length)) if length > 1 else 0
        gone[slice(cut, None) if rng.random() < 0.6 else slice(None, cut)] = True
        plate = cv2.resize(background(rng), (size, size)) if plate is None else plate
    camera = _Camera.draw(rng, config)
    out = np.empty((length, size, size, 3), np.uint8)
    out_label = np.empty((length, size, size), np.uint8)
    for t in range(length):
        m = matrix.copy()
        m[:, 2] += drift * t
        # A warp that shrinks aliases; a light blur before it stands for the area filter that warpAffine lacks.
        frame = cv2.GaussianBlur(frames[t], (0, 0), 0.6) if shrinks else frames[t]
        rgb = cv2.warpAffine(frame, m, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        label = cv2.warpAffine(labels[t], m, (size, size), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
        robot = label > 0
        if recolour is not None:
            rgb = np.where(robot[..., None], recolour(np.asarray(rgb, np.uint8)), rgb)
        if gone[t]:
            assert plate is not None
            rgb, label = plate, np.zeros_like(label)
        elif plate is not None and swap_background:
            alpha = cv2.GaussianBlur(robot.astype(np.float32), (0, 0), 0.7)[..., None]
            rgb = (plate * (1 - alpha) + rgb * alpha).astype(np.uint8)
        for mask, step, texture in occluders:
            shift = np.array([[1, 0, step[0] * t], [0, 1, step[1] * t]])
            moved = cv2.warpAffine(mask, shift, (size, size), flags=cv2.INTER_NEAREST) > 0
            rgb = np.where(moved[..., None], texture, rgb)
            label = np.where(moved, 0, label)
        rgb = camera.apply(colour(np.asarray(rgb, np.uint8)), rng)
        out[t], out_label[t] = rgb, label
    return out, out_label
