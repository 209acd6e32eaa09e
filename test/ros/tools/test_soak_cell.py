# SPDX-License-Identifier: Apache-2.0
"""The soak's preset of a whole cell: a short one runs, what is wrong is found, and what may change is not."""

import dataclasses
import time

import pytest
from std_msgs.msg import Header

from robotseg_ros.msg import PartMask, PartMasks
from robotseg_ros.tools.soaking.cell import Cell
from robotseg_ros.tools.soaking.cell_run import soak_cell
from robotseg_ros.tools.soaking.rows import Row, judge


def rows(**more):
    kept = dict(frames=0, given_up=0, seconds=0.0, cpu_s=0.0, rss_mib=400.0, threads=20, descriptors=23)
    made = [Row(**{**kept, "frames": 100 * i}, p50_ms=1.0, p95_ms=2.0, p99_ms=3.0) for i in range(20)]
    return [dataclasses.replace(row, **{k: v[i] for k, v in more.items()}) for i, row in enumerate(made)]


def test_readers_that_come_and_go_may_change_descriptors_but_not_let_them_grow():
    swaying, growing = [23 + i % 2 for i in range(20)], [23 + i // 5 for i in range(20)]
    assert judge(rows(descriptors=swaying), visited=True)[1] == []
    assert judge(rows(descriptors=swaying))[1] == ["descriptors change from 23 to 24"]
    assert judge(rows(descriptors=growing), visited=True)[1] == ["descriptors change from 23 to 26"]
    # Something that was open for a moment, late in the run, is closed again.
    once = [24 if i == 15 else 23 for i in range(20)]
    assert judge(rows(descriptors=once), visited=True)[1] == []
    assert "memory grows" in judge(rows(rss_mib=[400.0 + i for i in range(20)]), visited=True)[1][0]


def test_memory_is_held_against_all_images_that_came():
    mib, given_up = [400.0 + i / 2 for i in range(20)], [3900 * i for i in range(20)]
    assert judge(rows(rss_mib=mib))[0] == pytest.approx(2**20 / 200)
    # Those that were replaced by newer ones or refused have been received, too: 4,000 images for half a MiB.
    growth, wrong = judge(rows(rss_mib=mib, given_up=given_up))
    assert growth == pytest.approx(2**20 / 8000) and wrong == []


@pytest.fixture
def cell(context):
    cell = Cell(context, 64, 48)
    yield cell
    cell.close()


def answer(cell, **more):
    stamp = next(reversed(cell._open["left"]))
    header = Header(frame_id="left_optical")
    header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    parts = [PartMask(name=name, area=area, score=0.9) for name, area in (("arm", 3), ("gripper", 2), ("robot", 5))]
    return PartMasks(**{"header": header, "state": PartMasks.TRACKING, "camera": "left", "parts": parts, **more})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, ""),
        ({"state": PartMasks.STALE, "parts": []}, ""),
        ({"state": PartMasks.STALE}, "parts in state 4"),
        ({"camera": "right"}, "camera 'right'"),
        ({"header": Header(frame_id="left_optical")}, "which was not sent"),
        ({"parts": []}, "areas are {}"),
        ({"parts": [PartMask(name=n, score=float("nan")) for n in ("arm", "gripper", "robot")]}, "scores are"),
        ({"parts": [PartMask(name=n, area=1) for n in ("arm", "gripper", "robot")]}, "areas are"),
    ],
)
def test_what_is_not_true_of_what_was_sent_is_found(cell, more, words):
    cell.shoot("left")
    cell._open["left"][next(reversed(cell._open["left"]))] = True
    cell._on_parts("left", answer(cell, **more))
    assert not cell.wrong if not words else words in cell.wrong[0]


def test_an_answer_to_a_damaged_image_or_a_second_one_is_found(cell):
    cell.shoot("left")
    stamp = next(reversed(cell._open["left"]))
    cell._open["left"][stamp] = False
    cell._on_parts("left", answer(cell))
    cell._open["left"][stamp] = True
    cell._on_parts("left", answer(cell))
    assert "is damaged" in cell.wrong[0] and "answers to" in cell.wrong[1]


def test_a_camera_that_is_left_out_is_found_and_a_slow_machine_is_not(cell):
    before = dict(cell.answered)
    cell.answered["left"] += 2
    cell.compare(before)
    assert not cell.wrong
    cell.answered |= {"left": 30, "right": 1}
    cell.compare(before)
    assert len(cell.wrong) == 1 and "wrist: no answer for 10 s, another camera has 30" in cell.wrong[0]


def test_a_short_one_runs(domain_id, monkeypatch, tmp_path):
    monkeypatch.setattr("robotseg_ros.tools.soaking.cell_run.ROW_S", 4.0)
    began = time.monotonic()
    found, wrong = soak_cell(8.0, 64, 48, tmp_path / "soak.csv", least_rows=2)
    assert time.monotonic() - began > 8 and len(found) >= 2 and found[-1].frames > found[0].frames > 0
    assert wrong == []
    assert len((tmp_path / "soak.csv").read_text().splitlines()) == len(found) + 1
