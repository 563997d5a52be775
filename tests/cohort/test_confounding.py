"""Confounder effects of a cohort: what is compared with what, and a dial that is recovered."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cli import build_app
from causalecg.cohort.confounding import confounder_effects
from causalecg.cohort.effects_folder import read_effects
from causalecg.cohort.schema import Cohort
from causalecg.cohort.treated_items import treated_items
from causalecg.errors import InputError
from structural_models.graph import preset


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    out = tmp_path_factory.mktemp("confounding") / "cohort"
    simulate_cohort(out, rho=0.9, items=3000, test_items=8, rate_hz=50, seconds=1.0, seed=1, progress=False)
    return Cohort.open(out)


@pytest.mark.parametrize("method", ["g-formula", "ipw", "overlap", "entropy", "augmented", "stratification", "bayes"])
def test_the_dial_is_seen_and_its_absence_under_do(cohort: Cohort, method: str) -> None:
    """P(yes | urgent) = rho = .9 and P(yes | calm) = .1; under do(F) both are one half. The intervals of 3,000 items
    hold these, each at 99.9 % (four statements)."""
    record = confounder_effects(cohort, preset("severity_visible"), method=method)
    (scale,) = record["scales"]
    found = scale["effects"][0]
    assert (found["effect"], found["treatment"], found["within"]) == ("wording", "style", ["question_id"])
    assert found["items"] == 3000
    stretch = 3.29 / 1.96
    for row in found["table"]:
        seen = 0.9 if (row["arm"] == "urgent") == (row["outcome"] == "yes") else 0.1
        for name, truth in (("associated", seen), ("interventional", 0.5), ("bias", seen - 0.5)):
            reach = stretch * (row[f"{name}_high"] - row[f"{name}_low"]) / 2
            assert abs(row[name] - truth) < reach
    # One question: there is no other to compare it with.
    assert scale["left_out"] == [
        f"'question_id' has one value in split train of {cohort.path}; there is nothing to compare"
    ]


def test_severity_does_not_work_through_a_wording_that_does_nothing(cohort: Cohort) -> None:
    record = confounder_effects(cohort, preset("severity_visible"))
    rows = {(r["effect"], r["outcome"]): r for r in record["scales"][0]["severity"]["table"]}
    indirect = rows["natural indirect", "yes"]
    assert indirect["low"] < 0 < indirect["high"]
    p = 0.5 * (1 + np.sqrt(0.8))
    total = rows["total", "yes"]
    assert total["low"] < 2 * p - 1 < total["high"]


def test_unusable_cohorts_are_refused(cohort: Cohort) -> None:
    with pytest.raises(InputError, match="no severity scale 'acuity'"):
        confounder_effects(cohort, preset("severity_visible"), scales=["acuity"])
    with pytest.raises(InputError, match="has no column 'nothing'"):
        treated_items(cohort, "train", "simulated", "nothing")


def test_a_bias_without_an_interval_is_printed(tmp_path) -> None:
    """Of two topics each has one question: within its topic nothing is there to compare it with, the bias is 0."""
    simulate_cohort(
        tmp_path / "c", regime="R3", rho=0.9, items=300, test_items=8, rate_hz=50, seconds=1.0, progress=False
    )
    run = CliRunner().invoke(build_app(), ["scm", "effects", "--cohort", str(tmp_path / "c")])
    assert run.exit_code == 0, run.output
    assert "+0.000 (no interval)" in run.stdout or "-0.000 (no interval)" in run.stdout


def test_command(cohort: Cohort, tmp_path) -> None:
    out = tmp_path / "effects"
    run = CliRunner().invoke(build_app(), ["scm", "effects", "--cohort", str(cohort.path), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "P(A | do(Q)) = Σ_s P(A | Q, s) P(s)" in run.stdout
    assert "2 of 4 biases" in run.stdout or "4 of 4 biases" in run.stdout
    assert (out / "simulated-wording.csv").exists()
    printed = CliRunner().invoke(build_app(), ["scm", "effects", "--cohort", str(cohort.path), "--json"])
    assert json.loads(printed.stdout) == read_effects(out)
    with pytest.raises(InputError, match="holds no effects.json"):
        read_effects(tmp_path)
    (out / "effects.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        read_effects(out)
