# SPDX-License-Identifier: Apache-2.0
"""Things that move: smooth, through their points, clear of robots; robots that drive stay off the table."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")  # chooses the OpenGL driver before mujoco is imported
pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from robotseg_core.synth.rendering.motion import Motion, Mover, joint_path, swept_points  # noqa: E402
from robotseg_core.synth.rendering.movers import drive_robots, move_things  # noqa: E402
from robotseg_core.synth.robots.catalog import PROCEDURAL, RobotChoice  # noqa: E402
from robotseg_core.synth.scenes.placing import place_things  # noqa: E402
from robotseg_core.synth.scenes.room import Room, RoomBuilder, Table  # noqa: E402
from robotseg_core.synth.scenes.scene import build_scene, update  # noqa: E402

NOWHERE = Path("no_such_folder")
TURN = np.array([[1.0, 0, 0, 0], [0, 0, 0, 1.0]])


def room_with(builder_of, robots=()):
    """A scene and its room; ``builder_of`` fills a table at z = 0."""
    rooms = []

    def build(spec):
        builder = RoomBuilder(spec, np.random.default_rng(0))
        table = builder.table(0.3, 0.0, 0.0, -0.7)
        rooms.append(Room(-0.7, table, tuple(builder_of(builder))))

    scene = build_scene(NOWHERE, list(robots), np.random.default_rng(0), build)
    update(scene)
    return scene, rooms[0]


def test_mover_is_where_it_should_be_between_frames():
    scene, room = room_with(lambda b: [b.small("cube")])
    body = scene.model.body(room.things[0].body).id
    mover = Mover(body, np.array([[0.0, 0, 0], [1.0, 0, 0.5]]), TURN)
    motion = Motion(np.zeros((2, scene.model.nq)), (mover,))
    motion.apply(scene, 0.25)
    assert scene.data.xpos[body] == pytest.approx([0.25, 0, 0.125])
    assert np.linalg.norm(scene.model.body_quat[body]) == pytest.approx(1)
    motion.apply(scene, 7)  # after the end it stays
    assert scene.data.xpos[body] == pytest.approx([1.0, 0, 0.5])


def test_two_things_cross_without_meeting():
    crossed = 0
    for seed in range(12):
        scene, room = room_with(lambda b: list(b.twins(lambda: b.small("can"))))
        rng = np.random.default_rng(seed)
        motion = Motion(np.zeros((12, scene.model.nq)))
        place_things(scene, room, rng, swept_points(scene, motion))
        movers, crossing = move_things(scene, room, motion, rng)
        if crossing:
            a, b = movers[0].pos, movers[1].pos
            assert np.linalg.norm(a - b, axis=1).min() > 0.9 * 2 * room.things[0].radius
            assert (a[-1] - a[0]) @ (b[-1] - b[0]) < 0
            crossed += 1
    assert crossed


def test_moving_things_stay_clear_of_the_robot():
    robot = RobotChoice(PROCEDURAL, PROCEDURAL, 3)
    count = 0
    for seed in range(4):
        scene, room = room_with(lambda b: [b.small() for _ in range(5)], [robot])
        rng = np.random.default_rng(seed)
        motion = Motion(joint_path(scene, rng, 8))
        place_things(scene, room, rng, swept_points(scene, motion, every=2))
        movers, _ = move_things(scene, room, motion, rng)
        reach = swept_points(scene, Motion(motion.path[:1]))
        for mover in movers:
            count += 1
            low = reach[reach[:, 2] < mover.pos[0, 2] + 0.05]
            if len(low):
                assert np.hypot(*(low[:, :2] - mover.pos[0, :2]).T).min() > 0.01
            assert np.linalg.norm(np.diff(mover.pos, axis=0), axis=1).max() < 1.0
    assert count


def test_driving_robots_keep_off_the_table():
    class Walker:
        mobile = True

        def __init__(self, mount):
            self.mount = mount

    scene, room = room_with(lambda b: [b.small("cube")])
    mount = scene.model.body(room.things[0].body).id
    scene.model.body_pos[mount] = 0
    far = Room(0.0, Table(1.3, 0.0, 0.7, 0.7, 0.7), ())
    walked = 0
    for seed in range(6):
        moved = drive_robots(_with(scene, [Walker(mount)]), far, 12, 1.0, np.random.default_rng(seed))
        for mover in moved:
            walked += 1
            assert (np.abs(mover.pos[:, 0] - 1.3) > 0.7 + 0.25).all() or (np.abs(mover.pos[:, 1]) > 0.7 + 0.2).any()
            assert mover.pos[:, 2] == pytest.approx(0.0)
    assert walked
    assert not drive_robots(_with(scene, [Walker(mount)]), far, 1, 1.0, np.random.default_rng(0))


def _with(scene, robots):
    from dataclasses import replace

    return replace(scene, robots=tuple(robots))
