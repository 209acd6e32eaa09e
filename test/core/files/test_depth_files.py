# SPDX-License-Identifier: Apache-2.0
"""Depth images of frames are found by name and read in their own unit."""

import cv2
import numpy as np
import pytest

from robotseg_core.files.depth_files import depth_of, find_depth, read_depth


def test_each_kind_comes_back(tmp_path):
    millimetres = np.array([[0, 800], [65535, 7]], np.uint16)
    metres = np.array([[np.nan, 0.8], [np.inf, 7.5]], np.float32)
    cv2.imwrite(str(tmp_path / "a.png"), millimetres)
    cv2.imwrite(str(tmp_path / "b.tiff"), metres)
    np.save(tmp_path / "c.npy", metres)
    for name, wanted in (("a", millimetres), ("b", metres), ("c", metres)):
        depth = depth_of(tmp_path, name)
        assert depth.dtype == wanted.dtype
        np.testing.assert_array_equal(depth, wanted)


def test_what_is_none_is_named(tmp_path):
    assert find_depth(tmp_path, "a") is None
    with pytest.raises(ValueError, match=r"a\.png cannot be read as a depth image"):
        depth_of(tmp_path, "a")
    cv2.imwrite(str(tmp_path / "colour.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"colour\.png is uint8 \(4, 4, 3\), must be uint16 \(mm\) or float32"):
        read_depth(tmp_path / "colour.png")
    (tmp_path / "broken.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as a depth image \(it is empty\)"):
        read_depth(tmp_path / "broken.png")
