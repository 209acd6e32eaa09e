# SPDX-License-Identifier: Apache-2.0
"""The node's process: wrong parameters end it with one line and status 1."""

import subprocess
import sys
from pathlib import Path

import pytest

FAKE = str(Path(__file__).parents[1] / "fake_segmenter.py")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-p", "stale_after:=0.01"), "stale_after out of range Min: 0.1, Max: 60.0, value: 0.01"),
        (("-p", "stale_after:=soon"), "stale_after is 'soon', must be a number"),
        (("-p", "masked_image:=blur"), "masked_image is 'blur', must be 'keep' or 'remove'"),
        (("-p", "preset:=1"), "preset"),
        (("--params-file", "/nowhere.yaml"), "/nowhere.yaml"),
    ],
)
def test_wrong_parameter_ends_the_node_with_one_line(domain_id, arguments, words):
    ended = subprocess.run([sys.executable, FAKE, "--ros-args", *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said
    # rcl may have a line of its own before it.
    assert "cannot start" in said.splitlines()[-1] and words in said.splitlines()[-1]


def test_integer_is_good_for_a_number_of_seconds(start_segmenter):
    from fake_model import FakeModel

    assert start_segmenter(FakeModel(), activate=False, stale_after=2).live().stale_after == 2.0


def test_parameters_that_the_node_does_not_have_are_named_with_what_may_be_meant(domain_id, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "/**: {ros__parameters: {max_agee: 1.0, cameras: [wrist], wrist: {camera: /w, camra: /v}, use_sim_time: false,"
        " qos_overrides: {/w: {subscription: {depth: 2}}}}}"
    )
    # It ends by itself, because the model cannot be loaded, long after it has said it.
    arguments = ["--ros-args", "--params-file", str(file), "-p", "autostart:=true", "-p", "zzz:=1"]
    code = (
        "import sys; from robotseg_ros.run_segmenter import main\n"
        "def fail(options): raise ValueError('no model')\n"
        "sys.exit(main(fail))"
    )
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "no model" in ended.stderr
    said = [line.partition("]: ")[2] for line in ended.stderr.splitlines() if "has no effect" in line]
    assert said == [
        "parameter max_agee is none of this node and has no effect; is max_age meant?",
        "parameter wrist.camra is none of this node and has no effect; is wrist.camera meant?",
        "parameter zzz is none of this node and has no effect",
    ]
