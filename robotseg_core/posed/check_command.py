# SPDX-License-Identifier: Apache-2.0
"""``robotseg check-extrinsics``: does the pose of a camera agree with what it sees of the robot?"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from robotseg_core.files.mask_files import write_png
from robotseg_core.files.overlay import contact_sheet
from robotseg_core.option_limits import check_option
from robotseg_core.posed.check import STEPS, Check, PosedFrame, check_camera
from robotseg_core.posed.fit import moved
from robotseg_core.posed.inputs import BODY_TO_OPTICAL, quaternion
from robotseg_core.posed.recording import (
    Recording,
    SeenFrame,
    add_recording_arguments,
    add_robot_arguments,
    load_robot,
    most_in_memory,
    open_recording,
    spread_frames,
)
from robotseg_core.posed.robot import Pose, PosedRobot
from robotseg_core.posed.silhouette import SilhouetteRenderer
from robotseg_core.storage.documents import read_json
from robotseg_core.storage.whole import write_whole

REPORT = "extrinsics.json"
GIVEN, REFINED, SEEN = (255, 60, 60), (60, 230, 90), (70, 130, 255)
"""RGB of both silhouettes' edges and of the mask."""
MOST_CM, MOST_DEGREES = 1000.0, 180.0
"""Of tolerances, and of what a robot is moved by on purpose."""
STATUS = {"good": 0, "off": 3, "unknown": 4}
"""Exit status of each verdict; of several cameras the highest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``robotseg check-extrinsics``."""
    parser.add_argument("cameras", nargs="+", type=Path, metavar="FOLDER", help="of each camera, with its files")
    parser.add_argument("--out", required=True, type=Path, help=f"folder for {REPORT} and pictures")
    parser.add_argument("--overwrite", action="store_true", help="replace what OUT has of an earlier check")
    add_robot_arguments(parser)
    parser.add_argument("--ignore-links", help="with all below them, they do not count: a,b,...")
    parser.add_argument("--tolerance", type=float, default=1.0, help="a pose that is off by less is good, cm (1)")
    parser.add_argument("--tolerance-deg", type=float, default=1.0, help="the same, degrees (1)")
    parser.add_argument(
        "--disturb",
        type=float,
        nargs=6,
        metavar=("X", "Y", "Z", "RX", "RY", "RZ"),
        help="first move the robot in the camera's frame, cm and degrees: to see whether the error is found",
    )
    add_recording_arguments(parser, posed=True)


def run(arguments: argparse.Namespace) -> int:
    """Check each camera; the exit status is 0 good, 3 off, 4 unknown."""
    check_option("--tolerance", arguments.tolerance, 0, MOST_CM)
    check_option("--tolerance-deg", arguments.tolerance_deg, 0, MOST_DEGREES)
    for number, most in zip(arguments.disturb or (), [MOST_CM] * 3 + [MOST_DEGREES] * 3, strict=False):
        check_option("--disturb", number, -most, most)
    if not (arguments.tolerance > 0 and arguments.tolerance_deg > 0):
        raise ValueError(f"tolerances are {arguments.tolerance} and {arguments.tolerance_deg}, must be above 0")
    out: Path = arguments.out
    if (out / REPORT).exists() and not arguments.overwrite:
        raise FileExistsError(f"{out / REPORT} exists; give another --out, or --overwrite to replace it")
    names = [folder.resolve().name for folder in arguments.cameras]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two folders are called {twice[0]}: their pictures would overwrite each other")
    for folder, name in zip(arguments.cameras, names, strict=True):
        if not (out / name).exists():
            continue
        if (out / name).samefile(folder):
            raise ValueError(f"--out {out} would put pictures among the files of {folder}; give another --out")
        # Only next to a report of ours are pictures of that name ours.
        if not (out / REPORT).exists():
            raise FileExistsError(f"{out / name} exists, and pictures would be mixed with it: give another --out")
    robot = load_robot(arguments)
    recordings = [open_recording(folder, arguments, robot) for folder in arguments.cameras]
    links = tuple(n.strip() for n in arguments.ignore_links.split(",")) if arguments.ignore_links else ()
    ignored = robot.below(links) if links else None
    report: dict[str, Any] = {}
    status = 0
    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    for recording in recordings:
        check = _check(robot, recording, ignored, arguments, out)
        report[recording.name] = described(check)
        print(said(recording.name, check))
        status = max(status, STATUS[check.verdict])
    write_whole(out / REPORT, (json.dumps(report, indent=1) + "\n").encode())
    print(f"report and pictures -> {out}")
    return status


def _clear(out: Path) -> None:
    """Remove an earlier report, and the pictures that it tells of: those of two checks are not mixed."""
    if not (out / REPORT).exists():
        return
    try:
        said = read_json(out / REPORT)
        pictures = [Path(name) / f"{frame['name']}.png" for name, camera in said.items() for frame in camera["frames"]]
    except (ValueError, LookupError, TypeError, AttributeError):
        pictures = []
    (out / REPORT).unlink()
    for picture in pictures:
        if len(picture.parts) == 2 and ".." not in picture.parts:
            (out / picture).unlink(missing_ok=True)


def _check(
    robot: PosedRobot,
    recording: Recording,
    ignored: NDArray[np.bool_] | None,
    arguments: argparse.Namespace,
    out: Path,
) -> Check:
    assert recording.pose is not None
    pose = recording.pose
    if arguments.disturb is not None:
        pose = moved(pose, np.array(arguments.disturb) * np.array([0.01] * 3 + [math.pi / 180] * 3))
    seen, left_out = spread_frames(recording, most_in_memory(recording.camera), posed=True)
    if left_out:
        print(f"{recording.name}: {len(seen)} frames are looked at, {left_out} left out: memory", file=sys.stderr)
    frames = [PosedFrame(f.name, f.positions, f.mask) for f in seen if f.positions is not None]
    with tqdm(total=STEPS, desc=f"{recording.name}: search", unit="step") as bar:
        check = check_camera(
            robot,
            recording.camera,
            pose,
            frames,
            ignored=ignored,
            tolerance_m=arguments.tolerance / 100,
            tolerance_deg=arguments.tolerance_deg,
            progress=bar.update,
        )
    _pictures(robot, recording, seen, check, out)
    return check


def _pictures(robot: PosedRobot, recording: Recording, seen: list[SeenFrame], check: Check, out: Path) -> None:
    folder = out / recording.name
    folder.mkdir(parents=True, exist_ok=True)
    renderer = SilhouetteRenderer(robot, recording.camera)
    sheet = []
    for i, frame in enumerate(tqdm(seen, desc=f"{recording.name}: pictures", unit="frame")):
        assert frame.positions is not None
        drawn = frame.rgb.copy()
        tint = drawn[frame.mask] * 0.6 + np.array(SEEN) * 0.4
        drawn[frame.mask] = tint.astype(np.uint8)
        for pose, colour in ((check.given, GIVEN), (check.fit.pose, REFINED)):
            mask = renderer.silhouette(frame.positions, pose).mask.astype(np.uint8)
            lines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(drawn, lines, -1, colour, max(1, drawn.shape[1] // 640))
        write_png(folder / f"{frame.name}.png", drawn[..., ::-1])
        before, after = check.before[i], check.after[i]
        sheet.append((f"{frame.name} edge {before.edge_px:.1f} px, refined {after.edge_px:.1f}", drawn))
    renderer.close()
    write_png(out / f"{recording.name}_contact_sheet.png", contact_sheet(sheet, columns=3, width=480)[..., ::-1])


def described(check: Check) -> dict[str, Any]:
    """A check as plain JSON; what is not known is null."""
    fit = check.fit
    content = {
        "verdict": check.verdict,
        "why": check.why,
        "off_cm": 100 * check.off_m,
        "off_degrees": check.off_deg,
        "spread_cm": 100 * fit.spread_m,
        "spread_degrees": fit.spread_deg,
        "matched": fit.matched,
        "frames_used": fit.frames,
        "given": check.given.tolist(),
        "refined": fit.pose.tolist(),
        "refined_xyz_qxyzw": [*fit.pose[:3, 3].tolist(), *quaternion(fit.pose[:3, :3])],
        "refined_body_xyz_qxyzw": _seven(fit.pose @ np.linalg.inv(BODY_TO_OPTICAL)),
        "frames": [
            {"name": b.name, "given": _scores(b), "refined": _scores(a)}
            for b, a in zip(check.before, check.after, strict=True)
        ],
    }
    return {key: _plain(value) for key, value in content.items()}


def _seven(pose: Pose) -> list[float]:
    return [*pose[:3, 3].tolist(), *quaternion(pose[:3, :3])]


def _scores(agreement: Any) -> dict[str, float]:
    return {key: value for key, value in asdict(agreement).items() if key != "name"}


def _plain(value: Any) -> Any:
    """NaN is no JSON."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def said(name: str, check: Check) -> str:
    """A check in a few lines for people."""
    fit = check.fit
    lines = [f"{name}: {check.verdict}: {check.why}"]
    rows = list(zip(check.before, check.after, strict=True))
    for title, pick in (("given", 0), ("refined", 1)):
        iou, covered, edge = (
            np.nanmedian([getattr(row[pick], key) for row in rows]) for key in ("iou", "covered", "edge_px")
        )
        lines.append(
            f"  {title:8} IoU {iou:.3f}, silhouette covered {covered:.3f}, edges {edge:.1f} px apart (medians)"
        )
    numbers = " ".join(f"{v:.4f}" for v in _seven(fit.pose))
    lines.append(f"  refined, optical frame in the base link, x y z qx qy qz qw: {numbers}")
    lines.append(
        f"  from {fit.frames} frames, {fit.matched:.0%} of the edges; leaving one out moves it by "
        f"{100 * fit.spread_m:.2f} cm, {fit.spread_deg:.2f} degrees (standard deviation)"
    )
    return "\n".join(lines)
