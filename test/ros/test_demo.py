# SPDX-License-Identifier: Apache-2.0
"""The demo: real processes over DDS, a tiny clip, the fake model behind the real executable's main."""

import json
import sys
from pathlib import Path

import cv2
import pytest
from fake_model import robot_picture

from robotseg_core.frames import InputError
from robotseg_ros.demo import DemoError, DemoOptions, main, run_demo

ROOT = Path(__file__).resolve().parents[2]
FAKE = (sys.executable, str(Path(__file__).with_name("fake_segmenter.py")))
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
    assert 1 <= video.get(cv2.CAP_PROP_FRAME_COUNT) <= FRAMES


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


@pytest.fixture
def needs_weights():
    if not (ROOT / "models" / "nano.safetensors").is_file():
        pytest.skip("models/nano.safetensors is not there: the real model has nothing to run with")


@pytest.mark.real_model
def test_shipped_clip_through_the_real_model(needs_weights, tmp_path, domain_id):
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
def test_real_clips_through_the_real_model(needs_weights, name, tmp_path, domain_id):
    if not (CLIPS / name).is_dir():
        pytest.skip(f"../shared/clips/frames/{name} is not beside this checkout")
    out = tmp_path / "out"
    run_demo(DemoOptions(input=str(CLIPS / name), out=out))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_in"] == len(list((CLIPS / name).glob("*.jpg")))
    assert summary["masks_out"] > 0
    assert {file.name for file in out.iterdir()} == RESULTS
