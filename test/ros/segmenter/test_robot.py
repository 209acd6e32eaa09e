# SPDX-License-Identifier: Apache-2.0
"""The parameter robot: an adapter by name or path, on the weights that it was trained on and on no others."""

import pytest
import torch
from fake_model import FakeModel
from small_models import SMALL

from robotseg_core.config import PRESETS
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.weights.adapter import save_adapter
from robotseg_core.weights.files import sha256_of
from robotseg_core.weights.load import save_safetensors
from robotseg_ros.common.model import ModelOptions, load_robotseg

TABLE = "sam_mask_decoder.robot_token_embedding.weight"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Small weights of the preset nano, and adapters of two robots on them."""
    small = SMALL.__class__(**{**vars(SMALL), "name": "nano"})
    monkeypatch.setitem(PRESETS, "nano", small)
    monkeypatch.setenv("ROBOTSEG_ADAPTERS", str(tmp_path / "adapters"))
    (tmp_path / "adapters").mkdir()
    path = tmp_path / "base.safetensors"
    torch.manual_seed(0)
    state = RobotSegModel(small).state_dict()
    save_safetensors(state, path, {"preset": "nano"})
    for number, name in enumerate(("left_arm", "right_arm"), 1):
        added = {f"{TABLE}:add": torch.full_like(state[TABLE], number)}
        file = tmp_path / "adapters" / f"{name}.safetensors"
        save_adapter(added, file, name=name, base_sha256=sha256_of(path), preset="nano")
    return path


def options(weights, robot):
    return ModelOptions(device="cpu", backend="torch", precision="fp32", weights=weights, robot=robot)


def test_one_base_takes_the_adapter_that_is_named(weights):
    tables = {
        robot: load_robotseg(options(weights, robot)).model.state_dict()[TABLE]
        for robot in (None, "left_arm", "right_arm")
    }
    assert torch.equal(tables["left_arm"], tables[None] + 1)
    assert torch.equal(tables["right_arm"], tables[None] + 2)


def test_the_parameter_reaches_the_model_and_the_log_says_which_robot(start_segmenter, stderr):
    seen = []
    node = start_segmenter(FakeModel(robot="left_arm"), activate=False, robot="left_arm")
    load = node._load_model
    node._load_model = lambda wanted: (seen.append(wanted), load(wanted))[1]
    assert node.autostart()
    assert [wanted.robot for wanted in seen] == ["left_arm"]
    assert "adapter left_arm, ready after" in stderr.read()
    assert start_segmenter(FakeModel(), activate=False).options.model.robot is None


def test_a_robot_that_is_not_there_or_of_other_weights_leaves_the_node_unconfigured(start_segmenter, weights, stderr):
    node = start_segmenter(FakeModel(), activate=False)
    for robot, words in (("mine", "there: left_arm, right_arm"), ("left_arm", "was trained on weights with SHA-256")):
        if robot == "left_arm":
            weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
        node._load_model = lambda _, robot=robot: load_robotseg(options(weights, robot))
        assert not node.autostart()
        said = stderr.read()
        assert "cannot configure: WeightsError" in said and words in said
        assert not node.cameras
