# SPDX-License-Identifier: Apache-2.0
"""Things in rooms: kinds can be left out, twins are alike, all compile; excluded robots never appear."""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")  # chooses the OpenGL driver before mujoco is imported
mujoco = pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from robotseg_core.synth import command  # noqa: E402
from robotseg_core.synth.robots.catalog import TEST_ARMS, RobotChoice, list_choices, sample_made  # noqa: E402
from robotseg_core.synth.robots.robot import ARM, GRIPPER  # noqa: E402
from robotseg_core.synth.scenes.room import RoomBuilder  # noqa: E402
from robotseg_core.synth.scenes.scene import build_scene  # noqa: E402
from robotseg_core.synth.scenes.stock import MACHINES, SMALL, Stock  # noqa: E402

REPO = Path(__file__).resolve().parents[4]
ROBOTS = Path(os.environ.get("ROBOTSEG_ROBOTS", REPO.parent / "shared" / "robots"))
needs_robots = pytest.mark.skipif(
    not (ROBOTS / "arms").is_dir(), reason=f"no robot models in {ROBOTS}: set ROBOTSEG_ROBOTS to the robots folder"
)


def test_every_small_thing_stands_on_the_ground_with_its_size():
    spec = mujoco.MjSpec()
    builder = RoomBuilder(spec, np.random.default_rng(0))
    things = [builder.small(name) for name in SMALL]
    for thing in things:
        spec.body(thing.body).pos = [0, 0, 0]
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    for thing in things:
        assert thing.kind == "thing" and 0.01 < thing.radius < 0.2 and 0.005 < thing.height < 0.4, thing
        for g in range(
            model.body(thing.body).geomadr[0], sum(model.body(thing.body).geomadr + model.body(thing.body).geomnum)
        ):
            half = np.abs(data.geom_xmat[g].reshape(3, 3)) @ model.geom_aabb[g, 3:]
            middle = data.geom_xpos[g] + data.geom_xmat[g].reshape(3, 3) @ model.geom_aabb[g, :3]
            assert middle[2] - half[2] > -0.006 and middle[2] + half[2] < thing.height + 0.06, thing
            assert np.abs(middle[:2]).max() < thing.radius + 0.05, thing


def test_kinds_that_are_left_out_do_not_come():
    stock = Stock().without(["mug", "lamp", "chair"])
    assert "mug" not in stock.small and "lamp" not in stock.tables and "chair" not in stock.floors
    builder = RoomBuilder(mujoco.MjSpec(), np.random.default_rng(0), Stock().only(["duck", "vise"]))
    names = {builder.thing().name for _ in range(40)}
    assert names == {"duck", "vise", "hand"}
    with pytest.raises(ValueError, match="unknown things .'unicorn'."):
        Stock().only(["unicorn"])
    with pytest.raises(ValueError, match="no small thing is left"):
        Stock().only(["lamp"])
    assert not set(SMALL) & set(MACHINES)


def test_twins_are_alike_and_recoloured_ones_have_another_colour():
    spec = mujoco.MjSpec()
    builder = RoomBuilder(spec, np.random.default_rng(5))
    one, other = builder.twins(lambda: builder.small("jug"))
    first, second = builder.twins(lambda: builder.small("cube"), recolour=True)
    assert other.twin_of == one.body and second.twin_of is None and first.name == second.name == "cube"
    model = spec.compile()

    def looks(body):
        geoms = range(int(model.body(body).geomadr[0]), int(model.body(body).geomadr[0] + model.body(body).geomnum[0]))
        return np.array([[*model.geom_size[g], *model.mat_rgba[model.geom_matid[g]]] for g in geoms])

    assert np.allclose(looks(one.body), looks(other.body))
    assert np.allclose(looks(first.body)[:, :3], looks(second.body)[:, :3])
    assert not np.allclose(looks(first.body)[:, 3:], looks(second.body)[:, 3:])


@needs_robots
def test_excluded_robots_are_refused_or_left_out(tmp_path, capsys):
    kept = list_choices(ROBOTS, exclude=["ur5e", "shadow_hand"])
    assert not {"ur5e", *TEST_ARMS} & {c.arm for c in kept} and "shadow_hand" not in {c.gripper for c in kept}
    with pytest.raises(ValueError, match="asked for and excluded: lite6"):
        list_choices(ROBOTS, ["lite6", "ur5e"], exclude=TEST_ARMS)
    with pytest.raises(ValueError, match="neither arm nor gripper.*no_such"):
        list_choices(ROBOTS, exclude=["no_such"])
    rng = np.random.default_rng(0)
    made = [sample_made(kept, ROBOTS, rng, ["shadow_hand", "robotiq_2f85"]) for _ in range(300)]
    assert not {"shadow_hand", "robotiq_2f85"} & {c.gripper for c in made} and not {"ur5e"} & {c.arm for c in made}
    with pytest.raises(SystemExit):
        command.main(["--robots", str(ROBOTS), "--out", str(tmp_path), "--arms", "so_arm100", "--exclude", *TEST_ARMS])
    assert "asked for and excluded: so_arm100" in capsys.readouterr().err


@needs_robots
def test_every_training_arm_and_every_gripper_can_be_placed():
    arms, grippers = set(), set()
    for choice in list_choices(ROBOTS):
        if choice.arm in arms and choice.gripper in grippers:
            continue
        scene = build_scene(ROBOTS, [choice], np.random.default_rng(0))
        assert {ARM, GRIPPER} == set(scene.robots[0].labels.tolist()), choice
        arms.add(choice.arm)
        grippers.add(choice.gripper)
    assert len(arms) >= 14 and arms == {c.arm for c in list_choices(ROBOTS)}
    assert grippers - {None} == {p.name for p in (ROBOTS / "grippers").iterdir()}
    assert RobotChoice("ur5e", None) not in list_choices(ROBOTS)
