"""A skipped comparison with another package fails where CAUSALECG_REQUIRE_ORACLE is set, as in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    "test_in_a_test.py": "import pytest\ndef test_a():\n    pytest.importorskip('no_such_package')\n",
    "test_in_a_module.py": "import pytest\npytest.importorskip('no_such_package')\ndef test_a(): pass\n",
    "test_expected.py": "import pytest\n@pytest.mark.xfail\ndef test_a(): assert False\ndef test_b(): pass\n",
}


@pytest.mark.parametrize("required", ["", "1"])
def test_skips_fail_where_the_packages_are_required(required: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "oracle" / "conftest.py", tmp_path)
    for name, text in CASES.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    run = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)],
        env={**os.environ, "CAUSALECG_REQUIRE_ORACLE": required},
        capture_output=True,
        text=True,
        check=False,
    )
    last = run.stdout.strip().splitlines()[-1]
    if required:
        assert run.returncode == 1 and "make oracle" in run.stdout
        assert last.startswith("1 failed, 1 passed, 1 xfailed, 1 error in")
    else:
        assert run.returncode == 0
        assert last.startswith("1 passed, 2 skipped, 1 xfailed in")


def test_continuous_integration_requires_them() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.index("export CAUSALECG_REQUIRE_ORACLE=1") < script.index("make oracle") < script.index("make test")
    assert "PySensemakr==0.0.8" in (ROOT / "Makefile").read_text()
