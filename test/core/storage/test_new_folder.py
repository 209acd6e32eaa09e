# SPDX-License-Identifier: Apache-2.0
"""New folders bear their names when they are whole, and unfinished ones are gone on with."""

import os
import time

import pytest

from robotseg_core.storage.new_folder import PARTIAL, copy_all_but, replacing_folder, unfinished
from robotseg_core.storage.whole import LEFT_BEHIND_S


def test_a_folder_gets_its_name_at_the_end_and_tells_nothing_of_how_it_was_made(tmp_path):
    with unfinished(tmp_path / "new", {"a": 1}) as work:
        (work.folder / "x").write_text("1")
        work.note("x", {"size": (1, 2)})
        assert not (tmp_path / "new").exists() and not work.resumed
    assert [(file.name, file.read_text()) for file in (tmp_path / "new").iterdir()] == [("x", "1")]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_work_that_was_broken_off_goes_on_with_the_same_plan_alone(tmp_path):
    plan = {"a": (1, 2), "b": "x"}
    with pytest.raises(KeyboardInterrupt), unfinished(tmp_path / "new", plan) as work:
        work.note("one", [1])
        raise KeyboardInterrupt
    with (
        pytest.raises(FileExistsError, match=r"other settings \(b\)"),
        unfinished(tmp_path / "new", {**plan, "b": "y"}),
    ):
        pass
    with unfinished(tmp_path / "new", plan) as work:
        assert work.resumed and work.is_done("one") and not work.is_done("two") and work.said == {"one": [1]}


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="not overwritten"), unfinished(tmp_path / "there", {}):
        pass
    mine = tmp_path / f"new{PARTIAL}"
    mine.mkdir()
    (mine / "notes").write_text("mine")
    with pytest.raises(FileExistsError, match="no unfinished work"), unfinished(tmp_path / "new", {}):
        pass
    assert (mine / "notes").read_text() == "mine"


def test_two_at_once_do_not_meet(tmp_path):
    with unfinished(tmp_path / "new", {}):
        with pytest.raises(RuntimeError, match="another process is making"), unfinished(tmp_path / "new", {}):
            pass


def test_a_tree_is_copied_with_bytes_and_times_but_for_what_is_left_out(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep" / "empty").mkdir(parents=True)
    for name in ("a", "deep/b", "deep/c"):
        (source / name).write_text(name)
        os.utime(source / name, ns=(10**18, 10**18 + 7))
    assert copy_all_but(source, target, {source.joinpath("deep/c").relative_to(source)}) == 2
    assert (target / "deep" / "b").read_text() == "deep/b" and (target / "deep" / "b").stat().st_mtime_ns == 10**18 + 7
    assert not (target / "deep" / "c").exists() and (target / "deep" / "empty").is_dir()
    # What is there already, of the same size and time, is not copied again; what was cut off is.
    (target / "a").write_text("")
    before = (target / "deep" / "b").stat().st_ino
    copy_all_but(source, target, set())
    assert (target / "a").read_text() == "a" and (target / "deep" / "b").stat().st_ino == before


def test_no_copy_goes_on_without_end(tmp_path):
    """A folder copied into itself, or a link upwards, would fill the disk."""
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a").write_text("a")
    for inside in (source, source / "out", source / "deep" / "out"):
        with pytest.raises(ValueError, match="which is to be copied there"):
            copy_all_but(source, inside, set())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b").write_text("b")
    (source / "deep" / "side").symlink_to(tmp_path / "elsewhere")
    assert copy_all_but(source, tmp_path / "good", set()) == 2
    for up in (source, tmp_path, "."):
        (source / "deep" / "up").unlink(missing_ok=True)
        (source / "deep" / "up").symlink_to(up)
        with pytest.raises(ValueError, match="is a link to a folder that it lies in"):
            copy_all_but(source, tmp_path / "bad", set())


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out"
    with replacing_folder(out) as made:
        (made / "x").write_text("1")
        assert not out.exists()
    with pytest.raises(KeyboardInterrupt), replacing_folder(out) as made:
        (made / "y").write_text("2")
        raise KeyboardInterrupt
    assert [(file.name, file.read_text()) for file in out.iterdir()] == [("x", "1")]
    with replacing_folder(out) as made:
        (made / "z").write_text("3")
    assert [file.name for file in out.iterdir()] == ["z"] and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_process_left_goes_and_what_one_at_work_has_stays(tmp_path):
    left, young = (tmp_path / f".out.{name}.part" for name in ("left", "young"))
    for folder in (left, young):
        (folder / "made").mkdir(parents=True)
    (tmp_path / ".out.link.part").symlink_to(tmp_path / ".out.young.part")
    long_ago = time.time() - 2 * LEFT_BEHIND_S
    os.utime(left, (long_ago, long_ago))
    with replacing_folder(tmp_path / "out") as mine:
        os.utime(mine.parent, (long_ago, long_ago))
        with replacing_folder(tmp_path / "out") as second:
            assert mine.is_dir()
            (second / "x").write_text("2")
    assert not left.exists() and young.is_dir() and (tmp_path / ".out.link.part").is_symlink()
