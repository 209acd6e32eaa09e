# SPDX-License-Identifier: Apache-2.0
"""Random paint and random light for a compiled scene."""

from __future__ import annotations

import colorsys

import mujoco
import numpy as np
from numpy.typing import NDArray

from robotseg_core.synth.robots.catalog import PROCEDURAL
from robotseg_core.synth.robots.livery import ROLE_ORDER, sample_livery
from robotseg_core.synth.robots.robot import GRIPPER, Robot
from robotseg_core.synth.scenes.scene import Scene

INDUSTRIAL: tuple[tuple[float, float, float], ...] = (
    (0.92, 0.92, 0.90),
    (0.75, 0.76, 0.78),
    (0.50, 0.51, 0.53),
    (0.25, 0.26, 0.28),
    (0.08, 0.08, 0.09),
    (0.95, 0.42, 0.05),
    (0.95, 0.75, 0.10),
    (0.75, 0.10, 0.08),
    (0.10, 0.25, 0.60),
    (0.35, 0.60, 0.80),
    (0.15, 0.45, 0.30),
    (0.55, 0.80, 0.20),
)
"""Common paints of robots: whites, greys, black, orange, yellow, red, blues, greens."""


def random_colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """[3] in 0..1: grey, an industrial paint, or any hue."""
    kind = rng.random()
    if kind < 0.3:
        rgb = np.full(3, rng.uniform(0.04, 0.95)) * rng.uniform(0.95, 1.0, 3)
    elif kind < 0.75:
        rgb = np.array(INDUSTRIAL[rng.integers(len(INDUSTRIAL))]) * rng.uniform(0.85, 1.1, 3)
    else:
        rgb = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 1.0), rng.uniform(0.2, 1.0)))
    return np.clip(rgb, 0.05, 1.0).astype(np.float32)


def _random_material(scene: Scene, rng: np.random.Generator, material: int) -> None:
    model = scene.model
    finish = rng.random()
    if finish < 0.35:  # matt
        specular, shininess = rng.uniform(0, 0.15), rng.uniform(0, 0.3)
    elif finish < 0.75:  # plastic, paint
        specular, shininess = rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.9)
    else:  # bare metal
        specular, shininess = rng.uniform(0.6, 1.0), rng.uniform(0.15, 0.6)
    colour = random_colour(rng)
    if finish >= 0.75:
        colour = np.full(3, colour.mean(), np.float32) * 0.9
    model.mat_rgba[material] = (*colour, 1)
    model.mat_specular[material] = specular
    model.mat_shininess[material] = shininess


def _look_key(scene: Scene, geom: int) -> tuple[int, tuple[float, ...]]:
    paint = scene.paint
    return int(paint.geom_matid[geom]), tuple(float(v) for v in paint.geom_rgba[geom])


def _visible(scene: Scene, geom: int) -> bool:
    paint = scene.paint
    material = paint.geom_matid[geom]
    return bool(paint.geom_rgba[geom, 3] > 0 and (material < 0 or paint.mat_rgba[material, 3] > 0))


def _has_texcoords(scene: Scene, geom: int) -> bool:
    """Whether the geom's mesh has texture coordinates; OpenGL refuses a cube texture on it."""
    model = scene.model
    if model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_MESH:
        return False
    return bool(model.mesh_texcoordadr[model.geom_dataid[geom]] >= 0)


def paint_robot(scene: Scene, robot: Robot, rng: np.random.Generator) -> str:
    """Repaint one robot; call ``scene.paint.apply`` first to start from its own colours.

    Returns:
        what was done: the livery's name, original, swap (each own colour replaced by another), whole (one or two
        colours), patch (each geom its own).
    """
    model = scene.model
    geoms = [int(g) for g in robot.geoms if _visible(scene, int(g))]
    spares = list(scene.plain) + list(scene.textured)
    # How often it keeps its own colours (then only shaded a little), when it is not painted like a maker would;
    # the user of an own robot knows its colours.
    original, livery = (0.5, 0.25) if robot.choice.own is None else (0.8, 0.1)
    if robot.choice.arm == PROCEDURAL or rng.random() < livery:
        return _paint_livery(scene, robot, geoms, rng)
    draw = rng.random()
    if draw < original:
        gain = rng.uniform(0.85, 1.12) * rng.uniform(0.97, 1.03, 3)
        black = rng.uniform(0.03, 0.12)  # models say 0 where the real thing is dark grey
        own = {int(model.geom_matid[g]) for g in geoms if model.geom_matid[g] >= 0}
        for m in own:
            model.mat_rgba[m, :3] = np.clip(scene.paint.mat_rgba[m, :3] * gain, black, 1)
            model.mat_specular[m] = np.clip(scene.paint.mat_specular[m] * rng.uniform(0.2, 1.3), 0, 1)
        for g in geoms:
            if model.geom_matid[g] < 0:
                model.geom_rgba[g, :3] = np.clip(scene.paint.geom_rgba[g, :3] * gain, black, 1)
        return "original"
    pick = [int(v) for v in rng.permutation(list(scene.plain))]
    if rng.random() < 0.3:
        pick = [int(v) for v in rng.permutation(spares)]
    for m in spares:
        _random_material(scene, rng, m)
    rest = (draw - original) / max(1e-9, 1 - original)
    if rest < 0.45:
        kind = "swap"
        keys = sorted({_look_key(scene, g) for g in geoms})
        chosen = {g: pick[keys.index(_look_key(scene, g)) % len(pick)] for g in geoms}
    elif rest < 0.75:
        kind = "whole"
        second = rng.random(len(geoms)) < rng.choice([0.0, 0.3])
        hand = pick[2] if rng.random() < 0.6 else pick[0]
        is_hand = dict(zip(robot.geoms.tolist(), (robot.labels == GRIPPER).tolist(), strict=True))
        chosen = {g: hand if is_hand[g] else pick[1] if s else pick[0] for g, s in zip(geoms, second, strict=True)}
    else:
        kind = "patch"
        few = pick[: int(rng.integers(3, len(pick) + 1))]
        chosen = {g: few[int(rng.integers(len(few)))] for g in geoms}
    for g, m in chosen.items():
        if m in scene.textured and _has_texcoords(scene, g):
            m = scene.plain[m % len(scene.plain)]
        model.geom_matid[g] = m
        model.geom_rgba[g] = (0.5, 0.5, 0.5, 1)  # MuJoCo's default: the material decides
    return kind


def paint_alike(scene: Scene, rng: np.random.Generator, share: float = 0.5) -> tuple[str, ...]:
    """Paint all robots; one that equals the robot before it gets the same paint with probability ``share``."""
    done: list[str] = []
    state = rng.bit_generator.state
    for i, robot in enumerate(scene.robots):
        if i and robot.choice == scene.robots[i - 1].choice and rng.random() < share:
            rng.bit_generator.state = state
        state = rng.bit_generator.state
        done.append(paint_robot(scene, robot, rng))
    return tuple(done)


def paint_like(scene: Scene, body: str, robot: Robot) -> None:
    """Give the machine ``body`` the two colours that most of the robot has."""
    model = scene.model
    size: dict[int, float] = {}
    for g in robot.geoms[model.geom_matid[robot.geoms] >= 0]:
        material = int(model.geom_matid[g])
        size[material] = size.get(material, 0.0) + float(model.geom_rbound[g]) ** 2
    most = sorted(size, key=lambda m: -size[m])[:2]
    for role, source in zip(("primary", "second"), most, strict=False):
        model.mat_rgba[model.material(f"{body}/{role}").id] = model.mat_rgba[source]


def _paint_livery(scene: Scene, robot: Robot, geoms: list[int], rng: np.random.Generator) -> str:
    """Colours by role; a real robot's looks become roles in the order of the size of what has them."""
    model = scene.model
    is_hand = dict(zip(robot.geoms.tolist(), (robot.labels == GRIPPER).tolist(), strict=True))
    arm_livery = sample_livery(rng, gripper=False)
    hand_livery = arm_livery if rng.random() < 0.2 else sample_livery(rng, gripper=True)
    roles = _roles(scene, geoms, is_hand)
    plain = [int(v) for v in rng.permutation(list(scene.plain))]
    rough = [int(v) for v in rng.permutation(list(scene.textured))]
    marked = {True: rng.random() < 0.4, False: rng.random() < 0.5}  # dirt, writing, stickers
    chosen: dict[tuple[bool, int], tuple[int, int]] = {}
    for g in geoms:
        key = (is_hand[g], roles[g])
        if key not in chosen:
            livery = hand_livery if is_hand[g] else arm_livery
            material = plain.pop()
            over = rough.pop() if rough and marked[is_hand[g]] and roles[g] < 3 else material
            for m in {material, over}:
                model.mat_rgba[m] = (*livery.colours[roles[g]], 1)
                model.mat_specular[m] = livery.specular[roles[g]]
                model.mat_shininess[m] = livery.shininess[roles[g]]
            chosen[key] = material, over
        material, over = chosen[key]
        model.geom_matid[g] = material if over == material or _has_texcoords(scene, g) or rng.random() < 0.4 else over
        model.geom_rgba[g] = (0.5, 0.5, 0.5, 1)
    return f"{arm_livery.name}/{hand_livery.name}"


def _roles(scene: Scene, geoms: list[int], is_hand: dict[int, bool]) -> dict[int, int]:
    """Index into ROLE_ORDER of each geom, by the name of its material or the size of what looks like it."""
    model, named = scene.model, {}
    size: dict[tuple[bool, tuple], float] = {}
    for g in geoms:
        material = int(scene.paint.geom_matid[g])
        name = model.material(material).name.split("/")[-1] if material >= 0 else ""
        if name in ROLE_ORDER:
            named[g] = ROLE_ORDER.index(name)
        else:
            key = (is_hand[g], _look_key(scene, g))
            size[key] = size.get(key, 0.0) + float(model.geom_rbound[g]) ** 2
    for hand in (False, True):
        order = sorted((k for k in size if k[0] == hand), key=lambda k: -size[k])
        rank = {k: min(i, len(ROLE_ORDER) - 1) for i, k in enumerate(order)}
        named |= {g: rank[is_hand[g], _look_key(scene, g)] for g in geoms if g not in named and is_hand[g] == hand}
    return named


def lift_shadows(rgb: NDArray[np.uint8], inside: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Brighten a picture whose robot is nearly black, as a camera's exposure would.

    Args:
        rgb: [H, W, 3] uint8.
        inside: [H, W] bool, the robot's pixels.
    """
    return rgb if not inside.any() else exposure(rgb[inside], float(rng.uniform(35, 80)))[rgb]


def exposure(pixels: NDArray[np.uint8], target: float) -> NDArray[np.uint8]:
    """A tone curve [256] uint8 that lifts the brighter part of ``pixels`` [..., 3] to ``target`` (0 to 255) at most.

    Where they are brighter already it changes nothing.
    """
    level = float(np.percentile(pixels.max(axis=-1), 70))
    if level >= target:
        return np.arange(256, dtype=np.uint8)
    gamma = max(0.45, float(np.log(target / 255) / np.log(max(level, 2.0) / 255)))
    return np.asarray(np.rint(255 * (np.arange(256) / 255) ** gamma), np.uint8)


def light_scene(
    scene: Scene,
    rng: np.random.Generator,
    centre: NDArray[np.float64],
    radius: float,
    shadow: float = 0.6,
    from_above: bool = False,
) -> bool:
    """Set 1 to 3 lights around ``centre`` [3] at a distance of a few ``radius`` (metres): soft, hard, low or coloured.

    Args:
        shadow: how often the first light casts shadows.
        from_above: no light comes from near or under the horizon.

    Returns:
        whether one does.
    """
    model = scene.model
    count = int(rng.integers(1, len(scene.lights) + 1))
    mood = str(rng.choice(["soft", "hard", "low", "coloured"], p=[0.6, 0.16, 0.12, 0.12]))
    count = 1 if mood == "hard" else count
    warm = rng.normal(0, 0.08)
    tint = np.clip([1 + warm, 1.0, 1 - warm], 0.7, 1.2)
    ambient = rng.uniform(0.2, 0.5)
    head = rng.uniform(0.0, 0.4)
    if mood == "hard":
        ambient, head = rng.uniform(0.05, 0.18), 0.0
    elif mood == "low":
        ambient, head = rng.uniform(0.06, 0.18), rng.uniform(0.0, 0.1)
    elif mood == "coloured":
        tint = tint * np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.15, 0.6), 1.0))
    budget = rng.uniform(0.65, 1.15) * (1.35 - ambient - 0.5 * head)
    budget *= rng.uniform(0.15, 0.4) if mood == "low" else 1.0
    share = rng.dirichlet(np.full(count, 2.0))
    model.vis.headlight.active = 1
    model.vis.headlight.ambient[:] = ambient * tint
    model.vis.headlight.diffuse[:] = head
    model.vis.headlight.specular[:] = rng.uniform(0, 0.2)
    casts = bool(rng.random() < (1.0 if mood == "hard" else shadow))
    for i, light in enumerate(scene.lights):
        model.light_active[light] = i < count
        model.light_castshadow[light] = casts and i == 0
        if i >= count:
            continue
        azimuth = rng.uniform(0, 2 * np.pi)
        height = rng.uniform(0.25, 1.0) if rng.random() < 0.85 else rng.uniform(-0.1, 0.25)
        height = 0.4 + 0.6 * abs(height) if from_above else height
        flat = np.sqrt(max(0.0, 1 - height**2))
        away = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), height])
        model.light_pos[light] = centre + away * max(radius, 0.5) * rng.uniform(2.0, 4.0)
        model.light_dir[light] = -away
        model.light_type[light] = rng.integers(0, 2)  # spot or directional
        model.light_cutoff[light] = rng.uniform(35, 60)
        model.light_exponent[light] = rng.uniform(0, 6)
        model.light_attenuation[light] = (1, 0, 0)
        level = budget * share[i] * (1.3 if count == 1 else 1.0)
        model.light_diffuse[light] = np.clip(level * tint * rng.uniform(0.95, 1.05, 3), 0, 1)
        model.light_specular[light] = rng.uniform(0.1, 0.9) * level
        model.light_ambient[light] = 0
    return casts
