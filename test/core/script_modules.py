# SPDX-License-Identifier: Apache-2.0
"""Programs of scripts/ as modules: they belong to no package."""

import importlib.util
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "scripts"


def script(name):
    """The module of ``scripts/<name>.py``, made anew."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
