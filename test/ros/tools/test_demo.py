# SPDX-License-Identifier: Apache-2.0
"""The demo: real processes over DDS, a tiny clip, the fake model behind the real executable's main."""

import json
import math
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_model import robot_picture
from patience import PATIENCE_S

from robotseg_core.files.frames import FOLDER_RATE_HZ, InputError, open_frames
from robotseg_core.files.overlay import contact_sheet
from robotseg_ros.common import processes
from robotseg_ros.tools import demo, demo_report
from robotseg_ros.tools.demo import DemoError, DemoOptions, main, run_demo
from robotseg_ros.tools.demo_report import write_contact_sheet, write_video
from robotseg_ros.tools.recorder import PictureFolder

ROOT = Path(__file__).resolve().parents[3]
FAKE = (sys.executable, str(Path(__file__).parents[1] / "fake_segmenter.py"))
RESULTS = {"summary.json", "overlay.mp4", "contact_sheet.png"}
FRAMES = 15


@pytest.fixture
def clip(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(FRAMES):
        picture = robot_picture(shift=2 * number)
        cv2.imwrite(str(folder / f"{number:03}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return folder


def test_demo_leaves_figures_and_pictures(clip, tmp_path, domain_id):
    out = tmp_path / "out"
    table = run_demo(DemoOptions(input=str(clip), out=out, segmenter=FAKE))
    assert {file.name for file in out.iterdir()} == RESULTS
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_in"] == FRAMES
    assert 1 <= summary["masks_out"] <= FRAMES
    assert summary["masks_out"] + summary["dropped"] + summary["lost"] == FRAMES
    assert 0 < summary["latency_ms_p50"] <= summary["latency_ms_p95"] <= summary["latency_ms_max"]
    assert (summary["device"], summary["backend"], summary["preset"]) == ("cpu", "fake", "nano")
    assert summary["states"] == {"TRACKING": summary["masks_out"]}
    assert summary["present"] == {"arm": 1.0, "gripper": 1.0, "robot": 1.0}
    for words in ("frames in    15", "masks out", "dropped", "latency p95", "encoder on fake"):
        assert words in table
    sheet = cv2.imread(str(out / "contact_sheet.png"))
    assert sheet.shape[1] == 4 * 320
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(FOLDER_RATE_HZ)


def test_demo_serves_its_pictures_to_who_looks_at_them(clip, tmp_path, domain_id, monkeypatch):
    """The viewer's part is played by a process that listens to the camera as somebody looks, and ends on SIGINT."""
    looking = (
        "import rclpy; from sensor_msgs.msg import Image; rclpy.init(); node = rclpy.create_node('viewer'); "
        "import pathlib, sys; seen = pathlib.Path(sys.argv[1]); "
        "qos = rclpy.qos.qos_profile_sensor_data; "
        "node.create_subscription(Image, '/camera/image_raw', lambda image: seen.touch(), qos)\n"
        # Not spin(): SIGTERM need not wake it.
        "try:\n    while rclpy.ok(): rclpy.spin_once(node, timeout_sec=0.2)\n"
        "except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException): pass\n"
        "pathlib.Path(sys.argv[2]).touch()"
    )
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", PATIENCE_S)
    viewer = (sys.executable, "-c", looking, str(tmp_path / "seen"), str(tmp_path / "ended"))
    run_demo(DemoOptions(input=str(clip), out=tmp_path / "out", segmenter=FAKE, viewer=viewer))
    assert (tmp_path / "seen").exists() and (tmp_path / "ended").exists()


def test_demo_says_that_the_viewer_died(clip, tmp_path, domain_id):
    dying = (sys.executable, "-c", "raise SystemExit(4)")
    with pytest.raises(DemoError, match="the viewer ended with status 4"):
        run_demo(DemoOptions(input=str(clip), out=tmp_path / "out", segmenter=FAKE, viewer=dying))


def test_settings_of_the_users_ros_do_not_reach_the_demo(clip, tmp_path, domain_id, monkeypatch):
    monkeypatch.setenv("ROS_NAMESPACE", "/elsewhere")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_that_is_not_installed")
    monkeypatch.setattr(demo, "_record", lambda *_: dict(os.environ))
    environment = run_demo(DemoOptions(input=str(clip), out=tmp_path / "out"))
    assert not {"ROS_NAMESPACE", "RMW_IMPLEMENTATION"} & set(environment)
    assert environment["ROS_DOMAIN_ID"] == str(domain_id)


class FakeCamera:
    """A cv2.VideoCapture of a camera that, as the kernel's are, can be open only once."""

    holders = 0

    def __init__(self, device):
        self.mine = FakeCamera.holders == 0
        FakeCamera.holders += self.mine

    def read(self):
        return self.mine, np.zeros((48, 64, 3), np.uint8)

    def get(self, what):
        return 30.0

    def release(self):
        FakeCamera.holders -= self.mine
        self.mine = False


def test_camera_is_free_for_the_player(tmp_path, domain_id, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    players = []

    def record(options, source, folder, segmenter, player):
        players.append((source, player, FakeCamera.holders, open_frames(options.input)))
        return "played"

    monkeypatch.setattr(demo, "_record", record)
    assert run_demo(DemoOptions(input="/dev/video0", out=tmp_path / "out")) == "played"
    ((source, player, holders, frames),) = players
    assert (source.live, source.seconds, holders) == (True, demo.CAMERA_SECONDS, 0)
    assert player[-2:] == ["--seconds", str(demo.CAMERA_SECONDS)]
    next(frames.frames)
    with pytest.raises(InputError, match="cannot be read as a camera"):
        open_frames("/dev/video0")
    frames.frames.close()
    assert FakeCamera.holders == 0


@pytest.mark.parametrize(("count", "seconds"), [(0, math.inf), (1, math.inf), (90, 3.0)])
def test_video_that_does_not_say_its_length_has_no_time_out(tmp_path, monkeypatch, count, seconds):
    class FakeVideo(FakeCamera):
        def get(self, what):
            return float(count) if what == cv2.CAP_PROP_FRAME_COUNT else 30.0

    monkeypatch.setattr(cv2, "VideoCapture", FakeVideo)
    (tmp_path / "clip.mkv").touch()
    assert demo.look_at(str(tmp_path / "clip.mkv")) == demo.Source(seconds, live=False)


def test_length_of_a_folder_and_of_an_image_is_known(clip):
    assert demo.look_at(str(clip)).seconds == FRAMES / FOLDER_RATE_HZ
    assert demo.look_at(str(clip / "000.png")).seconds == 1 / FOLDER_RATE_HZ


@pytest.fixture
def gappy(tmp_path):
    """Pictures of frames 2, 3 and 8 of ten, each of its own grey, the last of another size."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    pictures = PictureFolder(folder)
    stamps = [1_700_000_000_000_000_000 + 33_000_000 * number for number in range(10)]
    for number in (2, 3, 8):
        side = 32 if number == 8 else 64
        pictures.put(stamps[number], np.full((side, side, 3), 20 * number, np.uint8))
    pictures.close()
    return pictures, stamps


def test_video_of_the_demo_keeps_the_time_of_the_clip(gappy, tmp_path):
    write_video(*gappy, tmp_path / "overlay.mp4", 30.0)
    video = cv2.VideoCapture(str(tmp_path / "overlay.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(30.0)
    greys = []
    while (read := video.read())[0]:
        assert read[1].shape == (64, 64, 3)
        greys.append(read[1].mean())
    assert greys == pytest.approx([0, 0, 40, 60, 60, 60, 60, 60, 160, 160], abs=4)


def test_captions_of_the_contact_sheet_are_frame_numbers(gappy, tmp_path, monkeypatch):
    captions = []
    monkeypatch.setattr(
        demo_report, "contact_sheet", lambda pictures: captions.extend(pictures) or contact_sheet(pictures)
    )
    write_contact_sheet(*gappy, tmp_path / "sheet.png")
    assert [(caption, round(picture.mean())) for caption, picture in captions] == [("2", 40), ("3", 60), ("8", 160)]
    assert (tmp_path / "sheet.png").is_file()


def test_no_picture_at_all_is_said(tmp_path):
    pictures = PictureFolder(tmp_path)
    pictures.close()
    with pytest.raises(ValueError, match="for any of the 3 images played"):
        write_video(pictures, [1, 2, 3], tmp_path / "overlay.mp4", 30.0)
    with pytest.raises(ValueError, match="at least one picture"):
        write_contact_sheet(pictures, [1, 2, 3], tmp_path / "sheet.png")


def test_demo_says_that_the_node_died(clip, tmp_path, domain_id):
    dying = (sys.executable, "-c", "raise SystemExit(3)")
    with pytest.raises(DemoError, match="the node ended with status 3"):
        run_demo(DemoOptions(input=str(clip), out=tmp_path / "out", segmenter=dying))


def test_demo_says_that_no_mask_arrived(clip, tmp_path, domain_id):
    """A node that listens to the camera and never answers."""
    deaf = (
        "import rclpy; from sensor_msgs.msg import Image; rclpy.init(); node = rclpy.create_node('deaf'); "
        "qos = rclpy.qos.qos_profile_sensor_data; "
        "node.create_subscription(Image, '/camera/image_raw', lambda image: None, qos); rclpy.spin(node)"
    )
    with pytest.raises(DemoError, match="no mask arrived for any of the 15 images played"):
        run_demo(DemoOptions(input=str(clip), out=tmp_path / "out", segmenter=(sys.executable, "-c", deaf)))


def test_demo_says_that_the_input_is_not_there(tmp_path, domain_id, capsys):
    assert main([str(tmp_path / "absent.mp4"), "--out", str(tmp_path / "out")]) == 1
    assert "absent.mp4 does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError):
        run_demo(DemoOptions(input=str(tmp_path), out=tmp_path / "out"))


CLIPS = ROOT.parent / "shared" / "clips" / "frames"
CLIP_NAMES = ("fanuc_edgetam", "so100_lerobot", "ur5_umi", "franka_roboengine", "neg_doughkneading")


@pytest.mark.real_model
def test_shipped_clip_through_the_real_model(tmp_path, domain_id):
    out = tmp_path / "out"
    run_demo(DemoOptions(input=str(ROOT / "demo" / "clip.mp4"), out=out))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_in"] == 300
    assert summary["masks_out"] > 0 and summary["preset"] == "nano"
    # Neither answered nor replaced by a newer image. A busy machine loses a few.
    assert summary["lost"] <= 30
    assert summary["present"]["robot"] > 0.5


@pytest.mark.real_model
@pytest.mark.parametrize("name", CLIP_NAMES)
def test_real_clips_through_the_real_model(name, tmp_path, domain_id):
    if not (CLIPS / name).is_dir():
        pytest.skip(f"../shared/clips/frames/{name} is not beside this checkout")
    out = tmp_path / "out"
    run_demo(DemoOptions(input=str(CLIPS / name), out=out))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_in"] == len(list((CLIPS / name).glob("*.jpg")))
    assert summary["masks_out"] > 0
    assert {file.name for file in out.iterdir()} == RESULTS
