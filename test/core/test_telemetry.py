# SPDX-License-Identifier: Apache-2.0
"""Nothing is told to anybody: telemetry of other packages is off before they are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "RAY_USAGE_STATS_ENABLED")
PROGRAM = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print("imported with", os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
import {module}
import onnxruntime
print(*[os.environ.get(name) for name in {names}])
"""


def run(module, **environment):
    clean = {key: value for key, value in os.environ.items() if key not in NAMES}
    code = PROGRAM.format(module=module, names=NAMES)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **environment}, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("module", ["robotseg_core", "robotseg_core.cli", "robotseg_core.backends.onnxruntime_encoder"])
def test_it_is_off_before_onnx_runtime_is_imported(module):
    assert run(module) == ["imported with 1", "1 1 1 0"]


def test_what_the_user_has_set_stays():
    assert run("robotseg_core", ORT_DISABLE_TELEMETRY="0")[0] == "imported with 0"


def test_every_process_that_is_started_inherits_it():
    import robotseg_core  # noqa: F401

    assert all(os.environ.get(name) for name in NAMES)


def test_onnx_runtime_is_imported_inside_our_packages_alone():
    """And there inside functions: the package's first lines have run by then."""
    for package in ("robotseg_core", "robotseg_ros"):
        for file in (ROOT / package).rglob("*.py"):
            for line in file.read_text().splitlines():
                assert not line.startswith(("import onnxruntime", "from onnxruntime")), file
