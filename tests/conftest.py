"""Where the real PTB-XL and ECG-QA are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("CAUSALECG_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / "ptbxl" / "ptbxl_database.csv").is_file():
        pytest.skip(f"needs real PTB-XL and ECG-QA files; {folder} has none (set CAUSALECG_DATA)")
    return folder
