# SPDX-License-Identifier: Apache-2.0
"""Faults of stamps, cameras and models, each given to the session of one camera: what it answers, counts and says."""

import time

import numpy as np
import pytest
from fake_model import FakeModel, robot_picture
from fault_session import Session

from robotseg_core.types import State
from robotseg_ros.common.model import ModelOptions, load_robotseg
from robotseg_ros.tools.soak import load_small

SECOND = 1_000_000_000


# ------------------------------------------------------------------------------------------------ stamps
def test_stamps_that_are_zero_repeated_or_a_little_back_come_out_as_they_are(session):
    stamps = [0, 5 * SECOND, 5 * SECOND, 5 * SECOND - 400_000_000, 5 * SECOND - 1]
    assert [session.shows(robot_picture(), stamp) for stamp in stamps] == [State.TRACKING] * 5
    assert [answer[1] for answer in session.answers] == stamps
    assert not session.counters.restarts


def test_a_stamp_of_zero_is_too_old_where_there_is_a_limit(node):
    session = Session(node, FakeModel(), max_age=0.2)
    assert session.shows(robot_picture(), 0) == State.STALE
    assert session.counters.too_old == 1 and session.answers[0][3] == {}


def test_a_stamp_far_in_the_future_is_not_current_and_does_no_lasting_harm(node, stderr):
    session = Session(node, FakeModel(), max_age=10.0)
    assert session.shows(robot_picture(), time.time_ns() + 3600 * SECOND) == State.STALE
    assert session.counters.in_future == 1 and "ahead of the node's clock" in stderr.read()
    # Back to now is more than a second back: a new sequence, once.
    for _ in range(3):
        assert session.shows(robot_picture(), time.time_ns()) == State.TRACKING
    assert session.counters.restarts == {"time": 1}


def test_a_bag_that_starts_again_begins_a_new_sequence_once(session, stderr):
    for loop in range(3):
        for i in range(5):
            assert session.shows(robot_picture(), 10 * SECOND + i * SECOND) == State.TRACKING
        assert session.counters.restarts["time"] == loop
    assert session.inference._stream.resets == 2
    assert "time of the images has changed" in stderr.read()


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("size", {"rgb": robot_picture(height=130)}),
        ("encoding", {"encoding": "bgr8"}),
        ("frame_id", {"frame_id": "other"}),
    ],
)
def test_a_camera_that_changes_mid_stream_begins_a_new_sequence_once(session, stderr, reason, change):
    before = {"rgb": robot_picture(), "encoding": "rgb8", "frame_id": "wrist"}
    for i in range(3):
        session.shows(stamp=(1 + i) * SECOND, **before)
    assert not session.counters.restarts
    for i in range(4):
        assert session.shows(stamp=(4 + i) * SECOND, **{**before, **change}) == State.TRACKING
    assert session.counters.restarts == {reason: 1}
    # Before the first image of the new sequence, not after it.
    steps = [what for _, what in session.inference._stream.steps]
    assert steps == ["step"] * 3 + ["reset"] + ["step"] * 4
    assert stderr.read().count(f"{reason} of the images has changed") == 1


def test_a_camera_that_changes_all_the_time_does_not_flood_the_log(session, stderr):
    for i in range(50):
        assert session.shows(robot_picture(), i * SECOND, frame_id=f"camera_{i % 2}") == State.TRACKING
    assert [answer[2] for answer in session.answers] == [f"camera_{i % 2}" for i in range(50)]
    assert session.counters.restarts == {"frame_id": 49}
    assert stderr.read().count("memory given up") == 1


# ------------------------------------------------------------------------------------------------ what is shown
def test_black_white_and_frozen_images_are_images(session):
    for value in (0, 255):
        assert session.shows(np.full((120, 160, 3), value, np.uint8)) == State.SEARCHING
        assert not any(mask.any() for mask in session.answers[-1][3].values())
    frozen = robot_picture()
    for i in range(30):
        assert session.shows(frozen, (2 + i) * SECOND) == State.TRACKING
    # Not told from a still scene: each has a stamp of its own, and masks that are as good as before.
    assert [answer[1] for answer in session.answers[2:]] == [(2 + i) * SECOND for i in range(30)]
    assert all(np.array_equal(a[3]["robot"], session.answers[2][3]["robot"]) for a in session.answers[2:])


# ------------------------------------------------------------------------------------------------ the model
class RealModel:
    """The real stream with small random weights, whose encoder fails on demand."""

    name = "torch"
    max_batch = None

    def __init__(self):
        self.error = None
        self.robotseg = load_small(ModelOptions())
        self.sound, self.robotseg.encoder = self.robotseg.encoder, self

    def encode(self, image):
        if self.error is not None:
            raise self.error
        return self.sound.encode(image)

    def stream(self):
        return self.robotseg.stream()


@pytest.fixture(scope="module")
def real_model():
    return RealModel()


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images_through_the_real_stream(node, real_model, value):
    session = Session(node, real_model)
    for i in range(3):
        assert session.shows(np.full((60, 80, 3), value, np.uint8), (1 + i) * SECOND) is not None
        arm, gripper, robot = (session.answers[-1][3][part] for part in ("arm", "gripper", "robot"))
        assert not (arm & gripper).any() and np.array_equal(arm | gripper, robot)
    assert not session.counters.faults


@pytest.mark.parametrize(
    "error", [RuntimeError("execution context lost"), MemoryError("4 GiB"), OSError("libnvinfer.so went away")]
)
def test_an_encoder_that_fails_in_the_middle_is_a_fault_and_its_return_begins_anew(node, real_model, stderr, error):
    session = Session(node, real_model)
    rgb = robot_picture(60, 80)
    good = [session.shows(rgb, i * SECOND) for i in (1, 2)]
    first = session.answers[0]
    assert all(state in (State.TRACKING, State.DEGRADED) for state in good)
    real_model.error = error
    try:
        assert [session.shows(rgb, i * SECOND) for i in (3, 4, 5)] == [State.FAULT] * 3
    finally:
        real_model.error = None
    assert session.counters.faults == 3 and all(answer[3] == {} for answer in session.answers[2:])
    said = stderr.read()
    assert said.count("the model failed on an image") == 1 and str(error) in said
    # A step that broke off leaves nothing in the memory: the next image is answered as the very first was.
    assert session.shows(rgb, 6 * SECOND) == first[0]
    assert all(np.array_equal(session.answers[-1][3][part], first[3][part]) for part in first[3])


def test_memory_that_runs_out_for_real_is_a_fault(node):
    class Greedy(FakeModel):
        def stream(self):
            stream = super().stream()
            stream.step = lambda frame, stamp: np.ones(1 << 55, np.uint8)
            return stream

    session = Session(node, Greedy())
    assert session.shows(robot_picture()) == State.FAULT
    assert session.counters.faults == 1


def test_an_answer_that_cannot_be_published_is_counted_and_said(session, stderr):
    session.inference.answers._publishers.publish = lambda answer, live: np.ones(1 << 55, np.uint8)
    assert session.shows(robot_picture()) is None
    assert session.counters.unpublished == 1 and session.counters.answered == 0
    assert "cannot publish an answer: " in stderr.read()


def test_a_machine_that_is_too_slow_gives_no_late_masks(node, stderr):
    session = Session(node, FakeModel(delay=0.15), max_age=0.1)
    for _ in range(3):
        assert session.shows(robot_picture(), time.time_ns()) == State.STALE
    assert session.counters.too_old == 3 and all(answer[3] == {} for answer in session.answers)
    assert "the model is too slow" in stderr.read()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda path: path.write_bytes(b"\x80\x02garbage"), "damaged", id="corrupt"),
        pytest.param(lambda path: path.write_bytes(good_weights(path)[:-500]), "damaged", id="truncated"),
        pytest.param(lambda path: good_weights(path, wrong_shape=True), "shape", id="wrong shape"),
        pytest.param(lambda path: path.unlink(missing_ok=True), "weights.safetensors", id="absent"),
    ],
)
def test_weights_that_cannot_be_used_leave_the_node_unconfigured_with_the_reason(node, tmp_path, stderr, damage, words):
    path = tmp_path / "weights.safetensors"
    damage(path)
    node._load_model = lambda options: load_robotseg(ModelOptions(device="cpu", backend="torch", weights=path))
    assert not node.autostart()
    said = stderr.read()
    assert "cannot configure: WeightsError" in said and words in said
    assert not node.cameras


def good_weights(path, wrong_shape=False):
    """Random weights of the preset nano, written to ``path``."""
    from safetensors.torch import save_file

    from robotseg_core.config import NANO
    from robotseg_core.model.robotseg_model import RobotSegModel

    state = {name: tensor.contiguous() for name, tensor in RobotSegModel(NANO).state_dict().items()}
    if wrong_shape:
        name = next(name for name, tensor in state.items() if tensor.ndim == 4)
        state[name] = state[name][:1].clone()
    save_file(state, path)
    return path.read_bytes()
