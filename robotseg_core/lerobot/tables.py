# SPDX-License-Identifier: Apache-2.0
"""Parquet files of a data set: how much there is to read is known before memory is taken for it.

A value that stands in a dictionary costs the file a few bits each time that it is used, and memory all of it: 47 kB
can hold 100 GB.  What a file says of its size counts the dictionary once.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MOST_BYTES = 8 * 2**30
"""That a table may unpack to."""
BATCH_ROWS = 65_536
"""That are looked at at once."""
TEXTS = "BYTE_ARRAY"
"""What Parquet calls texts and pictures."""
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
BESIDE = 8
"""Bytes that say where a value is in lists and texts, at most."""


class DataSetError(ValueError):
    """A data set that is not what it should be; the message says what and where."""


def read_table(path: Path, columns: list[str] | None = None, episode: int | None = None) -> pa.Table:
    """A Parquet file, or some of its columns, or the rows of an episode.

    How large it gets is what the file says of its columns; texts in a dictionary are looked at, a few at a time, and in
    lists each counts as the whole dictionary, which small row groups keep small.

    Raises:
        DataSetError: it can unpack to more than :data:`MOST_BYTES`.
        ArrowException, OSError: it cannot be read.
    """
    status = path.stat()
    size = _unpacked(path, status.st_size, status.st_mtime_ns, MOST_BYTES)
    if size > MOST_BYTES:
        raise DataSetError(f"{path} can unpack to {size >> 20} MiB, must be at most {MOST_BYTES >> 20}")
    only = None if episode is None else [("episode_index", "=", episode)]
    return pq.read_table(path, columns=columns, filters=only)


def count_rows(path: Path) -> int:
    """Rows of a Parquet file, as it says."""
    return int(pq.read_metadata(path).num_rows)


@lru_cache(maxsize=256)
def _unpacked(path: Path, size: int, changed_ns: int, most: int) -> int:
    """Bytes that a table takes at most; where that is more than ``most``, some number above it.

    A file of many episodes is asked for again and again: as long as its size and time stay, so does the answer.
    """
    with pq.ParquetFile(path) as file:
        said = file.metadata
        chunks = [
            (group, said.row_group(group).column(number), said.schema.column(number))
            for group in range(said.num_row_groups)
            for number in range(said.num_columns)
        ]
        at_most = sum(_at_most(chunk, column) for _, chunk, column in chunks)
        if at_most <= most:
            return at_most
        total = 0
        for group, chunk, column in chunks:
            # Of a list nobody knows how many values one row has.
            known = chunk.physical_type != TEXTS or not chunk.has_dictionary_page or column.max_repetition_level
            total += _at_most(chunk, column) if known else _written_out(file, group, chunk, most - total)
            if total > most:
                break
        return total


def _at_most(chunk: Any, column: Any) -> int:
    """Bytes that a column of a row group takes at most, by what the file says of it."""
    packed = int(chunk.total_uncompressed_size)
    if chunk.physical_type == TEXTS:
        # Each value may be all of the dictionary.
        return int(chunk.num_values) * (BESIDE + packed * chunk.has_dictionary_page) + packed
    return max(int(chunk.num_values) * (BESIDE + WIDTHS.get(chunk.physical_type, column.length)), packed)


def _written_out(file: pq.ParquetFile, group: int, chunk: Any, most: int) -> int:
    """Bytes of the texts of a column of a row group, each where it is used; no further than to ``most``."""
    # A value is no larger than all that there are.
    rows = max(1, most // 8 // max(1, chunk.total_uncompressed_size))
    size = int(chunk.num_values) * BESIDE
    for batch in file.iter_batches(min(rows, BATCH_ROWS), row_groups=[group], columns=[chunk.path_in_schema]):
        size += sum(_length(column) for column in batch.columns)
        if size > most:
            break
    return size


def _length(array: pa.Array) -> int:
    """Bytes of the values of an array."""
    if pa.types.is_struct(array.type):
        return sum(_length(part) for part in array.flatten())
    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    lengths = pc.binary_length(array.dictionary).take(array.indices)
    return int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)
