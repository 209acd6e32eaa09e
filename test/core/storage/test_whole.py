# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from robotseg_core.storage.whole import LEFT_BEHIND_S, locked, replacing, write_whole


def test_what_is_written_takes_the_place_of_the_file_with_usual_rights(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    before = os.umask(0o027)
    try:
        with replacing(path) as partial:
            partial.write_bytes(b"new")
            assert path.read_bytes() == b"old"
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


def test_a_failure_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="full"), replacing(path) as partial:
        partial.write_bytes(b"half")
        raise OSError("full")
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "a.bin").symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "a.bin", b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious" and not (tmp_path / "a.bin").is_symlink()


def test_a_killed_writer_leaves_nothing_for_long_and_a_living_one_is_left_alone(tmp_path):
    program = f"""
import sys, time
from pathlib import Path
from robotseg_core.storage.whole import replacing
with replacing(Path({str(tmp_path / "a*.bin")!r})) as partial:
    partial.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(6000)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "writing\n"
        (partial,) = tmp_path.iterdir()
        old = time.time() - LEFT_BEHIND_S - 1
        os.utime(partial, (old, old))
        write_whole(tmp_path / "a*.bin", b"other")
        assert partial.exists()
        writer.send_signal(signal.SIGKILL)
    write_whole(tmp_path / "a*.bin", b"whole")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a*.bin", b"whole")]


def test_a_lock_neither_follows_a_link_nor_empties_what_is_there(tmp_path):
    (tmp_path / ".a.lock").write_text("kept")
    with locked(tmp_path / "a"):
        assert (tmp_path / ".a.lock").read_text() == "kept"
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".b.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=r"\.b\.lock"), locked(tmp_path / "b"):
        pytest.fail("taken")
    assert (tmp_path / "victim").read_text() == "precious"
