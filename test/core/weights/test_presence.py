# SPDX-License-Identifier: Apache-2.0
"""``scripts/presence.py``: where "in view" begins."""

from pathlib import Path

import numpy as np
import pytest
import torch
from script_modules import script

from robotseg_core.config import NANO
from robotseg_core.model.robotseg_model import RobotSegModel
from robotseg_core.stream.robotseg import RobotSeg
from robotseg_core.weights.load import read_state_dict, save_safetensors


@pytest.fixture(scope="module")
def presence():
    return script("presence")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_safetensors(RobotSegModel(NANO).state_dict(), path, {"preset": "nano"})
    return path


def test_only_the_threshold_moves_and_the_header_says_so(presence, weights, tmp_path, monkeypatch, capsys):
    words = f"presence.py --weights {weights} --out {tmp_path} --write -0.25".split()
    monkeypatch.setattr("sys.argv", words)
    assert presence.main() == 0
    (before, _), (after, said) = read_state_dict(weights), read_state_dict(Path(capsys.readouterr().out.strip()))
    assert said == {"preset": "nano", "presence": "-0.25"}
    changed = [key for key, value in before.items() if not torch.equal(value, after[key])]
    assert changed == [presence.BIAS]
    torch.testing.assert_close(after[presence.BIAS].float(), before[presence.BIAS].float() - 0.25, atol=1e-3, rtol=0)


def test_far_below_nothing_is_in_view(presence, weights, tmp_path):
    state, metadata = read_state_dict(weights)
    path = tmp_path / "s.safetensors"
    save_safetensors(presence.shifted(state, -50.0), path, metadata)
    robotseg = RobotSeg.load("nano", weights=path, device="cpu", backend="torch", precision="fp32", warm=False)
    assert not presence.marked(robotseg, np.full((60, 80, 3), 128, np.uint8)).any()
