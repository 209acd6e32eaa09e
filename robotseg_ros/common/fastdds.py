# SPDX-License-Identifier: Apache-2.0
"""Fast DDS: the profile that it is to read, without which it loses large images, and its shared memory."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from robotseg_ros.common.shipped import config_file

PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
"""What names the profile from Fast DDS 3 on (ROS 2 Kilted)."""
OLD_PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""What alone names it before; from then on Fast DDS warns of it."""
OLD_DISTRIBUTIONS = ("humble", "iron", "jazzy")
"""Those with a Fast DDS before 3, by the ROS_DISTRO that their setup file sets."""
SHARED_MEMORY = Path("/dev/shm")
MEGABYTE = 1 << 20
PLENTY = 512 * MEGABYTE
"""Free shared memory from which on every process may have the large segment; a container's is 64 MB by default."""
# The beginning of the name is the one of Fast DDS 3 or of the versions before.
_SEGMENT = re.compile(r"fast(dds|rtps)_[0-9a-f]{16}")
_SEGMENT_SIZE = re.compile(r"<segment_size>\s*(\d+)\s*</segment_size>")


def free_memory(folder: Path = SHARED_MEMORY) -> int:
    """Bytes of shared memory that are free; 0 where there is none."""
    try:
        filesystem = os.statvfs(folder)
    except OSError:
        return 0
    return filesystem.f_bavail * filesystem.f_frsize


def shipped_profile(folder: Path = SHARED_MEMORY) -> Path:
    """The shipped profile that fits: a large segment where shared memory is plenty, else a small one."""
    return config_file("fastdds_profile.xml" if free_memory(folder) >= PLENTY else "fastdds_profile_small.xml")


def profile_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that name the profile, for the version of Fast DDS that is there.

    Args:
        environment: as it is; a profile that it names under either name is the user's choice and stays in force.
    """
    names = [PROFILE_VARIABLE]
    if environment.get("ROS_DISTRO") in OLD_DISTRIBUTIONS:
        names.append(OLD_PROFILE_VARIABLE)
    given = environment.get(PROFILE_VARIABLE) or environment.get(OLD_PROFILE_VARIABLE) or str(shipped_profile())
    return {name: environment.get(name) or given for name in names}


def prepare(environment: MutableMapping[str, str]) -> str:
    """Make ready for a node: take away what killed processes have left, and name the profile.

    To be called before rclpy is loaded.

    Returns:
        Why shared memory will not work, for the log; empty: it will.
    """
    remove_leftovers()
    settings = profile_settings(environment)
    environment.update(settings)
    # The one that is read.
    return what_does_not_fit(Path(settings.get(OLD_PROFILE_VARIABLE, settings[PROFILE_VARIABLE])))


def what_does_not_fit(profile: Path, folder: Path = SHARED_MEMORY) -> str:
    """Say in a sentence that the segments of a profile do not fit; empty: they do, or it has none that one can read."""
    try:
        sizes = [int(size) for size in _SEGMENT_SIZE.findall(profile.read_text())]
    except (OSError, UnicodeDecodeError):
        # Fast DDS says itself what it thinks of it.
        return ""
    needed, free = sum(sizes) + MEGABYTE, free_memory(folder)
    if not sizes or free >= needed:
        return ""
    return (
        f"large images will be lost: {folder} has {free / MEGABYTE:.0f} MiB free, and each process with the Fast DDS "
        f"profile {profile} needs {needed / MEGABYTE:.0f}. End other nodes, or give a container more (docker run "
        "--shm-size=1g)."
    )


def remove_leftovers(folder: Path = SHARED_MEMORY) -> int:
    """Remove segments of processes that are no more, as ``fastdds shm clean`` does.

    A process that lives holds the lock beside each of its segments, which it takes before it makes the segment.

    Returns:
        How many there were.
    """
    removed = 0
    for segment in folder.glob("fast*") if folder.is_dir() else ():
        if not _SEGMENT.fullmatch(segment.name):
            continue
        lock = segment.with_name(f"{segment.name}_el")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            # Somebody else's, or of another user.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
            removed += 1
        except OSError:
            # Its owner lives.
            pass
        finally:
            os.close(descriptor)
    return removed
