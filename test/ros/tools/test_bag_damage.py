# SPDX-License-Identifier: Apache-2.0
"""Bags that are damaged, cut off, or unpack to more than there is room for: read as far as they go, or refused."""

import os
import sqlite3
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rosbags", reason="bags need the extra 'bag'")
pytest.importorskip("mcap", reason="bags need the extra 'bag'")

import zstandard
from mcap.writer import CompressionType
from mixed_bags import bomb, contents, copy, image, ros_bag, write_mixed
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from robotseg_core import cli
from robotseg_ros.tools.bag_files import Bag
from robotseg_ros.tools.bag_records import BagError
from robotseg_ros.tools.bag_unpacking import unpacked


@pytest.mark.parametrize("keep", [0, 3, 60, 200])
def test_a_message_that_was_cut_off_is_copied_unread(tmp_path, small, capsys, keep):
    images = [image(0), image(1)[:keep], image(2)]
    source = write_mixed(tmp_path / "in.mcap", images=images)
    assert cli.main(["bag", str(source), "--out", str(tmp_path / "out.mcap")]) == 1
    said = capsys.readouterr().err
    assert f"1 images could not be read and have no masks; the first: number 1: the message of {keep} bytes" in said
    messages, _, _ = contents(tmp_path / "out.mcap")
    assert [m[-1] for m in messages if m[0] == "/cam"] == images
    assert sum(m[0] == "/robotseg/parts" for m in messages) == 2


def test_of_a_file_that_was_cut_off_all_before_it_is_read_and_the_repair_is_named(tmp_path):
    whole = write_mixed(tmp_path / "whole.mcap").read_bytes()
    counts = []
    for keep in range(len(whole) - 1, 100, -len(whole) // 20):
        (tmp_path / "cut.mcap").write_bytes(whole[:keep])
        made, problems = copy(tmp_path / "cut.mcap", tmp_path / f"out{keep}")
        counts.append(len(contents(made)[0]))
        assert counts[-1] == 9 or any("mcap recover" in line for line in problems)
    assert counts[0] == 9 and counts == sorted(counts, reverse=True) and counts[-1] < 3


@pytest.mark.parametrize("number", range(3))
def test_a_damaged_chunk_is_left_out_and_the_others_are_read(tmp_path, number):
    """Also the first one, which names the topics: the summary names them once more."""
    frames = [np.full((60, 80, 3), value, np.uint8) for value in (50, 51, 52)]
    source = write_mixed(tmp_path / "in.mcap", images=[image(i, f) for i, f in enumerate(frames)], chunk_size=100)
    data = bytearray(source.read_bytes())
    data[data.index(frames[number].tobytes()) + 99] ^= 1
    source.write_bytes(data)
    made, problems = copy(source, tmp_path / "out")
    assert len(problems) == 1 and problems[0].startswith("1 damaged places; the first: chunk")
    assert "checksum is wrong" in problems[0] and "mcap recover" in problems[0]
    kept = [m[-1] for m in contents(made)[0] if m[0] == "/cam"]
    assert kept == [image(i, frame) for i, frame in enumerate(frames) if i != number]


@pytest.mark.parametrize("said", ["truly", "as small"])
def test_what_unpacks_to_more_than_the_limit_is_left_out_unpacked(tmp_path, said):
    size, limit = 50_000_000, 2**20
    record, text, packed = bomb(size)
    claimed = size if said == "truly" else 1000
    chunk = struct.pack("<QQQI", 0, 0, claimed, 0) + text(b"zstd") + struct.pack("<Q", len(packed)) + packed
    whole = write_mixed(tmp_path / "in.mcap").read_bytes()
    end = whole.index(record(1, text(b"ros2") + text(b"a logger"))) + 9 + 20
    (tmp_path / "in.mcap").write_bytes(whole[:end] + record(6, chunk) + whole[end:])
    made, problems = copy(tmp_path / "in.mcap", tmp_path / "out", limit)
    assert len(problems) == 1 and "unpacks to" in problems[0] and len(contents(made)[0]) == 9


@given(st.binary(max_size=2000), st.sampled_from(["", "zstd", "lz4"]), st.integers(0, 3000), st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_nothing_unpacks_to_another_size_than_it_says_or_above_the_limit(data, compression, size, limit):
    import lz4.frame

    packed = {"": bytes, "zstd": zstandard.compress, "lz4": lz4.frame.compress}[compression](data)
    try:
        got = unpacked(packed, compression, size, limit)
    except ValueError:
        assert size != len(data) or size > limit
        return
    assert got == data and len(got) == size <= limit


@given(st.binary(max_size=300), st.sampled_from(["zstd", "lz4", "brotli"]))
@settings(deadline=None)
def test_garbage_is_no_packed_data(data, compression):
    with pytest.raises(ValueError):
        unpacked(data + b"\1", compression, None)


def test_a_damaged_name_of_a_compression_is_not_that_of_the_copy(tmp_path):
    source = write_mixed(tmp_path / "in.mcap", compression=CompressionType.LZ4)
    data = source.read_bytes()
    assert data.count(b"\3\0\0\0lz4") > 1
    # In the last place it is the index that is wrong, in the others a chunk.
    for at in [i for i in range(len(data)) if data.startswith(b"lz4", i)]:
        source.write_bytes(data[:at] + b"\0" + data[at + 1 :])
        made, _ = copy(source, tmp_path / f"out_{at}")
        assert len(contents(made)[0]) <= 9


@given(st.integers(0, 10**6), st.binary(max_size=9), st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_whatever_is_done_to_a_file_it_is_read_or_refused(tmp_path_factory, at, garbage, cut):
    folder = tmp_path_factory.mktemp("damaged")
    data = write_mixed(folder / "in.mcap", compression=CompressionType.LZ4).read_bytes()
    at %= len(data)
    (folder / "in.mcap").write_bytes((data[:at] + garbage + data[at + len(garbage) :])[: len(data) - cut])
    try:
        made, _ = copy(folder / "in.mcap", folder / "out")
    except BagError:
        return
    assert len(contents(made)[0]) <= 9


def test_a_message_above_the_limit_in_a_bag_packed_by_messages_is_said(tmp_path):
    source = ros_bag(tmp_path / "in", StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    made, problems = copy(source, tmp_path / "out", 9999)
    assert contents(made)[0] == [] and problems[0].startswith("3 messages are not in the copy; the first: /cam at 1000")


def test_a_damaged_database_says_what_repairs_it(tmp_path):
    folder = ros_bag(tmp_path / "in", StoragePlugin.SQLITE3)
    (file,) = folder.glob("*.db3")
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 9000] = bytes(9000)
    file.write_bytes(data[:-4096])
    try:
        _, problems = copy(folder, tmp_path / "out")
    except BagError as error:
        problems = [str(error)]
    assert ".recover" in problems[0]


def test_a_packed_database_that_says_it_is_huge_is_not_unpacked(tmp_path):
    database = sqlite3.connect(tmp_path / "x.db3")
    database.execute("create table messages (a)")
    database.commit()
    database.close()
    data = bytearray((tmp_path / "x.db3").read_bytes())
    data[28:32] = b"\xff" * 4
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.db3.zstd").write_bytes(zstandard.compress(bytes(data)))
    with pytest.raises(BagError, match="bytes, .* are free"):
        Bag(folder).topics()


def test_metadata_of_a_few_lines_does_not_become_endless(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_mixed(folder / "in.mcap")
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    for paths in ("[*a59]", "[in.mcap]\n  compression_mode: *a59"):
        (folder / "metadata.yaml").write_text(
            "\n".join(lines) + f"\nrosbag2_bagfile_information:\n  relative_file_paths: {paths}\n"
        )
        bag = Bag(folder)
        assert "it has a list where a text is expected" in bag.problems.lines()[0] and len(bag.topics()) == 3


def test_metadata_that_never_ends_is_not_waited_for(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_mixed(folder / "in.mcap")
    os.mkfifo(folder / "metadata.yaml")
    bag = Bag(folder)
    assert "metadata.yaml is damaged" in bag.problems.lines()[0] and len(bag.topics()) == 3


def test_checksums_of_attachments_are_checked(tmp_path):
    source = write_mixed(tmp_path / "in.mcap")
    data = source.read_bytes()
    source.write_bytes(data.replace(b"fx: 1.0\n", b"fx: 2.0\n", 1))
    assert zlib.crc32(data) != zlib.crc32(source.read_bytes())
    _, problems = copy(source, tmp_path / "out")
    assert "attachment calib.yaml of in.mcap has a wrong checksum" in problems[0]
