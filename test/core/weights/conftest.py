# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for weights in place of the user's own, empty."""
    folder = tmp_path / "models"
    monkeypatch.setenv("ROBOTSEG_MODELS", str(folder))
    folder.mkdir()
    return folder
