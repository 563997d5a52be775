"""The command line answers at once, loads nothing heavy, and turns bad input into one sentence and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "transformers",
    "pandas",
    "numpy",
    "scipy",
    "sklearn",
    "dowhy",
    "pyro",
    "matplotlib",
    "networkx",
    "wfdb",
)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['causalecg', '--help']\n"
        "from causalecg.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.rstrip().endswith("LOADED []")


@pytest.mark.parametrize("package", ["causalecg", "adjusters", "structural_models"])
def test_packages_import_nothing_heavy(package: str) -> None:
    code = f"import sys, {package}; print([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "adjuster"], "nothing is called 'adjuster'"),
        (["train", "--cohort", "nowhere", "--arm", "none", "--out", "run"], "nowhere is not a cohort"),
        (["cohort", "describe", "nowhere"], "nowhere is not a cohort"),
        (["scm", "identify", "--graph", "latent_severity"], "severity"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "causalecg", *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 2
    assert says in run.stderr
    assert "Traceback" not in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        "PermissionError(13, 'Permission denied', 'some/file')",
        "OSError(28, 'No space left on device')",
        "OSError('odd')",
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_and_exit_code_2(error: str) -> None:
    code = f"import sys, causalecg.cli as cli\ndef fails(): raise {error}\ncli.build_app = lambda: fails\ncli.main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr and len(run.stderr.strip().splitlines()) == 1
