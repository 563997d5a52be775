from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort.schema import Cohort
from causalecg.errors import InputError
from structural_models.errors import TableError


def run(*arguments: str):
    return CliRunner().invoke(build_app(), ["scm", "implications", *arguments])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "c"
    simulate_cohort(folder, items=1200, test_items=40, rho=0.9, seed=2, rate_hz=50, seconds=2, progress=False)
    return folder


def test_without_a_cohort_they_are_listed() -> None:
    lines = run("--graph", "reference_paper").stdout.splitlines()
    assert lines[-4:] == ["implied", "  ecg ⟂ question", "  ecg ⟂ severity", "  ecg ⟂ {question, severity}"]
    hidden = run("--graph", "latent_severity").stdout
    assert "nothing that measured nodes could show is implied" in hidden
    assert "ecg, question: no set of measured nodes separates them: ecg ← severity → question stays open" in hidden
    record = json.loads(run("--graph", "topic_and_style", "--json").stdout)
    assert record["implications"]["joint"] == [{"first": ["ecg"], "second": ["style", "topic"], "given": ["severity"]}]


def test_with_a_cohort_they_are_tested(cohort: Path) -> None:
    shown = run("--graph", "reference_paper", "--cohort", str(cohort), "--permutations", "99")
    assert shown.exit_code == 0
    (joint,) = [line for line in shown.stdout.splitlines() if "ecg ⟂ {question, severity}" in line]
    assert "  contradicted" in joint and "1,200 rows of 1,200 patients" in joint
    assert "exchanging nodes: not informative: 0.083 of all 24 orders" in shown.stdout


@pytest.fixture
def noise(cohort: Path, tmp_path: Path) -> Path:
    ecgs = len(Cohort.open(cohort).ecgs)
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).standard_normal((ecgs, 3)))
    return tmp_path / "noise.npy"


def test_as_json_and_again(cohort: Path) -> None:
    arguments = ["--graph", "severity_visible", "--cohort", str(cohort), "--permutations", "99", "--json"]
    record = json.loads(run(*arguments).stdout)
    (check,) = record["implications"]["checks"]
    assert check["independence"] == "ecg ⟂ question | severity"
    assert (check["verdict"], check["method"], check["rows"]) == ("not contradicted", "covariance", 1200)
    assert record["falsification"]["share_no_worse"] is None
    assert record["cohort"]["hash"] == Cohort.open(cohort).hash
    assert record["rows"]["columns"]["question"] == "style" and record["embedding"] == "signal summaries"
    assert json.loads(run(*arguments).stdout) == record
    assert json.loads(run(*arguments, "--seed", "1").stdout)["implications"] != record["implications"]


def test_a_graph_whose_nodes_can_be_told_apart(cohort: Path, noise: Path, tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(
        "edges: [severity -> finding, severity -> style, finding -> ecg, finding -> answer]\n"
        "roles: {severity: severity, treatment: style, finding: finding, outcome: answer, ecg: ecg}\n"
    )
    arguments = ["--graph", str(tmp_path / "g.yaml"), "--cohort", str(cohort), "--permutations", "399"]
    record = json.loads(run(*arguments, "--embedding", str(noise), "--json").stdout)
    checks = {check["independence"]: check for check in record["implications"]["checks"]}
    assert checks["finding ⟂ style | severity"]["method"] == "permutation"
    found = record["falsification"]
    assert found["exact"] and found["permutations"] == 120 and found["share_equivalent"] <= 0.05
    assert found["verdict"] in ("falsified", "not falsified") and found["tests"] > 5
    shown = run(*arguments, "--embedding", str(noise)).stdout
    assert "independences are violated; " in shown and "of all 120 orders of" in shown


def test_embeddings_of_ones_own(cohort: Path, noise: Path) -> None:
    """An embedding of noise carries no trace of severity."""
    arguments = ["--graph", "reference_paper", "--cohort", str(cohort), "--permutations", "99"]
    shown = run(*arguments, "--embedding", str(noise), "--split", "train")
    assert shown.stdout.count("not contradicted") == 3


def test_too_few_permutations_are_refused_before_any_test(cohort: Path) -> None:
    failed = run("--graph", "finding_mediated", "--cohort", str(cohort), "--permutations", "19")
    assert isinstance(failed.exception, TableError) and "ask for at least 139" in str(failed.exception)


def test_options_about_rows_need_a_cohort() -> None:
    for arguments in (["--split", "test"], ["--embedding", "e.npy"], ["--environment", "x"]):
        failed = run(*arguments)
        assert isinstance(failed.exception, InputError) and "name their cohort with --cohort" in str(failed.exception)
