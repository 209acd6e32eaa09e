# SPDX-License-Identifier: Apache-2.0
"""Distances of rendered scenes are true, and measuring them changes nothing else."""

import numpy as np
import pytest

pytest.importorskip("robotseg_core.synth")
mujoco = pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from robotseg_core.synth.rendering.render import Renderer  # noqa: E402
from robotseg_core.synth.robots.robot import ARM, BACKGROUND  # noqa: E402

# A camera at the origin looks along -z at a wall of half the picture, 3 m away, and a box whose front is 0.8 m away.
SCENE = """<mujoco><statistic extent="1"/><worldbody>
  <camera name="eye" fovy="60"/><light pos="0 0 1"/>
  <geom type="box" size="5 5 0.1" pos="5 0 -3.1" rgba="0.2 0.4 0.8 1"/>
  <geom type="box" size="0.1 0.1 0.1" pos="-0.3 0 -0.9" rgba="0.8 0.2 0.1 1"/>
</worldbody></mujoco>"""


@pytest.fixture
def scene():
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(120, 80)
    renderer.set_model(model)
    yield renderer, data, np.array([BACKGROUND, ARM], np.uint8)
    renderer.close()


def test_distances_are_along_the_axis(scene):
    renderer, data, part = scene
    picture = renderer.picture(data, 0, part, depth=True)
    assert picture.depth.dtype == np.uint16 and picture.depth.shape == (80, 120)
    # In the corner of the picture too: it is no distance from the eye.
    assert {int(v) for v in picture.depth[:, 62:].ravel()} <= {2999, 3000, 3001}
    box = picture.depth[37:43, 30:36]
    assert np.abs(box.astype(int) - 800).max() <= 1
    assert (picture.label[37:43, 30:36] == ARM).all()
    # Beside both there is nothing.
    assert (picture.depth[:10, :50] == 0).all()


def test_pictures_are_the_same_with_depth_and_without(scene):
    renderer, data, part = scene
    plain, measured = renderer.picture(data, 0, part), renderer.picture(data, 0, part, depth=True)
    assert plain.depth is None
    np.testing.assert_array_equal(plain.rgb, measured.rgb)
    np.testing.assert_array_equal(plain.label, measured.label)
    np.testing.assert_array_equal(renderer.picture(data, 0, part).rgb, plain.rgb)
