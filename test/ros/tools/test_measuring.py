# SPDX-License-Identifier: Apache-2.0
"""What soak and bench make of their figures; the two themselves take minutes (`make soak`, `robotseg bench --node`)."""

import dataclasses
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from fake_model import FakeModel, robot_picture
from patience import PATIENCE_S
from ros_client import wait_until

from robotseg_core.types import State
from robotseg_ros.common.model import ModelOptions
from robotseg_ros.tools import bench_node, player, soak
from robotseg_ros.tools.measuring_camera import MASKS, MeasuringCamera


def rows(growth=0.0, **changes):
    """A hundred rows of a node whose memory grows by so many bytes a frame; ``changes`` are of the last row."""
    made = []
    for i in range(1, 101):
        frames = i * soak.ROW_FRAMES
        # The warm-up is steep, whatever comes after it; a little jitter throughout.
        memory = 300 + 30 * min(i, 8) + growth * frames / 2**20 + 0.3 * (i % 3)
        made.append(soak.Row(frames, 0, 1.0 * i, 0.5 * i, memory, 20, 50, 9.0, 12.0, 15.0))
    return [*made[:-1], dataclasses.replace(made[-1], **changes)]


def test_a_node_that_stays_as_it_is_is_good():
    growth, wrong = soak.judge(rows())
    assert abs(growth) < 20 and not wrong


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (rows(growth=1000.0), "memory grows by 1000 bytes an image, must be at most 200"),
        (rows(threads=21), "threads change from 20 to 21"),
        (rows(descriptors=57), "descriptors change from 50 to 57"),
        (rows()[:2], "only 2 rows"),
    ],
)
def test_a_node_that_grows_is_told(node, words):
    (said,) = soak.judge(node)[1]
    assert words in said


def test_processes_are_read_and_rows_drawn(tmp_path):
    cpu, memory, threads, descriptors = soak.look_at(os.getpid())
    assert 0 < cpu < 1e6 and 10 < memory < 1e5 and threads >= 1 and descriptors >= 3
    soak.draw(rows(), tmp_path / "soak.png", "title")
    assert 5_000 < (tmp_path / "soak.png").stat().st_size < 150_000


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        (soak, ["--frames", "0"], "--frames is 0, must be 1 to 100000000"),
        (soak, ["--seconds", "nan"], "--seconds is nan, must be 1 to 2592000.0"),
        (soak, ["--size", "wide"], "--size is 'wide', must be WIDTHxHEIGHT, each 1 to 8192"),
        (soak, ["--size", "640x9000"], "--size is '640x9000'"),
        (player, ["clip.mp4", "--wait-for", "-1"], "--wait-for is -1, must be 0 to 1000"),
        (player, ["clip.mp4", "--seconds", "nan"], "--seconds is nan, must be 0 to inf"),
    ],
)
def test_numbers_out_of_range_are_named_before_anything_starts(tool, arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        tool.main(arguments)
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_the_soaks_model_sees_a_robot_in_every_frame():
    stream = soak.load_small(ModelOptions()).stream()
    for i in range(3):
        result = stream.step(robot_picture(), i)
        assert result.state in (State.TRACKING, State.DEGRADED) and result["robot"].area


def test_a_part_does_not_count_what_is_inside_another_part_of_it():
    stopwatch = bench_node.Stopwatch()

    def busy(seconds):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    inner = stopwatch.timed("compose", lambda: busy(0.02))

    def process(inference, image, dropped):
        stopwatch.timed("publish", lambda: (busy(0.01), inner(), inner()))()

    image = SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=int(time.time()) - 5, nanosec=0)))
    stopwatch.timed_frame(process)(None, image, 0)
    (row,) = stopwatch.rows
    cpu = {part: times[0] for part, times in row.items()}
    assert set(cpu) == {"receive", "publish", "compose", "other"}
    # Of a busy loop's own CPU time, so that a slow machine changes nothing; clocks tick differently by some hundredths.
    assert 39 <= cpu["compose"] < 3 * cpu["publish"] + 40 and cpu["publish"] >= 9.5
    assert row["compose"][1] >= 39 and 4_000 < row["receive"][1]
    assert cpu["publish"] < cpu["compose"]
    assert "added by the node" in bench_node.table(stopwatch.rows * 3)


def test_the_camera_takes_the_time_until_the_last_mask(context, start_segmenter):
    node = start_segmenter(FakeModel(delay=0.02))
    latencies = []
    camera = MeasuringCamera(context, width=64, height=48, on_answer=latencies.append)
    try:

        def answered():
            camera.listen(0.05)
            if camera.connected and not camera.waiting:
                camera.send()
            return len(latencies) >= 3

        wait_until(answered, "answers")
    finally:
        camera.close()
    # The model takes 20 ms for an image.
    assert all(20 <= latency < 60_000 for latency in latencies) and len(MASKS) == 3
    assert node.cameras[0].inference.counters.answered >= 3


def test_bench_of_the_node_says_clearly_when_ros_is_absent(tmp_path):
    blocked = (
        "import sys; sys.modules['rclpy'] = None; from robotseg_core.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", blocked, "bench", "--node", "--frames", "20"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert ended.stderr.startswith("robotseg bench: ") and "rclpy" in ended.stderr
