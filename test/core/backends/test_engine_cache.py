# SPDX-License-Identifier: Apache-2.0
"""Engines on disk: names, damage, locks; with a stand-in for TensorRT."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
from patience import PATIENCE_S
from small_models import small_model

from robotseg_core.backends.engine_cache import MAGIC, EngineError, EngineKey, cached_engine, read_engine, write_engine
from robotseg_core.backends.tensorrt_encoder import load_or_build

KEY = EngineKey("nano", 320, "fp16", 2, "0123456789abcdef", "10.13.3.9", "NVIDIA H200 NVL", "9.0")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "robotseg"


class FakeTensorRT:
    """Stands for the module: an engine is the text ``plan of FILE``; counts builds, can refuse to load or parse."""

    __version__ = KEY.tensorrt
    NetworkDefinitionCreationFlag = types.SimpleNamespace(STRONGLY_TYPED=1)
    BuilderFlag = types.SimpleNamespace(TF32="TF32")

    def __init__(self, parses: bool = True) -> None:
        self.builds = 0
        self.shapes: list[tuple[object, ...]] = []
        fake = self

        class Logger:
            WARNING = 2

            def __init__(self, severity) -> None: ...

        class Builder:
            def __init__(self, logger) -> None: ...

            def create_network(self, flags):
                assert flags == 2
                return types.SimpleNamespace(path=None)

            def create_builder_config(self):
                return types.SimpleNamespace(clear_flag=lambda flag: None, add_optimization_profile=lambda profile: 0)

            def create_optimization_profile(self):
                return types.SimpleNamespace(set_shape=lambda *shape: fake.shapes.append(shape))

            def build_serialized_network(self, network, config):
                fake.builds += 1
                return f"plan of {network.path}".encode()

        class OnnxParser:
            num_errors = 1

            def __init__(self, network, logger) -> None:
                self.network = network

            def parse_from_file(self, path):
                self.network.path = path
                return parses and Path(path).is_file()

            def get_error(self, index):
                return types.SimpleNamespace(desc=lambda: "no such operator")

        class Runtime:
            def __init__(self, logger) -> None: ...

            def deserialize_cuda_engine(self, plan):
                return plan.decode() if plan.startswith(b"plan of ") else None

        self.Logger, self.Builder, self.OnnxParser, self.Runtime = Logger, Builder, OnnxParser, Runtime


def test_engine_is_built_once_and_named_after_all_it_depends_on(cache, caplog):
    trt = FakeTensorRT()
    engine, path = load_or_build(small_model(), KEY, trt)
    assert path == cache / "encoder_nano_320_fp16_0123456789abcdef_b2_trt10.13.3.9_NVIDIA-H200-NVL_sm9.0.engine"
    assert engine.startswith("plan of ") and "_fp16_" in engine and "building" in caplog.text
    assert load_or_build(small_model(), KEY, trt) == (engine, path) and trt.builds == 1
    # For one image and for as many as the key says.
    assert trt.shapes == [("image", (1, 3, 320, 320), (2, 3, 320, 320), (2, 3, 320, 320))]


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "checksum is wrong"),
        (lambda path: path.write_bytes(b"ftrt raw plan"), "not an engine file"),
        (lambda path: path.write_bytes(MAGIC + b"{\n"), "header is damaged"),
        (lambda path: path.write_bytes(MAGIC + b"[1, 2]\n"), "header is damaged"),
        (lambda path: write_engine(path, KEY, b"plan of another TensorRT"[1:]), "does not accept it"),
        (lambda path: write_engine(path, replace(KEY, capability="8.9"), b"plan of x"), "8.9, not 9"),
    ],
    ids=["truncated", "foreign", "header", "no-dict", "refused", "other-gpu"],
)
def test_engines_that_cannot_be_used_are_rebuilt_and_the_log_says_why(cache, caplog, damage, reason):
    trt = FakeTensorRT()
    engine, path = load_or_build(small_model(), KEY, trt)
    damage(path)
    assert load_or_build(small_model(), KEY, trt) == (engine, path)
    assert trt.builds == 2 and re.search(f"{path.name} is built anew: .*{reason}", caplog.text)
    assert read_engine(path, KEY).decode() == engine


def test_engines_of_another_version_stay_and_are_named(cache, caplog):
    trt = FakeTensorRT()
    _, old = load_or_build(small_model(), replace(KEY, tensorrt="10.9.0.34"), trt)
    _, new = load_or_build(small_model(), KEY, trt)
    assert old != new and old.exists() and f"are not used: {old.name}" in caplog.text
    _, larger = load_or_build(small_model(), replace(KEY, batch=4), trt)
    assert larger not in (old, new) and trt.builds == 3 and trt.shapes[-1][-1] == (4, 3, 320, 320)


def test_graphs_that_tensorrt_refuses_end_with_its_reason(cache):
    with pytest.raises(EngineError, match="does not take .*no such operator"):
        load_or_build(small_model(), KEY, FakeTensorRT(parses=False))


def test_two_processes_build_one_engine(tmp_path):
    program = f"""
import sys, time
from pathlib import Path
from robotseg_core.backends.engine_cache import EngineKey, cached_engine
def build():
    time.sleep(1)
    with open({str(tmp_path / "builds")!r}, "a") as file:
        file.write("built\\n")
    return b"plan"
print(cached_engine(Path({str(tmp_path)!r}), {KEY!r}, load=bytes.decode, build=build)[0])
"""
    processes = [subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=PATIENCE_S) for process in processes]
    assert [out for out, _ in answers] == ["plan\n"] * 2, answers
    assert (tmp_path / "builds").read_text() == "built\n"
    assert "another process is busy" in answers[0][1] + answers[1][1]
    assert not list(tmp_path.glob(".*.part"))


def test_failed_builds_leave_no_file_and_release_the_lock(tmp_path):
    def fail() -> bytes:
        raise EngineError("no memory")

    for _ in range(2):
        with pytest.raises(EngineError, match="no memory"):
            cached_engine(tmp_path, KEY, load=bytes.decode, build=fail)
    assert not list(tmp_path.glob("*.engine"))


@pytest.mark.parametrize("name", [".{}.lock", ".{}.%d.part"])
def test_links_that_lie_in_wait_are_not_followed(tmp_path, name):
    """In a folder that others can write to."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / name.format(KEY.filename).replace("%d", str(os.getpid()))).symlink_to(victim)
    try:
        cached_engine(cache, KEY, load=bytes.decode, build=lambda: b"plan")
    except OSError as error:
        assert ".lock" in str(error) and name.endswith("lock")
    assert victim.read_text() == "precious"


def test_engines_that_may_be_anothers_are_built_anew(tmp_path, caplog):
    engine, path = cached_engine(tmp_path, KEY, load=bytes.decode, build=lambda: b"plan")
    path.chmod(0o666)
    assert cached_engine(tmp_path, KEY, load=bytes.decode, build=lambda: b"new") == ("new", path)
    assert "can be written by anybody" in caplog.text
