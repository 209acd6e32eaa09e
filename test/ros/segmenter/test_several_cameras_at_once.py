# SPDX-License-Identifier: Apache-2.0
"""Images of several cameras that wait at the same time go through the encoder at once; all else stays each camera's."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from fake_model import HANG_S, FakeModel, robot_picture
from patience import PATIENCE_S
from ros_client import wait_until

from robotseg_core.types import State
from robotseg_ros.common.messages import to_image
from robotseg_ros.common.model import ModelOptions, load_robotseg
from robotseg_ros.segmenter import node as segmenter
from robotseg_ros.segmenter.worker import FairWorker

SECOND = 1_000_000_000
CAMERAS = ["wrist", "front", "back"]


class Cell:
    """A node with three cameras; images go straight to it, and what it publishes is kept in order."""

    def __init__(self, client, start_segmenter, model, **parameters):
        self.client, self.model = client, model
        self.node = start_segmenter(model, cameras=CAMERAS, **parameters)
        self.cameras = dict(zip(CAMERAS, self.node.cameras, strict=True))
        self.sessions = {name: camera.inference for name, camera in self.cameras.items()}
        self.streams = dict(zip(CAMERAS, model.streams, strict=True))
        self.published = []
        """(camera, state, masks by part, steps that the model had done by then)."""
        for name, session in self.sessions.items():
            publishers = session.answers._publishers
            publishers.publish = lambda answer, live, name=name: self._note(name, answer.result.state, answer.result)
            publishers.publish_without_parts = lambda header, state, dropped, name=name: self._note(name, state, None)
        self.stamp, self.sent = 0, 0

    def _note(self, name, state, result):
        masks = {part.name: part.mask for part in result.parts} if result else {}
        self.published.append((name, state, masks, len(self.model.stamps)))

    def send(self, name, **fields):
        """An image whose robot stands where no other camera's does."""
        self.stamp += SECOND
        picture = robot_picture(shift=10 * CAMERAS.index(name))
        message = to_image(self.client.header(self.stamp, frame_id=name), picture, "rgb8")
        for field, value in fields.items():
            setattr(message, field, value)
        self.cameras[name]._on_image(message)
        self.sent += 1

    def _done(self):
        counters = [session.counters for session in self.sessions.values()]
        refused = sum(c.refused.total() for c in counters)
        counted = sum(c.answered + c.faults + c.too_old for c in counters) + refused
        return min(counted, len(self.published) + refused)

    def while_busy(self, *sends):
        """Hold the model at an image of the first camera, do this meanwhile, and wait until all is done."""
        self.model.hang = threading.Event()
        self.send(CAMERAS[0])
        wait_until(lambda: self.sessions[CAMERAS[0]].busy, "the model busy")
        for send in sends:
            send()
        hang, self.model.hang = self.model.hang, None
        hang.set()
        wait_until(lambda: self._done() == self.sent, "all done")

    def one_of_each(self, **fields):
        """What while_busy() does: an image of each camera, the last first."""
        return [lambda name=name: self.send(name, **fields.get(name, {})) for name in reversed(CAMERAS)]


@pytest.fixture
def cell(client, start_segmenter):
    return lambda model, **parameters: Cell(client, start_segmenter, model, **parameters)


# ------------------------------------------------------------------------------------------------ turns
def test_as_many_as_go_together_are_taken_in_turn_one_of_each():
    served, started, release = [], threading.Event(), threading.Event()

    def process(turns):
        served.append([(turn.session.name, turn.item, turn.dropped) for turn in turns])

    def alone(item, dropped):
        served.append(item)
        started.set()
        assert release.wait(PATIENCE_S)

    worker = FairWorker("test", SimpleNamespace(size=2, process=process))
    lanes = {name: worker.lane(SimpleNamespace(name=name, process=alone)) for name in "abc"}
    lanes["b"].put("alone")
    assert started.wait(PATIENCE_S)
    for item in (1, 2, 3):
        for lane in lanes.values():
            lane.put(item)
    release.set()
    wait_until(lambda: len(served) == 3, "all turns")
    # After b it is c's turn, then a's; b, left over, goes by itself.
    assert served == ["alone", [("c", 3, 2), ("a", 3, 2)], 3]
    assert worker.stop(PATIENCE_S)


# ------------------------------------------------------------------------------------------------ the node
def test_images_that_wait_are_encoded_at_once_and_answered_one_by_one_in_turn(cell):
    cell = cell(FakeModel(encoder_batch=3))
    cell.while_busy(*cell.one_of_each())
    assert cell.model.batches == [3]
    # In the order of turns, and each as soon as it is done: before the next is stepped.
    assert [(name, steps) for name, _, _, steps in cell.published] == [
        ("wrist", 1),
        ("front", 2),
        ("back", 3),
        ("wrist", 4),
    ]
    for name, state, masks, _ in cell.published:
        assert state == State.TRACKING
        assert np.flatnonzero(masks["robot"].any(0))[0] == 10 + 10 * CAMERAS.index(name)
    counters = [session.counters for session in cell.sessions.values()]
    assert [c.encoded_with_others for c in counters] == [1, 1, 1] and [c.answered for c in counters] == [2, 1, 1]


def test_a_batch_is_no_larger_than_the_model_takes_and_one_image_is_none(cell):
    cell = cell(FakeModel(encoder_batch=2))
    cell.while_busy(*cell.one_of_each())
    assert cell.model.batches == [2]
    assert [name for name, *_ in cell.published] == ["wrist", "front", "back", "wrist"]
    cell.while_busy()
    assert cell.model.batches == [2]


def test_without_a_batch_every_image_goes_alone(cell):
    cell = cell(FakeModel())
    cell.while_busy(*cell.one_of_each())
    assert cell.model.batches == [] and len(cell.published) == 4


# ------------------------------------------------------------------------------------------------ faults
def test_a_bad_image_takes_no_other_with_it(cell):
    cell = cell(FakeModel(encoder_batch=3))
    cell.while_busy(*cell.one_of_each(front={"step": 17}))
    assert cell.model.batches == [2]
    assert [name for name, *_ in cell.published] == ["wrist", "back", "wrist"]
    assert cell.sessions["front"].counters.refused == {"step": 1}
    assert not any(session.counters.faults for session in cell.sessions.values())


def test_a_batch_that_fails_is_tried_one_by_one_and_who_fails_then_has_failed(cell, stderr):
    cell = cell(FakeModel(encoder_batch=3, broken_batch=True))
    cell.streams["front"].step = lambda frame, stamp: 1 / 0
    cell.while_busy(*cell.one_of_each())
    states = [(name, state) for name, state, *_ in cell.published]
    tracking = State.TRACKING
    assert states == [("wrist", tracking), ("front", State.FAULT), ("back", tracking), ("wrist", tracking)]
    assert [session.counters.faults for session in cell.sessions.values()] == [0, 1, 0]
    assert cell.streams["front"].resets == 1 and not cell.streams["back"].resets
    assert not any(session.counters.encoded_with_others for session in cell.sessions.values())
    said = stderr.read()
    assert "the encoder failed on images of 3 cameras at once: MemoryError: no room for so many; one at a time" in said
    # Not tried again with every image.
    cell.while_busy(*cell.one_of_each())
    assert cell.model.batches == [3]
    assert "at once" not in stderr.read()


def test_a_stream_that_fails_after_a_batch_is_the_fault_of_its_camera_alone(cell):
    cell = cell(FakeModel(encoder_batch=3))
    cell.streams["front"].step_encoded = lambda encoded, stamp: 1 / 0
    cell.while_busy(*cell.one_of_each())
    assert [state for _, state, *_ in cell.published] == [State.TRACKING, State.FAULT, State.TRACKING, State.TRACKING]
    assert [session.counters.faults for session in cell.sessions.values()] == [0, 1, 0]


def test_late_answers_of_a_batch_are_stale_each_by_its_own_age(cell):
    cell = cell(FakeModel(encoder_batch=3), max_age=30.0)
    now = time.time_ns()

    def send(name, age_s):
        cell.stamp = now - int((age_s + 1) * SECOND)
        cell.send(name)

    cell.while_busy(lambda: send("front", 60), lambda: send("back", 0))
    assert cell.model.batches == [2]
    assert [(name, state) for name, state, *_ in cell.published[1:]] == [
        ("front", State.STALE),
        ("back", State.TRACKING),
    ]
    assert [session.counters.too_old for session in cell.sessions.values()] == [1, 1, 0]


def test_while_a_batch_hangs_all_its_cameras_are_stale_and_deactivating_works(cell, stderr, every_line, monkeypatch):
    monkeypatch.setattr(segmenter, "STOP_TIMEOUT_S", 0.05)
    cell = cell(FakeModel(encoder_batch=3), stale_after=0.5)
    hang, encode = threading.Event(), cell.model.encode_frames
    cell.model.encode_frames = lambda frames: (hang.wait(HANG_S), encode(frames))[1]
    try:
        cell.model.hang = first = threading.Event()
        cell.send("wrist")
        wait_until(lambda: cell.sessions["wrist"].busy, "the model busy")
        for send in cell.one_of_each():
            send()
        cell.model.hang = None
        first.set()
        wait_until(lambda: all(session.busy for session in cell.sessions.values()), "all in the batch")
        wait_until(lambda: {n for n, s, *_ in cell.published if s == State.STALE} == set(CAMERAS), "all STALE")
        said = stderr.read()
        assert all(f"camera {name}" in said or "the model still works on an image" in said for name in CAMERAS)
        cell.node.trigger_deactivate()
        assert cell.node.cameras == ()
        count, done = len(cell.published), len(cell.model.stamps)
    finally:
        hang.set()
    wait_until(lambda: not any(session.busy for session in cell.sessions.values()), "the batch done")
    # Not stepped either: nobody wants the answers any more.
    assert len(cell.published) == count and len(cell.model.stamps) == done


# ------------------------------------------------------------------------------------------------ the parameter
@pytest.mark.parametrize(
    ("parameters", "asked"),
    [({}, None), ({"encoder_batch": 2}, 2), ({"encoder_batch": 2, "replay": True}, 1), ({"replay": True}, 1)],
)
def test_the_parameter_is_what_the_model_is_loaded_with(start_segmenter, parameters, asked):
    options = start_segmenter(FakeModel(), activate=False, cameras=CAMERAS, **parameters).options.model
    assert (options.encoder_batch, options.cameras) == (asked, 3)


@pytest.mark.parametrize("wrong", [-1, 9])
def test_a_wrong_parameter_is_refused(start_segmenter, wrong):
    with pytest.raises(Exception, match="encoder_batch"):
        start_segmenter(FakeModel(), activate=False, encoder_batch=wrong)


@pytest.mark.real_model
@pytest.mark.parametrize(("asked", "cameras", "size"), [(None, 3, 1), (2, 3, 2), (8, 2, 2), (4, 1, 1)])
def test_on_a_cpu_images_go_alone_unless_asked_and_never_more_than_there_are_cameras(asked, cameras, size):
    model = load_robotseg(ModelOptions(device="cpu", image_size=64, encoder_batch=asked, cameras=cameras))
    assert model.encoder_batch == size
    assert len(model.encode_frames([robot_picture()] * size)) == size
