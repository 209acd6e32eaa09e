# SPDX-License-Identifier: Apache-2.0
"""JSON, YAML and NumPy files of others: how much there is to read is known before memory is taken for it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

MOST_JSON = 64 * 2**20
"""Bytes of a JSON or CSV file: joints of a million frames."""
MOST_YAML = 2**20
"""Bytes of a YAML file: half a minute of reading."""
MOST_NUMBERS = 64 * 2**20
"""Numbers of an array."""


class _WithoutAliases(yaml.SafeLoader):
    """A few lines of aliases of aliases stand for more than any memory holds, as soon as somebody copies them."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"line {self.peek_event().start_mark.line + 1} has an alias: write it out")
        return super().compose_node(parent, index)


def read_bytes(path: Path, most: int = MOST_JSON) -> bytes:
    """The content of a file.

    Args:
        path: of the file; nothing but a file, so that nothing waits for a pipe.
        most: bytes that it may have.

    Raises:
        ValueError: it is larger, or no file.
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError(f"{path} is no file")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path} has more than {most >> 20} MiB")
    return content


def read_text(path: Path, most: int = MOST_JSON) -> str:
    """The text of a file, as :func:`read_bytes` reads it.

    Raises:
        ValueError: it is larger, or no UTF-8.
        OSError: it cannot be read.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error}") from error


def read_json(path: Path, most: int = MOST_JSON) -> Any:
    """The content of a JSON file; numbers in it may be NaN or infinite.

    Raises:
        ValueError: it is none, or larger than ``most`` bytes.
        OSError: it cannot be read.
    """
    try:
        return json.loads(read_text(path, most))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def read_yaml(path: Path, most: int = MOST_YAML) -> Any:
    """The content of a YAML file without aliases; numbers in it may be NaN or infinite.

    Raises:
        ValueError: it is none, or larger than ``most`` bytes.
        OSError: it cannot be read.
    """
    try:
        # A SafeLoader with less.
        return yaml.load(read_text(path, most), _WithoutAliases)  # noqa: S506
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from error


def read_array(path: Path, most: int = MOST_NUMBERS) -> NDArray[Any]:
    """The array of a ``.npy`` file: real numbers of any type, a copy in memory.

    Raises:
        ValueError: it is none, shorter than it says, holds something else, or more than ``most`` numbers.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file")
    try:
        # Mapped: what a header says is compared with the length of the file, and nothing is allocated.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # Whatever a damaged header makes of its reader.
        raise ValueError(f"{path} is no NumPy array: {str(error)[:200]}") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError(f"{path} is an archive of arrays, must be one array")
    if not (np.issubdtype(found.dtype, np.integer) or np.issubdtype(found.dtype, np.floating)):
        raise ValueError(f"{path} is {found.dtype} {found.shape}, must be real numbers")
    if found.size > most:
        raise ValueError(f"{path} has {found.size} numbers, must be at most {most}")
    return np.array(found)
