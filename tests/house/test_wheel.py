"""The built wheel holds the three packages and their data files, and works away from the source tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("causalecg", "adjusters", "structural_models")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("causalecg-*.whl")
    return built


def tracked_files(package: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", package], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(listed.stdout.split())


def test_every_tracked_file_of_the_packages_is_in_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    for package in PACKAGES:
        assert tracked_files(package) - names == set()
    assert {"causalecg/reports/templates/report.html.jinja", "causalecg/cohort/scales/acuity.csv"} <= names
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_importable_and_usable_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import causalecg, adjusters, structural_models, sys; "
        "from causalecg.cohort.severity import describe; assert describe(); "
        f"assert causalecg.__file__.startswith({str(site)!r}), causalecg.__file__"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(site)})
