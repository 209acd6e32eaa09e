# SPDX-License-Identifier: Apache-2.0
"""The node's process: wrong parameters end it with one line and status 1."""

import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

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
    ended = subprocess.run(
        [sys.executable, FAKE, "--ros-args", *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said
    # rcl may have a line of its own before it.
    assert "cannot start" in said.splitlines()[-1] and words in said.splitlines()[-1]


def test_integer_is_good_for_a_number_of_seconds(start_segmenter):
    from fake_model import FakeModel

    assert start_segmenter(FakeModel(), activate=False, stale_after=2).live().stale_after == 2.0


def test_who_asks_for_the_state_while_the_model_loads_is_answered(client, start_segmenter):
    """As nav2's lifecycle manager does."""
    import threading

    from fake_model import HANG_S, FakeModel
    from lifecycle_msgs.srv import ChangeState, GetState

    node, go = start_segmenter(FakeModel(), activate=False), threading.Event()
    load, node._load_model = node._load_model, lambda options: (go.wait(HANG_S), load(options))[1]
    changing = client.node.create_client(ChangeState, "/robotseg/change_state")
    assert changing.wait_for_service(PATIENCE_S)
    request = ChangeState.Request()
    request.transition.id = 1
    configured = changing.call_async(request)

    def state():
        return client.call(GetState, "/robotseg/get_state", GetState.Request()).current_state.label

    from ros_client import wait_until

    wait_until(lambda: state() == "configuring", "the state")
    assert not configured.done()
    go.set()
    wait_until(configured.done, "the transition")
    assert configured.result().success and state() == "inactive"


@pytest.mark.parametrize("command", ["run_segmenter", "run_node"])
def test_a_ros_of_another_python_is_said_in_one_line(tmp_path, command):
    (tmp_path / "rclpy").mkdir()
    (tmp_path / "rclpy" / "__init__.py").write_text("raise ImportError(\"No module named 'rclpy._rclpy_pybind11'\")")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv[1:] = ['servo']\n"
    code += f"from robotseg_ros.{command} import main; sys.exit(main())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1
    assert f"rclpy in {tmp_path / 'rclpy'} is not for it: that is the ROS of another Python" in ended.stderr


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
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 1 and "no model" in ended.stderr
    said = [line.partition("]: ")[2] for line in ended.stderr.splitlines() if "has no effect" in line]
    assert said == [
        "parameter max_agee is none of this node and has no effect; is max_age meant?",
        "parameter wrist.camra is none of this node and has no effect; is wrist.camera meant?",
        "parameter zzz is none of this node and has no effect",
    ]
