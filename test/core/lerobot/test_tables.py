# SPDX-License-Identifier: Apache-2.0
"""A small Parquet file that unpacks to much memory is refused before it does; what is as large as it seems is read."""

import os

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="LeRobot data sets need the extra 'lerobot'")
pytest.importorskip("av", reason="LeRobot data sets need the extra 'lerobot'")

import pyarrow.parquet as pq  # noqa: E402
from lerobot_sets import make_v3  # noqa: E402

from robotseg_core.lerobot import tables  # noqa: E402
from robotseg_core.lerobot.layout import open_data_set  # noqa: E402
from robotseg_core.lerobot.tables import DataSetError, count_rows, read_table  # noqa: E402

MOST = 64 * 2**20
COPIES = 200
TEXT = "x" * 1_000_000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(tables, "MOST_BYTES", MOST)


def repeated():
    """One text, 200 times: 200 MB, of which a file needs one."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(COPIES, np.int32)), [TEXT])


def in_lists():
    return pa.ListArray.from_arrays(pa.array([0, COPIES]), repeated())


def in_structures():
    return pa.StructArray.from_arrays([repeated(), pa.array(range(COPIES))], ["bytes", "number"])


@pytest.mark.parametrize("schema", [True, False])
@pytest.mark.parametrize("column", [repeated, in_lists, in_structures])
def test_a_text_that_is_used_often_counts_each_time(tmp_path, column, schema):
    path = tmp_path / "a.parquet"
    # Without the writer's schema the texts are read as texts, each written out.
    pq.write_table(pa.table({"column": column()}), path, store_schema=schema)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataSetError, match=r"a\.parquet can unpack to \d\d+ MiB, must be at most 64"):
        read_table(path)


def test_texts_that_are_packed_count_unpacked(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"column": pa.array([TEXT] * 70)})
    pq.write_table(table, path, use_dictionary=False, compression="zstd")
    assert path.stat().st_size < 100_000
    with pytest.raises(DataSetError, match=r"can unpack to \d+ MiB, must be at most 64"):
        read_table(path)


def test_a_number_that_is_used_often_counts_each_time(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"number": pa.array(np.zeros(9_000_000, np.int64))}), path)
    assert path.stat().st_size < 100_000 and count_rows(path) == 9_000_000
    with pytest.raises(DataSetError, match=r"can unpack to \d+ MiB, must be at most 64"):
        read_table(path)


def test_pictures_and_texts_that_are_as_large_as_they_seem_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BATCH_ROWS", 7)
    path = tmp_path / "a.parquet"
    pictures = [None if i == 5 else {"bytes": os.urandom(50_000), "path": "a.png"} for i in range(300)]
    tasks = [[f"task {i % 3}"] * (i % 2) for i in range(300)]
    table = pa.table(
        {
            "picture": pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "task": pa.array(tasks, pa.list_(pa.string())),
            "state": pa.array([[0.5] * 6] * 300, pa.list_(pa.float32(), 6)),
            "episode_index": pa.array([i // 100 for i in range(300)]),
            "code": pa.array([b"abcd"] * 300, pa.binary(4)),
        }
    )
    # Each value of a dictionary as large as all of it would be too much: here the values are looked at.
    pq.write_table(table, path, row_group_size=100)
    assert read_table(path).equals(table)
    assert read_table(path, ["task"], 1).column("task").to_pylist() == tasks[100:200]
    # Another file of that name is looked at anew.
    pq.write_table(pa.table({"column": repeated()}), path, store_schema=False)
    with pytest.raises(DataSetError, match="can unpack to"):
        read_table(path)


def test_a_data_set_has_no_more_episodes_than_it_may(tmp_path, monkeypatch):
    root = make_v3(tmp_path / "set", lengths=(5, 4, 3))
    assert len(open_data_set(root).episodes) == 3
    monkeypatch.setattr("robotseg_core.lerobot.layout.MOST_EPISODES", 2)
    with pytest.raises(DataSetError, match="3 episodes, must be at most 2"):
        open_data_set(root)
