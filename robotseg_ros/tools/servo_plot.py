# SPDX-License-Identifier: Apache-2.0
"""What the visual servoing example leaves: the run in numbers, its plot, and pictures of what the camera saw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotseg_core.files.overlay import contact_sheet
from robotseg_core.geometry.camera import Camera
from robotseg_core.geometry.gripper_pose import ImagePose
from robotseg_core.geometry.servoing import Goal, half_turn
from robotseg_ros.tools.servo_scene import Shot

NEAR_M, NEAR_RAD = 0.02, math.radians(5)
"""How near the goal counts as arrived."""
LAST_S = 2.0
"""Over which time at the end the figures are taken."""


@dataclass(frozen=True)
class Step:
    """One frame of the servoing.

    Attributes:
        seconds: simulated time.
        pixels: distance of the gripper's centroid from where it is in the goal view; NaN when it is not seen.
        scale: logarithm of the square root of the area over that of the goal.
        angle: of the axis from that of the goal, radians.
        distance: of the camera from where the goal was shown, metres: the truth.
        turn: angle of the camera's rotation from that of the goal, radians: the truth.
        iou: of the gripper's mask and the truth.
    """

    seconds: float
    pixels: float
    scale: float
    angle: float
    distance: float
    turn: float
    iou: float

    @classmethod
    def of(cls, seconds: float, pose: ImagePose, goal: Goal, distance: float, turn: float, iou: float) -> Step:
        """Compare a view with the goal."""
        if not pose.present:
            return cls(seconds, math.nan, math.nan, math.nan, distance, turn, iou)
        pixels = math.dist(pose.centroid, goal.pose.centroid)
        scale = math.log(pose.area / goal.pose.area) / 2
        return cls(seconds, pixels, scale, half_turn(pose.axis_angle - goal.pose.axis_angle), distance, turn, iou)


@dataclass(frozen=True)
class Figures:
    """A run in numbers; the end is its last two seconds.

    Attributes:
        converged: whether the camera was near the goal (2 cm, 5 degrees) all the time at the end.
        arrived_s: simulated time from which on it stayed near; None when it did not.
        start_mm, end_mm: distance of the camera from the goal at the start, and on average at the end.
        start_deg, end_deg: its rotation.
        end_pixels: distance of the gripper's centroid from that of the goal view, on average at the end.
        mean_iou: of the gripper's mask with the truth, over the whole run.
        unseen: share of frames in which no gripper was seen.
    """

    converged: bool
    arrived_s: float | None
    start_mm: float
    end_mm: float
    start_deg: float
    end_deg: float
    end_pixels: float
    mean_iou: float
    unseen: float

    def table(self) -> str:
        """For the terminal."""
        arrived = "not" if self.arrived_s is None else f"after {self.arrived_s:.1f} s"
        return (
            f"near the goal     {arrived}\n"
            f"camera off by     {self.start_mm:.0f} mm, {self.start_deg:.1f} degrees at the start; "
            f"{self.end_mm:.1f} mm, {self.end_deg:.1f} degrees at the end\n"
            f"centroid off by   {self.end_pixels:.1f} pixels at the end\n"
            f"gripper's mask    mean IoU {self.mean_iou:.3f}, not seen in {100 * self.unseen:.0f} % of the frames"
        )


@dataclass(frozen=True)
class Record:
    """A run.

    Attributes:
        goal: the view that was wanted.
        camera: the calibration.
        steps: one a frame.
        pictures: caption, picture and gripper mask of some frames.
    """

    goal: Goal
    camera: Camera
    steps: list[Step]
    pictures: list[tuple[str, Shot, NDArray[np.uint8]]]

    def summary(self) -> Figures:
        """The run in numbers."""
        near = [step.distance < NEAR_M and step.turn < NEAR_RAD for step in self.steps]
        since = len(near) - next((i for i, good in enumerate(reversed(near)) if not good), len(near))
        last = [step for step in self.steps if step.seconds > self.steps[-1].seconds - LAST_S]
        converged = len(self.steps) - since >= len(last)
        seen = [step.pixels for step in last if not math.isnan(step.pixels)]
        return Figures(
            converged=converged,
            arrived_s=self.steps[since].seconds if converged else None,
            start_mm=1e3 * self.steps[0].distance,
            end_mm=1e3 * float(np.mean([step.distance for step in last])),
            start_deg=math.degrees(self.steps[0].turn),
            end_deg=math.degrees(float(np.mean([step.turn for step in last]))),
            end_pixels=float(np.mean(seen)) if seen else math.nan,
            mean_iou=float(np.mean([step.iou for step in self.steps])),
            unseen=float(np.mean([math.isnan(step.pixels) for step in self.steps])),
        )


def write_plot(record: Record, path: Path, title: str) -> None:
    """Plot the errors over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Visual servoing, camera in the hand: {title}")
    seconds = [step.seconds for step in record.steps]
    panels = (
        ("centroid from the goal's, pixels", [("", [step.pixels for step in record.steps])]),
        (
            "errors in the image",
            [
                ("log of scale", [step.scale for step in record.steps]),
                ("axis, rad", [step.angle for step in record.steps]),
            ],
        ),
        (
            "camera from the goal (truth)",
            [
                ("distance, cm", [100 * step.distance for step in record.steps]),
                ("rotation, degrees", [math.degrees(step.turn) for step in record.steps]),
            ],
        ),
        ("IoU of the gripper's mask with the truth", [("", [step.iou for step in record.steps])]),
    )
    for axes, (label, curves) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for name, values in curves:
            axes.plot(seconds, values, label=name)
        axes.set_title(label, fontsize=10)
        axes.set_xlabel("simulated time, s", fontsize=9)
        axes.grid(alpha=0.3)
        axes.axhline(0, color="black", linewidth=0.6)
        if len(curves) > 1:
            axes.legend(fontsize=9)
    figure.savefig(path, dpi=110)


def write_pictures(record: Record, path: Path) -> None:
    """Write what the camera saw: the mask orange, the outline of the gripper's goal view white."""
    drawn = []
    for caption, shot, mask in record.pictures:
        picture = shot.rgb.copy()
        picture[mask > 0] = picture[mask > 0] // 2 + np.array([127, 70, 0], np.uint8)
        cv2.polylines(picture, [record.goal.pose.contour], True, (255, 255, 255), 2)
        drawn.append((caption, picture))
    cv2.imwrite(str(path), contact_sheet(drawn, columns=len(drawn))[..., ::-1])
