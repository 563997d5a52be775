from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from causalecg.training.config import RunConfig
from causalecg.training.stages import has_stages, read_stages

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
#: Notebooks of real ECGs and questions.
REAL = ("debiased_pretraining", "ecgqa")
#: Examples that are kept as a script and, beside it, as the notebook it makes when executed.
NOTEBOOKS = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.with_suffix(".ipynb").exists())


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


@pytest.fixture
def real_folders(real_data: Path, tmp_path: Path) -> dict[str, str]:
    """What the notebooks of real data ask for: PTB-XL's first 2,500 records, which are soon read, and ECG-QA, with made-up
    questions of its template 2, whose answer is the statements that severity is made of."""
    part = tmp_path / "ptbxl"
    part.mkdir()
    lines = (real_data / "ptbxl" / "ptbxl_database.csv").read_text().splitlines(keepends=True)
    (part / "ptbxl_database.csv").write_text("".join(lines[:2501]))
    for name in ("scp_statements.csv", "records100"):
        (part / name).symlink_to((real_data / "ptbxl" / name).resolve())
    ecgqa = tmp_path / "ecgqa"
    shutil.copytree(real_data / "ecgqa" / "ptbxl", ecgqa)
    for split in ("train", "valid", "test"):
        ids = [int(line.split("\t")[1]) for line in (ecgqa / f"{split}_ecgs.tsv").read_text().splitlines()]
        rows = [
            {
                "template_id": 2, "question_id": 1, "sample_id": 10**6 + i, "question_type": "single-verify",
                "attribute_type": "scp_code", "question": f"Is there nothing wrong here? ({split == 'test'})",
                "answer": [("no", "yes")[i % 2]], "ecg_id": [ecg], "attribute": None,
            }
            for i, ecg in enumerate(i for i in ids if i <= 2500)
        ]  # fmt: skip
        (ecgqa / "paraphrased" / split / "made_up.json").write_text(json.dumps(rows[:100]))
    return {"PTBXL": str(part), "ECGQA": str(ecgqa)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    environment = {**os.environ, "CAUSALECG_SMOKE": "1", "PYTHONPATH": str(EXAMPLES.parent)}
    environment |= request.getfixturevalue("real_folders") if name in REAL else {}
    command = [sys.executable, str(EXAMPLES / "execute.py"), str(EXAMPLES / f"{name}.py"), str(tmp_path / "n.ipynb")]
    subprocess.run(command, check=True, env=environment, capture_output=True, cwd=tmp_path)
    cells = json.loads((tmp_path / "n.ipynb").read_text())["cells"]
    assert all(cell["outputs"] is not None for cell in cells if cell["cell_type"] == "code")
    if name == "ecgqa":
        printed = "".join(text for cell in cells for out in cell.get("outputs", ()) for text in out.get("text", ""))
        assert re.search("1 of [0-9]+ templates are left out, for [0-9]+ items", printed)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_committed_notebook_is_this_script_executed(name: str) -> None:
    import jupytext

    source = jupytext.read(EXAMPLES / f"{name}.py")
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text())
    assert [c["source"] if isinstance(c["source"], str) else "".join(c["source"]) for c in notebook["cells"]] == [
        cell.source for cell in source.cells
    ]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs)
    # Nothing of the machine it was executed on.
    assert not any(place in json.dumps(outputs) for place in (tempfile.gettempdir(), "/work/", str(Path.home()) + "/"))


def test_every_notebook_is_found() -> None:
    assert {"quickstart", "compare_adjusters", "confounder_report", "wrap_your_model", *REAL} <= set(NOTEBOOKS)


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
