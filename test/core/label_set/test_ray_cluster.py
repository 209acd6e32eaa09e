# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster of two nodes on this machine: what a worker and a node leave when they die is made by the others."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from label_sets import QUICK, make_tree, manifest, quick_settings, tree
from patience import PATIENCE_S

from robotseg_core.cli import main
from robotseg_core.label_set.clips import Clip
from robotseg_core.label_set.command import label_set
from robotseg_core.label_set.labeller import CannotStart
from robotseg_core.label_set.ray_cluster import _outcome, label_on_ray

"""Longest wait for anything; never waited for in full."""
ATTEMPTS = 4


@pytest.fixture
def ray(monkeypatch):
    """Ray, telling nobody anything, its tokens of no concern to the user's home."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Idle workers need not be kept ready for others.
    monkeypatch.setenv("RAY_enable_worker_prestart", "0")
    return pytest.importorskip("ray")


@pytest.fixture
def cluster(ray):
    """A head and a second node, with room for one model each."""
    from ray.cluster_utils import Cluster

    # Paths of sockets are short.
    folder = tempfile.mkdtemp(prefix="ray_", dir="/tmp")
    small = {"num_cpus": 1, "object_store_memory": 80 << 20}
    made = Cluster()
    try:
        add_node(made, include_dashboard=False, temp_dir=folder, **small)
        add_node(made, **small)
        yield made
    finally:
        with contextlib.suppress(Exception):
            made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def add_node(cluster, **arguments):
    """A further node.  Ray gives itself 15 seconds for it, which a machine with a long queue does not keep to."""
    for _ in range(ATTEMPTS):
        try:
            return cluster.add_node(**arguments)
        except Exception as error:
            if "timed out" not in str(error).lower():
                raise
            last = error
    return pytest.skip(f"this machine is too busy for Ray to start, {ATTEMPTS} times: {last}")


def start(root: Path, out: Path, address: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "robotseg_core.cli", "label-set", str(root), "--out", str(out), "--ray", address]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *QUICK, *more], env=environment, stderr=subprocess.PIPE, text=True)


def parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid")))


def raylet_of(node) -> int:
    return node.all_processes["raylet"][0].process.pid


def stopped_in_the_middle(out: Path, raylet: int, process: subprocess.Popen[str]) -> int:
    """A worker of a node, stopped while the clip it has is not whole."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        for folder in (out / ".partial").glob(f"*.{socket.gethostname()}.*"):
            pid = int(folder.name.split(".")[-2])
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if parent_of(pid) != raylet:
                    continue
                os.kill(pid, signal.SIGSTOP)
                # Stopped: what is there now stays.
                if folder.is_dir() and not (folder / "clip.json").exists():
                    return pid
                os.kill(pid, signal.SIGCONT)
        time.sleep(0.002)
    raise AssertionError("no worker was seen at work")


def test_a_worker_and_a_node_that_die_cost_no_clip_and_make_none_twice(tmp_path, cluster):
    root, out, whole = make_tree(tmp_path / "set", clips=8, frames=24), tmp_path / "out", tmp_path / "whole"
    assert main(["label-set", str(root), "--out", str(whole), *QUICK]) == 0
    first, second = cluster.list_all_nodes()
    process = start(root, out, cluster.address)
    try:
        worker = stopped_in_the_middle(out, raylet_of(first), process)
        os.kill(worker, signal.SIGKILL)
        victim = stopped_in_the_middle(out, raylet_of(second), process)
        # The node dies with all that runs on it.
        cluster.remove_node(second, allow_graceful=False)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert tree(out) == tree(whole)
    lines = manifest(out)[1]
    assert sorted(str(line["clip"]) for line in lines) == [f"v{i}" for i in range(8)]
    assert {line["state"] for line in lines} == {"done"} and {line["frames"] for line in lines} == {24}
    assert not (out / ".partial").exists()


def test_an_address_at_which_nothing_answers_gets_one_line(tmp_path, ray, capsys):
    root, out = make_tree(tmp_path / "set", clips=2, frames=1), tmp_path / "out"
    with socket.socket() as taken:
        # Bound and not listening: nobody else listens there meanwhile.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["label-set", str(root), "--out", str(out), *QUICK, "--ray", address]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert (
        len([line for line in said if "clip/s" not in line]) == 1 and f"no Ray cluster answers at {address}" in said[-1]
    )
    with pytest.raises(ValueError, match="workers is 0"):
        label_set(root, out, quick_settings(), ray=address, workers=0)


def test_a_cluster_that_asks_for_a_token_is_told_from_one_that_is_not_there(tmp_path, ray, monkeypatch):
    def connecting_fails_by(cause):
        def init(**_):
            raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379") from cause

        monkeypatch.setattr(ray, "init", init)
        with pytest.raises(ConnectionError) as caught:
            next(label_on_ray([Clip("v0", Path("v0"))], quick_settings(), tmp_path))
        return str(caught.value)

    # As Ray 2.60 says it: its own error is in the text of the one that it raises.
    refused = RuntimeError("... ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: ...")
    assert "at 10.0.0.1:6379: it asks for a token. Set RAY_AUTH_MODE=token" in connecting_fails_by(refused)
    assert "token" not in connecting_fails_by(RuntimeError("timed out"))


def test_what_a_worker_says_becomes_an_outcome_or_ends_the_run(ray, monkeypatch):
    errors = ray.exceptions

    def outcome(error):
        def get(reference):
            raise error

        monkeypatch.setattr(ray, "get", get)
        return _outcome(ray, None, Clip("v0", Path("v0")))

    with pytest.raises(CannotStart, match="there: damaged"):
        outcome(errors.RayTaskError("label", "", CannotStart("there: damaged")))
    with pytest.raises(OSError, match="disk full"):
        outcome(errors.RayTaskError("label", "", OSError("disk full")))
    found = outcome(errors.RayTaskError("label", "", KeyError("x")))
    assert (found.key, found.state, found.error) == ("v0", "failed", "KeyError: 'x'")
    found = outcome(errors.ActorDiedError())
    assert found.state == "failed" and "its worker is lost" in found.error
