# SPDX-License-Identifier: Apache-2.0
"""What a file is that is not what its name says, in words that tell the user what to do."""

from __future__ import annotations

from pathlib import Path

_STARTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: run `git lfs pull` where it came from",
    b"#ROSBAG V": "a ROS 1 bag: convert it with `rosbags-convert --src IN.bag --dst OUT` (pip install rosbags)",
    b"<!doctype html": "a web page, not the file: the download ended on a page for people",
    b"<html": "a web page, not the file: the download ended on a page for people",
    b"/annex/objects/": "a git-annex pointer, not the file itself: run `git annex get` where it came from",
}
_LONGEST = max(len(start) for start in _STARTS)


def explain(path: Path) -> str:
    """`` (it is ...)`` for a file whose first bytes tell what it is instead, else an empty text; never raises."""
    try:
        with path.open("rb") as file:
            head = file.read(_LONGEST + 16)
    except OSError:
        return ""
    if not head:
        return " (it is empty)"
    head = head.lstrip().lower()
    for start, words in _STARTS.items():
        if head.startswith(start.lower()):
            return f" (it is {words})"
    return ""
