"""The example of an adjuster in a package of its own, installed and run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "your_own_adjuster"


def test_it_is_short() -> None:
    lines = (EXAMPLE / "confidence_penalty.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 40


@pytest.mark.slow
def test_once_installed_it_is_listed_conforms_and_is_compared(tmp_path: Path) -> None:
    place = tmp_path / "installed"
    quiet = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *quiet, "--target", str(place), str(EXAMPLE)], check=True, cwd=tmp_path
    )
    path = os.pathsep.join([str(place), str(ROOT)])

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "confidence_penalty" in run("-m", "causalecg", "list", "adjusters")
    check = "from adjusters.testing import check_adjuster; check_adjuster('confidence_penalty', strength=0.5)"
    run("-c", check)
    arms = "none,oracle,confidence_penalty"
    given = ["--benchmark", "t0", "--regimes", "R8", "--seeds", "1", "--arms", arms, "--items", "400"]
    run("-m", "causalecg", "compare", *given, "--out", "board")
    assert any("confidence_penalty" in file.name for file in (tmp_path / "board").rglob("*"))
