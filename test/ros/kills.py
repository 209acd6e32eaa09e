# SPDX-License-Identifier: Apache-2.0
"""Signals in the middle of node, demo, bag, training and rendering, the real ones; ``make kills`` runs it.

Each program is killed by each signal, at moments drawn from the whole of its life.  Afterwards nothing that it has
started runs on, what lies under final names is whole, nothing of its own is left in /dev/shm (after SIGKILL: once
the next node has started), and the same command, given again, does its work.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from small_packs import small_packs
from tqdm import tqdm
from train_videos import make_videos

ROOT = Path(__file__).resolve().parents[2]
CLI = [sys.executable, "-m", "robotseg_core.cli"]
NODE = [sys.executable, "-m", "robotseg_ros.run_segmenter", "--ros-args", "-p", "autostart:=true"]
NANO = str(ROOT / "models" / "nano.safetensors")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
TO_ALL = (signal.SIGINT, signal.SIGHUP)
"""Those that a terminal sends to the whole group; the others are sent to the program alone."""
END_S, FINISH_S = 60.0, 600.0
TRAINING = """
preset: nano
save_every: 2
data: {{videos: [{videos}], photo_share: 0.0, cutout_share: 0.0}}
phases:
  - {{kind: frame, steps: 16, batch: 2, size: 64, lr: 0.001, warmup: 1}}
"""


@dataclass
class Program:
    """What is killed.

    Attributes:
        command: of it.
        whole: looks at what lies under final names; raises where something is not whole.
        done: whether it has done its work; a node has when it listens.
        runs: of a node, which runs until it is ended.
        keeps: whether it refuses to write over what it has made.
        longest: seconds that it took; moments are drawn from them.
    """

    command: list[str]
    whole: Callable[[], None] = lambda: None
    done: Callable[[str], bool] = lambda said: True
    runs: bool = False
    keeps: bool = False
    longest: float = 0.0


def programs(folder: Path) -> dict[str, Program]:
    """All of them, with small inputs of their own."""
    videos, packs = make_videos(folder / "videos"), folder / "packs"
    packs.mkdir()
    small_packs(packs)
    config = folder / "train.yaml"
    config.write_text(TRAINING.format(videos=videos))
    clip = folder / "clip.avi"
    write_clip(clip)
    write_bag(folder / "bag")
    demo, bag, run, hinted, synth = (folder / f"out_{name}" for name in ("demo", "bag", "train", "hinted", "synth"))
    exported, copied = folder / "nano.safetensors", bag / "out.mcap"
    bag.mkdir()
    small = ["--image-size", "64"]
    robots = folder / "robots"
    (robots / "arms").mkdir(parents=True)
    render = ["--procedural", "1", "--count", "4", "--frames", "3", "--size", "96", "96", "--jobs", "2"]
    train = ["train", str(config), "--out", str(run), "--export", str(exported)]
    learn = ["train-hinted", "--packs", str(packs), "--out", str(hinted), "--steps", "12", "--small", "64"]
    return {
        "node": Program(NODE, done=lambda said: "listening" in said, runs=True),
        "demo": Program(
            [sys.executable, "-m", "robotseg_ros.tools.demo", str(clip), "--out", str(demo)],
            whole=lambda: see_demo(demo),
        ),
        "bag": Program(
            [*CLI, "bag", str(folder / "bag"), "--out", str(copied), *small],
            whole=lambda: see_bag(bag, copied),
            keeps=True,
        ),
        "train": Program([*CLI, *train], whole=lambda: see_training(run, exported)),
        "train-hinted": Program([*CLI, *learn, "--weights", NANO], whole=lambda: see_hinted(hinted)),
        "synth": Program(
            [*CLI, "synth", "--robots", str(robots), *render, "--out", str(synth)], whole=lambda: see_videos(synth)
        ),
    }


def write_clip(path: Path) -> None:
    """Some seconds of the demo's clip."""
    source = cv2.VideoCapture(str(ROOT / "demo" / "clip.mp4"))
    good, frame = source.read()
    assert good
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for _ in range(40):
        writer.write(cv2.resize(frame, (320, 240)))
        good, frame = source.read()
        assert good
    writer.release()


def write_bag(folder: Path) -> None:
    """A bag of raw images."""
    import numpy as np
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    types, kind = get_typestore(Stores.ROS2_HUMBLE), "sensor_msgs/msg/Image"
    made: Any = types.types
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        camera = writer.add_connection("/cam/image_raw", kind, typestore=types)
        for i in range(150):
            stamp = made["builtin_interfaces/msg/Time"](sec=i, nanosec=0)
            image = made[kind](
                header=made["std_msgs/msg/Header"](stamp=stamp, frame_id="cam"),
                height=240,
                width=320,
                encoding="rgb8",
                is_bigendian=0,
                step=960,
                data=np.full(240 * 960, i, np.uint8),
            )
            writer.write(camera, 10**9 * i, types.serialize_cdr(image, kind))


# ------------------------------------------------------------------------------------------ what is whole
def visible(folder: Path) -> list[Path]:
    """What lies in a folder under names that are no partial ones."""
    return [p for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []


def see_demo(out: Path) -> None:
    """All that the demo writes, or nothing."""
    names = {path.name for path in visible(out)}
    if not names:
        return
    assert "summary.json" in names, f"half a demo: {sorted(names)}"
    json.loads((out / "summary.json").read_text())
    for path in visible(out):
        if path.suffix in (".png", ".jpg"):
            assert cv2.imread(str(path)) is not None, path


def see_bag(folder: Path, out: Path) -> None:
    """A bag that can be read to its end, and nothing beside it."""
    assert [path for path in visible(folder) if path != out] == []
    if out.exists():
        from mcap.reader import make_reader

        with out.open("rb") as file:
            assert sum(1 for _ in make_reader(file, validate_crcs=True).iter_messages()) == 5 * 150


def see_training(run: Path, exported: Path) -> None:
    """A state that can be gone on from; weights that can be used."""
    from robotseg_core.config import NANO
    from robotseg_core.model.robotseg_model import RobotSegModel
    from robotseg_core.weights.load import load_weights, read_pickle

    if (run / "state.pt").exists():
        assert {"net", "ema", "optimizer"} <= set(read_pickle(run / "state.pt", "cpu"))
    if exported.exists():
        load_weights(RobotSegModel(NANO), exported)
    see_pictures(run)


def see_hinted(run: Path) -> None:
    """All files of a state, of one step, or none."""
    import safetensors.torch

    if (run / "state.json").exists():
        json.loads((run / "state.json").read_text())
        for name in ("weights", "raw", "slope", "spread"):
            safetensors.torch.load_file(run / f"{name}.safetensors")
    see_pictures(run)


def see_pictures(folder: Path) -> None:
    """Curves that can be looked at."""
    for path in visible(folder):
        if path.suffix in (".png", ".jpg"):
            assert cv2.imread(str(path)) is not None, path


def see_videos(out: Path) -> None:
    """Every video that says so is whole."""
    for meta in out.glob("mask_gt/*/meta.json"):
        json.loads(meta.read_text())
        video = meta.parent.name
        for folder, suffix in ((f"image/{video}", "jpg"), (f"ids/{video}", "png"), (f"mask_gt/{video}/002", "png")):
            files = list((out / folder).glob(f"*.{suffix}"))
            assert len(files) == 3, f"{folder} has {len(files)} frames"
            assert all(cv2.imread(str(file), cv2.IMREAD_UNCHANGED) is not None for file in files)
        json.loads((out / "ids" / video / "meta.json").read_text())
    see_pictures(out)


# ------------------------------------------------------------------------------------------ killing
def state_of(pid: int) -> tuple[str, int]:
    """State and parent of a process; ("", 0) where there is none."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return words[0], int(words[1])


def below(pid: int) -> list[int]:
    """Processes below one, at any depth."""
    parents = {int(p.name): state_of(int(p.name))[1] for p in Path("/proc").iterdir() if p.name.isdigit()}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def shared_memory(pids: list[int]) -> set[str]:
    """What these processes have mapped of /dev/shm, but for what all share: ports, and those of LTTng."""
    held: set[str] = set()
    for pid in pids:
        try:
            held |= set(re.findall(r"/dev/shm/\S+", Path(f"/proc/{pid}/maps").read_text()))
        except OSError:
            continue
    return {path for path in held if "_port" not in path and "lttng" not in path}


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it does not come true.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.02)


def start(program: Program, log: Path) -> subprocess.Popen[str]:
    """Start it in a group of its own; what it says goes into a file."""
    with log.open("w") as said:
        return subprocess.Popen(
            program.command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )


def finish(program: Program, log: Path) -> float:
    """Let it do its work; returns the seconds that it took."""
    began = time.monotonic()
    process = start(program, log)
    try:
        if program.runs:
            wait_for(lambda: program.done(log.read_text()) or process.poll() is not None, FINISH_S, "the node")
            seconds = time.monotonic() - began
            process.send_signal(signal.SIGINT)
            assert process.wait(END_S) == 0, log.read_text()[-2000:]
            return seconds
        assert process.wait(FINISH_S) == 0, log.read_text()[-2000:]
        program.whole()
        return time.monotonic() - began
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def kill(program: Program, number: signal.Signals, moment: float, log: Path) -> tuple[str, set[str]]:
    """Kill it at a moment, and look at what is left; returns how it ended, in a word, and its shared memory.

    Raises:
        AssertionError: something runs on, is left, or was said that should not be.
    """
    process = start(program, log)
    children: list[int] = []
    try:
        time.sleep(moment)
        children = below(process.pid)
        held = shared_memory([process.pid, *children])
        early = process.poll() is None and not handles(process.pid)
        if process.poll() is None:
            os.killpg(process.pid, number) if number in TO_ALL else process.send_signal(number)
        wait_for(lambda: process.poll() is not None, END_S, "its end")
        wait_for(lambda: all(state_of(pid)[0] in ("", "Z") for pid in children), END_S, f"the end of {children}")
    finally:
        for pid in (process.pid, *children):
            if state_of(pid)[0] not in ("", "Z"):
                os.kill(pid, signal.SIGKILL)
        process.wait()
    said = log.read_text(errors="replace")
    program.whole()
    status = process.returncode
    if number == signal.SIGKILL:
        assert status in (0, -signal.SIGKILL), status
        return "killed", held
    left = [path for path in held if Path(path).exists()]
    if early:
        # Before its first lines have run nothing is its own yet.
        assert status in (0, 130, -number) and not left, (status, left)
        return "early", set()
    # -SIGINT, which a shell shows as 130 too, is Python's own where a signal comes while modules are read.
    assert status in (0, 130, -signal.SIGINT), f"status {status}: {said[-1500:]}"
    assert not left, f"left in shared memory: {left}"
    for word in ("Traceback", "terminate called", "Exception ignored"):
        assert word not in said, said[-3000:]
    return "done" if status == 0 and not program.runs else "in order", set()


def handles(pid: int) -> bool:
    """Whether a process handles SIGTERM itself: from its first lines on."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = int(re.findall(r"SigCgt:\s*(\w+)", status)[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def main() -> int:
    """Kill them all; the exit status is 1 when anything was left."""
    from robotseg_core.lifetime import end_in_order
    from robotseg_ros.common.processes import use_private_domain

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--times", type=int, default=2, help="kills of each program by each signal (default 2)")
    parser.add_argument("--only", nargs="*", help="programs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end_in_order()
    use_private_domain()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    draw, wrong, lines = random.Random(options.seed), 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {k: p for k, p in programs(folder).items() if not options.only or k in options.only}
        for what, program in made.items():
            log = folder / "log"
            try:
                # Twice: caches are full from the second start on, and what that takes counts.
                for _ in range(2):
                    clear(folder, what)
                    program.longest = finish(program, log)
            except AssertionError as error:
                wrong += 1
                print(f"{what} does not do its work: {error}", flush=True)
                continue
            found: dict[str, int] = {}
            for number in tqdm([n for n in SIGNALS for _ in range(options.times)], desc=what, unit="kill"):
                clear(folder, what)
                try:
                    moment = draw.uniform(0.0, 1.1 * program.longest)
                    ended, held = kill(program, number, moment, log)
                    found[ended] = found.get(ended, 0) + 1
                    if program.keeps:
                        clear(folder, what)
                    finish(program, log)
                    left = [path for path in held if Path(path).exists()]
                    assert not left, f"left in shared memory after the next start: {left}"
                except AssertionError as error:
                    wrong += 1
                    print(f"{what}, {number.name} after {moment:.2f} s: {error}", flush=True)
            listed = ", ".join(f"{count} {ended}" for ended, count in sorted(found.items()))
            lines.append(f"{what:14} {program.longest:6.1f} s a run; {len(SIGNALS) * options.times} kills: {listed}")
    print("\n".join(lines))
    print(f"{wrong} times something was left or went wrong")
    return 1 if wrong else 0


def clear(folder: Path, what: str) -> None:
    """Take away what the last run of a program has made, so that there is work again."""
    for path in (folder / f"out_{what.removeprefix('train-')}", folder / "nano.safetensors"):
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    (folder / "out_bag").mkdir(exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
