# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from robotseg_core.files.film import SHEET, Film


def test_every_frame_is_in_the_video_and_some_on_the_sheet(tmp_path: Path) -> None:
    film = Film(tmp_path / "a.mp4", tmp_path / "a.png", 10.0, 30)
    for i in range(30):
        # One of another size is scaled to the first.
        film.add(str(i), np.full((48, 64, 3) if i != 7 else (96, 128, 3), 8 * i, np.uint8))
    film.close()
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == 30 and (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == (64, 48)
    assert len(film._pictures) == 10 <= SHEET
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert sheet is not None and sheet.max() > 200


def test_nothing_came_and_nothing_is_left(tmp_path: Path) -> None:
    Film(tmp_path / "a.mp4", tmp_path / "a.png", 10.0, 1).close()
    assert not list(tmp_path.iterdir())


def test_a_sheet_without_a_video(tmp_path: Path) -> None:
    film = Film(None, tmp_path / "a.png", 10.0, 1)
    film.add("one", np.zeros((48, 64, 3), np.uint8))
    film.close()
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_video_without_a_sheet_keeps_no_pictures(tmp_path: Path) -> None:
    film = Film(tmp_path / "a.mp4", None, 10.0, 1)
    for _ in range(3):
        film.add("", np.zeros((48, 64, 3), np.uint8))
    film.close()
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"] and not film._pictures


def test_a_sheet_has_the_columns_asked_for_and_a_line_only_for_captions(tmp_path: Path) -> None:
    film = Film(None, tmp_path / "a.png", 10.0, 3, columns=2, width=160)
    for caption in ("", "", ""):
        film.add(caption, np.full((240, 320, 3), 90, np.uint8))
    film.close()
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert sheet is not None and sheet.shape == (240, 320, 3)
    assert (sheet[:120] == 90).all() and (sheet[120:, :160] == 90).all() and not sheet[120:, 160:].any()
