from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort import sensitivity
from causalecg.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scm") / "c"
    simulate_cohort(path, regime="R1", items=400, test_items=40, rho=0.8, seed=1, rate_hz=50, seconds=1, progress=False)
    return path


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "REPLICATES", 100)


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    return build_app()


def run(app: typer.Typer, *arguments: str):
    return CliRunner().invoke(app, ["scm", "sensitivity", *arguments])


def test_tables_and_figures(app: typer.Typer, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(app, "--cohort", str(folder), "--simulations", "5", "--out", str(out))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "severity_visible: P(A | do(Q)) = Σ_s P(A | Q, s) P(s)"
    assert lines[1].startswith(
        "split train: 400 items of 400 patients; style within question_id, adjusted for simulated"
    )
    for part in (
        "standardised risks and E-values",
        "robustness value",
        "bounds hold zero from Λ",
        "Γ* =",
        "placebo treatment",
    ):
        assert part in result.stdout
    names = {path.name for path in out.iterdir()}
    assert names == {
        "sensitivity.json",
        *(f"{name}.svg" for name in ("e_values", "hidden_choice", "contours", "misrecorded_severity", "refuters")),
    }
    assert json.loads((out / "sensitivity.json").read_text())["estimand"]["adjustment"] == ["severity"]


def test_json_is_the_same_for_the_same_seed(app: typer.Typer, folder: Path) -> None:
    arguments = ("--cohort", str(folder), "--simulations", "0", "--json", "--split", "test", "--errors", "adjacent")
    first, second = (run(app, *arguments) for _ in range(2))
    assert first.stdout == second.stdout
    record = json.loads(first.stdout)
    assert record["split"] == "test" and record["refutations"] is None
    assert record["misclassified"]["errors"] == "adjacent"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name a cohort"),
        (("--cohort", "nowhere"), "nowhere is not a cohort"),
        (("--cohort", "FOLDER", "--errors", "odd"), "uniform or adjacent"),
        (("--cohort", "FOLDER", "--simulations", "3"), "no spread"),
        (("--cohort", "FOLDER", "--severity", "acuity"), "no severity scale 'acuity'"),
        (("--cohort", "FOLDER", "--split", "elsewhere"), "no items in split elsewhere"),
        (("--cohort", "FOLDER", "--graph", "GRAPH"), "needs age adjusted for too"),
    ],
)
def test_bad_input_is_one_sentence(app: typer.Typer, folder: Path, tmp_path: Path, arguments: tuple, says: str) -> None:
    graph = tmp_path / "age.yaml"
    graph.write_text(
        "edges: [severity -> question, severity -> answer, age -> question, age -> answer]\n"
        "roles: {severity: severity, treatment: question, outcome: answer}\n"
    )
    places = {"FOLDER": str(folder), "GRAPH": str(graph)}
    result = run(app, *(places.get(part, part) for part in arguments))
    assert isinstance(result.exception, InputError)
    assert says in str(result.exception)
