# SPDX-License-Identifier: Apache-2.0
"""robotseg report: the page says what the stream said, needs nothing from outside, and works in a browser."""

import dataclasses
import html
import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from small_models import moving_frames, small_robotseg

from robotseg_core import cli
from robotseg_core.report.charts import curves, states
from robotseg_core.report.frames import Frame, Recording
from robotseg_core.report.page import page

pytestmark = pytest.mark.usefixtures("small")

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "clip"
    path.mkdir()
    for i, frame in enumerate(moving_frames(6)):
        cv2.imwrite(str(path / f"<i>{i}.png"), frame[..., ::-1])
    (path / "<i>3.png").write_bytes(b"no image")
    return path


def picture(value=90):
    return lambda: np.full((40, 60, 3), value, np.uint8)


def frame(number, robot=0.2, score=0.9, state="TRACKING", latency=20.0, dropped=0):
    areas = {"arm": robot / 2, "gripper": robot / 2, "robot": robot}
    return Frame(f"{number:05d}", number / 10, state, areas, dict.fromkeys(areas, score), latency, dropped)


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_says_of_every_frame_what_the_stream_said(folder, tmp_path):
    out = tmp_path / "report.html"
    assert cli.main(["report", str(folder), "--out", str(out)]) == 0
    text = out.read_text()
    stream, frames = small_robotseg().stream(), data_of(text)["frames"]
    assert len(frames) == 6
    for number, rgb in enumerate(moving_frames(6)):
        if number == 3:
            assert frames[3][2:] == ["UNREADABLE", "nothing is known of the robot"]
            continue
        result = stream.step(rgb)
        assert frames[number][2] == result.state.name
        share = 100 * (result["robot"].area / (60 * 80))
        score = f"{result['robot'].score:.2f}"
        assert f"robot: {share:.1f} % of the picture, score {score}" in frames[number]
    # Names of files are text, not HTML, and nothing is asked of any network.
    assert not re.search(r"<i>\d", text) and frames[0][0] == "frame 0, <i>0"
    assert not re.search(r"https?:|//[a-z]+\.|url\(|@import", text.replace("data:", ""))


def test_names_of_the_worst_frames_are_text():
    recording = Recording("a", 10)
    for i in range(10):
        named = dataclasses.replace(frame(i, score=0.11 if i == 4 else 0.9), name=f"<i>{i}")
        recording.add(named, picture(i))
    text = page(recording)
    assert "<i>4" not in text and html.escape("<i>4") in text


def test_the_worst_frames_are_found_each_with_its_reasons():
    recording = Recording("a", 100)
    for i in range(100):
        kinds = {40: frame(i, score=0.11), 60: frame(i, robot=0.05), 70: frame(i, latency=900.0, dropped=4)}
        kinds |= {80: Frame("00080", 8.0, "FAULT")}
        recording.add(kinds.get(i, frame(i)), picture(i))
    why = {shown.number: shown.why for shown in recording.worst}
    assert "low score, 0.11" in why[40]
    assert "shrinks by 75% in one frame" in why[60] and "grows by 75%" in why[61]
    assert "slow, 900 ms" in why[70] and "4 frames lost before it" in why[70]
    assert why[80] == "nothing known: FAULT"
    assert len(recording.worst) < 30 and len(recording.strip) == 100
    text = page(recording)
    assert "frames lost</span>" in text and "<b>4</b>" in text


def test_a_long_recording_keeps_few_pictures_and_short_curves():
    recording, asked = Recording("long", 20_000), []

    def one():
        asked.append(1)
        return np.zeros((8, 8, 3), np.uint8)

    for i in range(20_000):
        recording.add(frame(i, latency=5.0 if i != 12_345 else 50.0), one)
    assert len(recording.strip) <= 120 and len(asked) < 1000
    chart = curves("latency", {"latency": [f.latency_ms for f in recording.frames]})
    # The one slow frame is on the curve, though it has a point for every twenty frames only.
    assert len(chart) < 40_000 and len(set(re.findall(r",([\d.]+)", chart))) == 2


def test_what_is_not_known_breaks_a_curve_and_runs_of_states_are_one_bar():
    chart = curves("score", {"robot": [0.5, 0.5, None, 0.5, 0.5]})
    assert chart.count("<polyline") == 2
    strip = states(["SEARCHING"] * 5 + ["TRACKING"] * 3, [0, 0, 0, 0, 0, 0, 2, 0])
    assert strip.count('class="state"') == 2 and "frames 5 to 7" in strip and "2 frames lost before frame 6" in strip


def test_nothing_is_overwritten_and_bad_input_is_one_line(folder, tmp_path, capsys):
    out = tmp_path / "r.html"
    out.write_text("mine")
    for words, *arguments in (
        ("exists; it is not overwritten", folder, "--out", out),
        ("no folder to write", folder, "--out", tmp_path / "no" / "r.html"),
        ("does not exist", tmp_path / "absent.mp4", "--out", tmp_path / "n.html"),
        ("are for bags", folder, "--camera", "/x", "--out", tmp_path / "n.html"),
        ("no ROS 2 bag", _bad_bag(tmp_path), "--out", tmp_path / "n.html"),
    ):
        assert cli.main(["report", *map(str, arguments)]) == 2, words
        said = capsys.readouterr().err
        assert words in said and len(said.splitlines()) == 1, said
    assert out.read_text() == "mine" and not (tmp_path / "n.html").exists()
    with pytest.raises(ValueError, match="has no frames"):
        page(Recording("nothing", 0))


def _bad_bag(tmp_path):
    path = tmp_path / "bag"
    path.mkdir()
    (path / "metadata.yaml").write_text("rosbag2_bagfile_information: 1\n")
    return path


@pytest.mark.skipif(not BROWSER, reason="no Chromium here (Debian: apt install chromium)")
def test_the_page_works_in_a_browser(tmp_path):
    recording = Recording("a & b", 30)
    for i in range(30):
        recording.add(frame(i, state="LOST" if i > 20 else "TRACKING"), picture(i))
    out = tmp_path / "r.html"
    out.write_text(page(recording))
    shown = shown_by_browser(out, tmp_path)
    # The script ran to its end, put the first picture up and wrote what its frame says.
    assert 'data-ready="1"' in shown and 'data-frame="0"' in shown
    first = data_of(page(recording))["pictures"][0]
    assert f'id="frame" alt="frame with masks" src="data:image/jpeg;base64,{first}"' in shown
    assert "frame 0, 00000" in shown and "robot: 20.0 % of the picture, score 0.90" in shown
    assert shown.count('class="cursor"') == shown.count('transform="translate(') == 4


@pytest.mark.skipif(not BROWSER, reason="no Chromium here (Debian: apt install chromium)")
def test_a_click_on_a_bad_frame_shows_that_frame_also_between_pictures_of_the_course(tmp_path):
    # A picture of the course for every fifth frame only.
    recording = Recording("a", 600)
    for i in range(30):
        recording.add(frame(i, score=0.1 if i == 12 else 0.9), picture(3 * i))
    text = page(recording)
    assert 12 not in data_of(text)["strip"]
    out = tmp_path / "r.html"
    click = """document.querySelector("figure[data-frame='12']").click()"""
    out.write_text(text.replace("</body>", f"<script>{click}</script></body>"))
    shown = shown_by_browser(out, tmp_path)
    (own,) = re.findall(r'data-frame="12"><img src="(data:image/jpeg;base64,[^"]+)"', text)
    assert f'id="frame" alt="frame with masks" src="{own}"' in shown and "picture of frame 12<" in shown


def shown_by_browser(file, tmp_path):
    """The page as Chromium has it once its scripts have run."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=3000"]
    command = [BROWSER, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{file}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
