from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from causalecg.training.config import RunConfig
from causalecg.training.stages import has_stages, read_stages

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.slow
def test_a_module_that_is_not_ours_gets_a_report(tmp_path: Path) -> None:
    code = "from pathlib import Path; import own_model; own_model.main(Path('out'), items=200, rho=0.9)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment, capture_output=True)
    record = json.loads((tmp_path / "out" / "report" / "report.json").read_text())
    assert {v["run"] for v in record["verdicts"]} == {"none", "backdoor", "oracle"}
    assert (tmp_path / "out" / "report" / "report.html").stat().st_size < 300_000


def test_it_is_short() -> None:
    assert len((EXAMPLES / "own_model.py").read_text().splitlines()) <= 60


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path: Path) -> None:
    environment = {**os.environ, "CAUSALECG_SMOKE": "1", "PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, str(EXAMPLES / "execute.py"), str(EXAMPLES / "quickstart.py"), str(tmp_path / "q.ipynb")]
    subprocess.run(command, check=True, env=environment, capture_output=True, cwd=tmp_path)
    cells = json.loads((tmp_path / "q.ipynb").read_text())["cells"]
    assert all(cell["outputs"] is not None for cell in cells if cell["cell_type"] == "code")


def test_the_committed_notebook_is_this_script_executed() -> None:
    import jupytext

    source = jupytext.read(EXAMPLES / "quickstart.py")
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text())
    assert [c["source"] if isinstance(c["source"], str) else "".join(c["source"]) for c in notebook["cells"]] == [
        cell.source for cell in source.cells
    ]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not any(output["output_type"] == "error" for cell in code for output in cell["outputs"])


@pytest.mark.parametrize("path", sorted((EXAMPLES / "configs").glob("*.toml")), ids=lambda path: path.stem)
def test_configurations_are_valid(path: Path) -> None:
    epochs = tomllib.loads(path.read_text())["epochs"]
    if has_stages(path):
        assert read_stages(path)[0].config.epochs == epochs
    else:
        assert RunConfig.read(path).epochs == epochs


def test_the_ground_floor_alone_recovers_its_own_law() -> None:
    """Every printed interval holds the truth printed beside it (nine intervals of 95 %, one seed)."""
    code = "import structural_models_alone; structural_models_alone.main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])}
    run = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    assert "age ⟂ question | severity: not contradicted" in run.stdout
    rows = [line for line in run.stdout.splitlines() if line.startswith(("  plain", "  urgent", "  detailed"))]
    assert len(rows) == 3
    for row in rows:
        seen, truth, *rest = map(float, re.findall(r"-?\d+\.\d+", row))
        for low, high in zip(rest[1::3], rest[2::3], strict=True):
            assert low <= truth <= high
        assert abs(seen - truth) > 0.02
