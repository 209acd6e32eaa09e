# SPDX-License-Identifier: Apache-2.0
"""Fast DDS: its profile under the names of all versions, a segment that fits, and leftovers of killed processes."""

import fcntl
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
from fake_model import robot_picture
from lifecycle_msgs.srv import GetState
from patience import PATIENCE_S
from ros_client import segments_of

from robotseg_ros.common import fastdds
from robotseg_ros.common.fastdds import OLD_PROFILE_VARIABLE as OLD
from robotseg_ros.common.fastdds import PROFILE_VARIABLE as NEW

ROOT = Path(__file__).resolve().parents[3]
FAKE = str(Path(__file__).resolve().parents[1] / "fake_segmenter.py")
MINE = "/mine.xml"


@pytest.fixture
def memory(monkeypatch):
    """Sets the size of what is free."""

    def free(mib):
        filesystem = SimpleNamespace(f_bavail=mib, f_frsize=1 << 20)
        monkeypatch.setattr(fastdds.os, "statvfs", lambda folder: filesystem)

    return free


@pytest.mark.parametrize("distribution", ["humble", "iron", "jazzy"])
def test_before_fast_dds_3_both_names_are_set(memory, distribution):
    memory(8000)
    shipped = str(ROOT / "config" / "fastdds_profile.xml")
    assert fastdds.profile_settings({"ROS_DISTRO": distribution}) == {NEW: shipped, OLD: shipped}


@pytest.mark.parametrize("environment", [{}, {"ROS_DISTRO": "kilted"}, {"ROS_DISTRO": "lyrical"}])
def test_from_fast_dds_3_on_the_old_name_which_is_warned_of_is_not_set(memory, environment):
    memory(8000)
    assert fastdds.profile_settings(environment) == {NEW: str(ROOT / "config" / "fastdds_profile.xml")}


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({NEW: MINE}, {NEW: MINE}),
        ({OLD: MINE}, {NEW: MINE}),
        ({"ROS_DISTRO": "jazzy", NEW: MINE}, {NEW: MINE, OLD: MINE}),
        ({"ROS_DISTRO": "jazzy", OLD: MINE}, {NEW: MINE, OLD: MINE}),
        ({"ROS_DISTRO": "jazzy", OLD: MINE, NEW: "/3.xml"}, {NEW: "/3.xml", OLD: MINE}),
    ],
)
def test_profile_that_the_user_has_chosen_stays_in_force(given, settings):
    assert fastdds.profile_settings(given) == settings


@pytest.mark.parametrize(
    ("free", "name"),
    [(8000, "fastdds_profile.xml"), (60, "fastdds_profile_small.xml"), (0, "fastdds_profile_small.xml")],
)
def test_small_segment_where_shared_memory_is_scarce(memory, free, name):
    memory(free)
    assert fastdds.shipped_profile() == ROOT / "config" / name


def test_what_does_not_fit_is_said_with_figures_and_a_way_out(memory, tmp_path):
    memory(3)
    small = ROOT / "config" / "fastdds_profile_small.xml"
    said = fastdds.what_does_not_fit(small)
    assert "/dev/shm has 3 MiB free" in said and "needs 13" in said and str(small) in said and "--shm-size" in said
    memory(13)
    assert fastdds.what_does_not_fit(small) == ""
    without = tmp_path / "without.xml"
    without.write_text("<profiles/>")
    assert fastdds.what_does_not_fit(without) == fastdds.what_does_not_fit(tmp_path / "absent.xml") == ""


def test_profiles_differ_in_the_size_of_the_segment_alone():
    def plain(name):
        text = (ROOT / "config" / name).read_text()
        size = int(re.search(r"<segment_size>(\d+)<", text)[1])
        root = ElementTree.fromstring(re.sub(r"<segment_size>\d+<", "<segment_size>0<", text))
        return size, ElementTree.tostring(root)

    (large, first), (small, second) = plain("fastdds_profile.xml"), plain("fastdds_profile_small.xml")
    assert first == second
    # Five processes in a container's 64 MB, each with half a megabyte for discovery.
    assert large == 64 << 20 and 5 * (small + (1 << 20)) <= 65 << 20


def test_leftovers_are_removed_and_what_lives_or_is_of_others_stays(tmp_path):
    def make(name, lock=True):
        (tmp_path / name).write_bytes(bytes(10))
        if lock:
            (tmp_path / f"{name}_el").touch()

    dead, old_dead, living, others = (
        "fastdds_0123456789abcdef",
        "fastrtps_0123456789abcdef",
        "fastdds_fedcba9876543210",
        ("fastdds_port7000", "fastdds_0123", "camera", "sem.fastdds_port7000_mutex"),
    )
    for name in (dead, old_dead, living, *others):
        make(name)
    # Without its lock nobody can say.
    make("fastdds_1111111111111111", lock=False)
    with (tmp_path / f"{living}_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert fastdds.remove_leftovers(tmp_path) == 2
    left = {file.name for file in tmp_path.iterdir()}
    kept = {living, *others}
    assert left == kept | {f"{name}_el" for name in kept} | {"fastdds_1111111111111111"}
    assert fastdds.remove_leftovers(tmp_path / "nowhere") == 0


def test_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").touch()
    (tmp_path / "fastdds_0123456789abcdef").touch()
    (tmp_path / "fastdds_0123456789abcdef_el").symlink_to(tmp_path / "precious")
    assert fastdds.remove_leftovers(tmp_path) == 0
    assert (tmp_path / "precious").exists()


def test_what_a_killed_node_leaves_is_gone_when_the_next_one_starts(client):
    command = [sys.executable, FAKE, "--ros-args"]
    killed = subprocess.Popen(command, start_new_session=True)
    try:
        client.call(GetState, "/robotseg/get_state", GetState.Request(), again_after=2.0)
        segments = segments_of(killed.pid)
        assert len(segments) == 2
    finally:
        killed.kill()
        killed.wait()
    ours = segments_of(os.getpid())
    refused = subprocess.run([*command, "-p", "mask_margin:=-1"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode == 1
    assert not any(segment.exists() for segment in segments)
    assert ours and all(segment.exists() for segment in ours)


IN_64_MB = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"', "sh"]


@pytest.fixture
def container():
    """Runs a command where shared memory has the size that a container gets by default."""
    if subprocess.run([*IN_64_MB, "true"], capture_output=True).returncode != 0:
        pytest.skip("a mount of its own is for root")
    return IN_64_MB


def test_demo_works_in_the_shared_memory_of_a_container(container, domain_id, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(15):
        cv2.imwrite(str(folder / f"{number:03}.png"), robot_picture(480, 640, shift=2 * number))
    code = (
        "import sys; from pathlib import Path; from robotseg_ros.tools.demo import DemoOptions, run_demo; "
        "clip, out, node = sys.argv[1:]; "
        "print(run_demo(DemoOptions(input=clip, out=Path(out), segmenter=(sys.executable, node))))"
    )
    command = [*container, sys.executable, "-c", code, str(folder), str(tmp_path / "out"), FAKE]
    environment = {name: value for name, value in os.environ.items() if name not in (NEW, OLD)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    assert done.returncode == 0, done.stderr
    assert "frames in    15" in done.stdout
    # Neither Fast DDS nor we have anything to say.
    assert "Unable to Register SHM" not in done.stderr and "images will be lost" not in done.stderr
    masks = int(re.search(r"masks out +(\d+)", done.stdout)[1])
    dropped = int(re.search(r"dropped +(\d+)", done.stdout)[1])
    assert masks >= 1 and masks + dropped >= 12


def test_node_says_that_shared_memory_is_full(container, domain_id):
    fill = (
        "import os, pathlib, sys; pathlib.Path('/dev/shm/full').write_bytes(bytes(60 << 20)); "
        "os.execv(sys.executable, [sys.executable, '-m', 'robotseg_ros.run_node', 'servo'])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in (NEW, OLD)}
    process = subprocess.Popen(
        [*container, sys.executable, "-c", fill], stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        # It ends where the process does, so that nothing hangs when the line is missing.
        assert any("large images will be lost: /dev/shm has 4 MiB free" in line for line in process.stderr)
    finally:
        process.kill()
        process.communicate()
