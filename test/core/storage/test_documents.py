# SPDX-License-Identifier: Apache-2.0
"""Files of others are no larger than what they may be, and what they claim costs no memory."""

import os
import resource

import numpy as np
import pytest

from robotseg_core.storage.documents import read_array, read_json, read_text, read_yaml


def test_what_is_well_is_read_as_it_is(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, "\u00e9"]}', encoding="utf-8")
    (tmp_path / "a.yaml").write_text("a: [1, 2.5, \u00e9]\n", encoding="utf-8")
    assert read_json(tmp_path / "a.json") == read_yaml(tmp_path / "a.yaml") == {"a": [1, 2.5, "\u00e9"]}
    for array in (np.arange(6, dtype=">i2").reshape(2, 3), np.zeros((0, 7)), np.float32([[1.5, np.nan]])):
        np.save(tmp_path / "a.npy", array)
        found = read_array(tmp_path / "a.npy")
        np.testing.assert_array_equal(found, array)
        # A copy: it stays what it was when the file changes.
        assert found.flags.owndata


def test_sizes_end_at_the_limit(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" + "1," * 40 + "1]")
    assert len(read_json(path, most=len(path.read_text()))) == 41
    for read in (read_json, read_yaml, read_text):
        with pytest.raises(ValueError, match="has more than 0 MiB"):
            read(path, len(path.read_text()) - 1)
    np.save(tmp_path / "a.npy", np.zeros(9))
    assert read_array(tmp_path / "a.npy", 9).size == 9
    with pytest.raises(ValueError, match="has 9 numbers, must be at most 8"):
        read_array(tmp_path / "a.npy", 8)


def npy(shape, kind="<f8"):
    def write(path):
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": kind})

    return write


@pytest.mark.parametrize(
    "write",
    [
        npy((10**12,)),
        npy((10**30,)),
        npy((-5,)),
        npy((2, 10**9), "<U1000"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"hello"),
        lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16),
        lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535),
        lambda path: np.save(path, np.array([print], object), allow_pickle=True),
        lambda path: np.save(path, np.zeros(3, [("a", "f4")])),
        lambda path: np.save(path, np.zeros(3, complex)),
        lambda path: np.save(path, np.array(["a"])),
        os.mkfifo,
    ],
)
def test_no_array_is_said_in_one_line_and_costs_nothing(tmp_path, write):
    write(tmp_path / "a.npy")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"a\.npy"):
        read_array(tmp_path / "a.npy")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("read", [read_json, read_yaml])
@pytest.mark.parametrize("content", [b"[" * 5000, b"\xff\xfe", b"{", None])
def test_no_document_is_said_in_one_line(tmp_path, read, content):
    path = tmp_path / "a.txt"
    os.mkfifo(path) if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.txt (is not|is no)"):
        read(path)


def test_yaml_makes_no_objects_and_stands_for_no_more_than_it_says(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"x: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    with pytest.raises(ValueError, match="is not YAML"):
        read_yaml(path)
    assert not (tmp_path / "made").exists()
    laughs = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    path.write_text(f"a0: &a0 [0]\n{laughs}")
    with pytest.raises(ValueError, match="line 2 has an alias: write it out"):
        read_yaml(path)
