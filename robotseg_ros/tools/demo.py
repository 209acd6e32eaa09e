# SPDX-License-Identifier: Apache-2.0
"""Play a clip through the node, as two processes that talk over DDS, and leave figures and pictures of it."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from robotseg_core.files.frames import IMAGE_SUFFIXES, InputError, open_frames
from robotseg_core.lifetime import end_in_order, uninterrupted
from robotseg_ros.common import processes
from robotseg_ros.common.allocator import keep_image_memory
from robotseg_ros.common.shipped import config_file
from robotseg_ros.tools.player import Played

CAMERA = "/camera/image_raw"
SEGMENTER = (sys.executable, "-m", "robotseg_ros.run_segmenter")
VIEWER = (sys.executable, "-m", "robotseg_ros.run_node", "viewer", "--ros-args", "-p", f"camera:={CAMERA}")
LOOK_TIMEOUT_S = 60.0
"""How long the clip waits for somebody to look at the camera in Foxglove."""
START_TIMEOUT_S = 180.0
"""How long the node may load its model."""
PLAY_MARGIN_S = 90.0
"""How much longer than the clip itself playing it may take."""
ANSWERS_TIMEOUT_S = 30.0
"""How long the node may work on the last images after the player has ended."""
QUIET_S = 2.0
"""After the player has ended, no message for this time means that all answers are here."""
PICTURES = ".pictures-"
"""Begin of the name of the folder, in the results', for the pictures of a run that goes on."""
RESULTS = ("summary.json", "overlay.mp4", "contact_sheet.png")
CAMERA_SECONDS = 20.0
"""How long a camera is played, which has no end of its own."""


class DemoError(RuntimeError):
    """The demo did not show what it is to show; the message says why."""


@dataclass(frozen=True)
class DemoOptions:
    """What to play and where to leave the results.

    Attributes:
        input: video file, folder of images or ``/dev/videoN``.
        out: folder for summary.json, overlay.mp4 and contact_sheet.png; made if absent.
        device: that the model runs on: auto, cpu or cuda.
        segmenter: command that runs the node.
        viewer: command that serves everything to Foxglove; None: nothing is served.
    """

    input: str
    out: Path
    device: str = "auto"
    segmenter: tuple[str, ...] = SEGMENTER
    viewer: tuple[str, ...] | None = None


def run_demo(options: DemoOptions) -> str:
    """Run the demo to its end.

    Returns:
        The figures as a table.

    Raises:
        InputError: the input cannot be played.
        DemoError: a process died or hung, or no mask arrived.
    """
    source = look_at(options.input)
    options.out.mkdir(parents=True, exist_ok=True)
    processes.use_private_domain()
    keep_image_memory()

    player = [sys.executable, "-m", "robotseg_ros.tools.player", options.input, "--topic", CAMERA]
    if source.live:
        player += ["--seconds", str(CAMERA_SECONDS)]
    segmenter = [*options.segmenter, "--ros-args", "--params-file", str(config_file("robotseg.yaml"))]
    # Without max_age: late answers are to be in the figures, too.
    for parameter in (f"camera:={CAMERA}", f"device:={options.device}", "max_age:=0.0", "autostart:=true"):
        segmenter += ["-p", parameter]
    clear_leftovers(options.out)
    with TemporaryDirectory(prefix=f"{PICTURES}{os.getpid()}-", dir=options.out) as folder:
        return _record(options, source, Path(folder), segmenter, player)


def clear_leftovers(out: Path) -> None:
    """Remove the pictures of runs that were killed: those of processes that are no more."""
    for folder in out.glob(f"{PICTURES}*"):
        owner = folder.name.removeprefix(PICTURES).partition("-")[0]
        if not (owner.isdigit() and Path(f"/proc/{owner}").exists()):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Source:
    """What is known of the input before it is played: its length in seconds, inf when not known; if it is a camera."""

    seconds: float
    live: bool


def look_at(path: str) -> Source:
    """Open the input, to fail before anything is started, and close it again: a camera can be open only once.

    Raises:
        InputError: the input cannot be played.
    """
    source = open_frames(path)
    if isinstance(source.frames, Generator):
        # A generator that has not been started is closed without running what closes the camera.
        next(source.frames)
        source.frames.close()
    if source.live:
        return Source(CAMERA_SECONDS, live=True)
    # Some containers do not say how many frames they hold.
    is_video = Path(path).is_file() and Path(path).suffix.lower() not in IMAGE_SUFFIXES
    if source.count is None or (source.count <= 1 and is_video):
        return Source(math.inf, live=False)
    return Source(source.count / source.rate_hz, live=False)


def _record(
    options: DemoOptions, source: Source, folder: Path, segmenter_command: list[str], player_command: list[str]
) -> str:
    # Only now: profile and allocator must be set before rclpy is loaded.
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from robotseg_ros.common.executor import SteadyExecutor
    from robotseg_ros.tools.demo_report import summarise, write_contact_sheet, write_summary, write_video
    from robotseg_ros.tools.recorder import PictureFolder, Recorder

    for name in RESULTS:
        (options.out / name).unlink(missing_ok=True)
    segmenter: subprocess.Popen[str] | None = None
    player: subprocess.Popen[str] | None = None
    viewer: subprocess.Popen[str] | None = None
    pictures = PictureFolder(folder)
    try:
        with uninterrupted():
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
            node = rclpy.create_node("recorder")
            recorder = Recorder(node, pictures)
            executor = SteadyExecutor()
            executor.add_node(node)

        def spin_until(condition: Callable[[], bool], what: str, timeout: float) -> None:
            deadline = time.monotonic() + timeout
            while True:
                with uninterrupted():
                    if condition():
                        return
                    if segmenter is not None and processes.ended(segmenter):
                        raise DemoError(f"the node ended with status {segmenter.returncode} while waiting for {what}")
                    if viewer is not None and processes.ended(viewer):
                        raise DemoError(f"the viewer ended with status {viewer.returncode} while waiting for {what}")
                    if time.monotonic() > deadline:
                        raise DemoError(f"{what}: not within {timeout:.0f} s")
                    executor.spin_once(timeout_sec=0.05)

        print("starting the node", flush=True)
        with uninterrupted():
            segmenter = processes.start(segmenter_command)
        spin_until(lambda: node.count_subscribers(CAMERA) > 0, "the node listening to the camera", START_TIMEOUT_S)
        if options.viewer is not None:
            with uninterrupted():
                viewer = processes.start(options.viewer)
            print(f"waiting up to {LOOK_TIMEOUT_S:.0f} s for Foxglove to look at {CAMERA}", flush=True)
            deadline = time.monotonic() + LOOK_TIMEOUT_S
            # The viewer listens to the camera when somebody looks at it. Nobody has to.
            spin_until(
                lambda: node.count_subscribers(CAMERA) > 1 or time.monotonic() > deadline, "somebody to look", math.inf
            )
        length = f"{source.seconds:.1f} s" if math.isfinite(source.seconds) else "length not known"
        print(f"playing {options.input} ({length})", flush=True)
        # For all who listen: with one alone, the clip could begin when the viewer hears it and the node not yet.
        listeners = str(node.count_subscribers(CAMERA))
        player_command = [*player_command, "--wait-for", listeners, "--stamps", str(folder / "stamps")]
        with uninterrupted():
            player = processes.start(player_command, stdout=subprocess.PIPE)
        spin_until(lambda: processes.ended(player), "the end of the clip", source.seconds + PLAY_MARGIN_S)
        played = _played(player)
        recorder.last_heard = time.monotonic()
        spin_until(lambda: time.monotonic() - recorder.last_heard > QUIET_S, "the last answers", ANSWERS_TIMEOUT_S)
        pictures.close()
        if pictures.failed:
            print(f"demo: {pictures.failed} pictures could not be written", file=sys.stderr)
        if not recorder.answers:
            raise DemoError(f"no mask arrived for any of the {played.frames} images played")
        summary = summarise(options.input, played, recorder.answers)
        write_summary(summary, folder / "summary.json")
        stamps = [int(line) for line in (folder / "stamps").read_text().split()]
        # What a camera says its rate is need not be what it does.
        rate_hz = played.frames / played.seconds if source.live and played.seconds else played.rate_hz
        write_video(pictures, stamps, folder / "overlay.mp4", rate_hz)
        write_contact_sheet(pictures, stamps, folder / "contact_sheet.png")
        # Whole, or not there at all.
        for name in RESULTS:
            (folder / name).replace(options.out / name)
        return summary.table()
    except ValueError as error:
        raise DemoError(str(error)) from error
    finally:
        with uninterrupted():
            for process in (player, viewer, segmenter):
                if process is not None:
                    processes.stop(process)
            pictures.close()
            rclpy.try_shutdown()


def _played(player: subprocess.Popen[str]) -> Played:
    output, _ = player.communicate()
    lines = output.strip().splitlines()
    if player.returncode != 0 or not lines:
        raise DemoError(f"the player ended with status {player.returncode}")
    return Played(**json.loads(lines[-1]))


def main(arguments: list[str] | None = None) -> int:
    """Command line of the demo.

    Returns:
        Exit status: 0, or 1 when masks were not seen to come.
    """
    parser = argparse.ArgumentParser(prog="python -m robotseg_ros.tools.demo", description=__doc__)
    parser.add_argument("input", help="video file, folder of images or /dev/videoN")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the results")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--view", action="store_true", help="serve camera, overlay and masks to Foxglove")
    options = parser.parse_args(arguments)
    end_in_order()
    try:
        viewer = VIEWER if options.view else None
        table = run_demo(DemoOptions(input=options.input, out=options.out, device=options.device, viewer=viewer))
    except (InputError, DemoError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(table)
    for name in RESULTS:
        print(f"  {options.out / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
