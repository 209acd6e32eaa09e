# SPDX-License-Identifier: Apache-2.0
"""Where the files lie that the package ships beside its modules."""

from __future__ import annotations

from pathlib import Path


def config_file(name: str) -> Path:
    """Path of a file of config/, in the source tree or where colcon or pip have installed it.

    Raises:
        FileNotFoundError: it is in neither.
    """
    return _shipped("config", name)


def message_file(name: str) -> Path:
    """Path of a message definition of msg/, likewise."""
    return _shipped("msg", name)


def _shipped(kind: str, name: str) -> Path:
    for parent in Path(__file__).resolve().parents:
        for folder in (parent / kind, parent / "share" / "robotseg_ros" / kind):
            if (folder / name).is_file():
                return folder / name
    raise FileNotFoundError(f"{kind}/{name} of robotseg_ros is not installed beside {Path(__file__).parent}")
