from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort import sensitivity
from causalecg.cohort.contrast_rows import contrast_rows
from causalecg.cohort.schema import Cohort
from causalecg.cohort.sensitivity import Sensitivity, cohort_sensitivity
from causalecg.errors import InputError
from causalecg.reports.sensitivity_figures import sensitivity_figures

ERROR = 0.1


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Regime R1, in which style causes nothing; "recorded" is severity with a tenth of it wrong."""
    folder = tmp_path_factory.mktemp("sensitivity") / "c"
    simulate_cohort(
        folder, regime="R1", items=1500, test_items=40, rho=0.8, seed=2, rate_hz=50, seconds=1, progress=False
    )
    opened = Cohort.open(folder)
    items = opened.items.copy()
    wrong = np.random.default_rng(0).random(len(items)) < ERROR
    items["severity_recorded"] = np.where(wrong, 1 - items["severity_simulated"], items["severity_simulated"])
    scales = {**opened.meta["severity_scales"], "recorded": ["low", "high"]}
    return replace(opened, items=items, meta={**opened.meta, "severity_scales": scales})


@pytest.fixture(scope="module")
def few_replicates() -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitivity, "REPLICATES", 100)
        yield patch


@pytest.fixture(scope="module")
def recorded(cohort: Cohort, few_replicates: pytest.MonkeyPatch) -> Sensitivity:
    return cohort_sensitivity(cohort, "recorded", simulations=5)


def frame(cohort: Cohort, severity: str) -> pd.DataFrame:
    items = cohort.items[cohort.items["split"] == "train"]
    return pd.DataFrame(
        {
            "t": items["question_id"],
            "s": items[severity],
            "arm": (items["style"] == "urgent").astype(int),
            "yes": items["answer"].map(lambda answer: list(answer) == ["yes"]).astype(int),
            "patient": items["patient_ids"].str[0],
        }
    )


def test_risks_bounds_and_fit_against_plain_loops(cohort: Cohort, recorded: Sensitivity) -> None:
    table = frame(cohort, "severity_recorded")
    risks, weight = np.zeros(2), 0.0
    for _, rows in table.groupby(["t", "s"]):
        if rows["arm"].nunique() == 2:
            risks += len(rows) * rows.groupby("arm")["yes"].mean().to_numpy()
            weight += len(rows)
    risks /= weight
    first = recorded.ratios[0]
    assert first.arm == "urgent" and recorded.arms == 2 and recorded.kept == weight / len(table)
    own, other = (risks[1], risks[0]) if first.level == "yes" else (1 - risks[1], 1 - risks[0])
    assert (first.risk, first.other) == (pytest.approx(own), pytest.approx(other))
    assert recorded.marginal.low[0] == pytest.approx(own - other) == recorded.marginal.high[0]
    assert recorded.refutations is not None and recorded.refutations.estimate == pytest.approx(own - other, abs=1e-6)
    assert recorded.misclassified is not None and recorded.misclassified.contrast[0] == pytest.approx(own - other)
    y = table["yes"] if first.level == "yes" else 1 - table["yes"]
    cells = pd.get_dummies(table["t"].astype(str) + table["s"].astype(str)).to_numpy(dtype=float)
    beta = np.linalg.lstsq(np.column_stack([table["arm"], cells]), y.to_numpy(dtype=float), rcond=None)[0]
    assert recorded.linear is not None and recorded.linear.fit.estimate == pytest.approx(beta[0])
    assert recorded.linear.fit.clusters == table["patient"].nunique() == recorded.patients


def test_errors_of_a_tenth_are_what_would_explain_the_difference(recorded: Sensitivity) -> None:
    """Style causes nothing, so at the true rate of errors nothing is left, within the limits."""
    found = recorded.misclassified
    assert found is not None and found.tipping is not None and found.possible is not None
    step = found.rates[1]
    assert found.possible[0] - step <= ERROR <= found.possible[1] + step
    assert found.possible[0] <= found.tipping <= found.possible[1] + step
    assert recorded.ratios[0].e_value_limit > 1.5
    assert recorded.marginal.critical_limit is not None
    assert 1 < recorded.marginal.critical_limit < recorded.marginal.critical
    limit = np.interp(
        recorded.marginal.critical_limit,
        recorded.marginal.lambdas,
        recorded.marginal.limit_low if recorded.marginal.low[0] > 0 else recorded.marginal.limit_high,
    )
    assert abs(limit) < 1e-9


def test_sound_severity_leaves_nothing_to_explain(
    cohort: Cohort, recorded: Sensitivity, few_replicates: pytest.MonkeyPatch
) -> None:
    found = cohort_sensitivity(cohort, "simulated", simulations=0)
    assert found.refutations is None
    assert all(ratio.e_value_limit == 1.0 for ratio in found.ratios)
    assert found.linear is not None and found.linear.robustness_value_alpha == 0.0
    assert abs(found.linear.fit.estimate) < 3.3 * found.linear.fit.robust_error
    assert found.marginal.critical_limit is not None and recorded.marginal.critical_limit is not None
    # Limits of 95 % may leave zero out once in twenty; by a hair, and not by what a tenth of errors does.
    assert found.marginal.critical_limit < 1.2 < recorded.marginal.critical_limit / 1.5


def test_pairs_are_of_patients_who_differ_in_style_only(cohort: Cohort, recorded: Sensitivity) -> None:
    assert recorded.pairs is not None
    assert recorded.pairs.favourable <= recorded.pairs.discordant <= recorded.pairs.pairs
    table = frame(cohort, "severity_recorded")
    most = sum(min(rows["arm"].sum(), len(rows) - rows["arm"].sum()) for _, rows in table.groupby(["t", "s"]))
    assert 0.9 * most <= recorded.pairs.pairs <= most
    assert recorded.pairs.sensitivity_value > 1


def test_record_and_figures(recorded: Sensitivity) -> None:
    record = json.loads(json.dumps(recorded.to_dict(), allow_nan=False))
    assert record["leading"] == recorded.leading and record["split"] == "train"
    figures = sensitivity_figures(recorded)
    assert set(figures) == {"e_values", "hidden_choice", "contours", "misrecorded_severity", "refuters"}
    for svg in figures.values():
        assert svg.startswith("<svg role=") and "urgent against" in svg
    assert sensitivity_figures(recorded) == figures


def test_wordings_stand_in_where_there_is_one_style(cohort: Cohort, few_replicates: pytest.MonkeyPatch) -> None:
    items = cohort.items.assign(style="plain")
    rows = contrast_rows(replace(cohort, items=items), "train", "severity_simulated", "style")
    assert rows.treatment == "wording_id" and len(rows.arms) > 2 and rows.within == ("question_id",)
    found = cohort_sensitivity(replace(cohort, items=items), "simulated", simulations=0)
    assert found.arms == len(rows.arms) and "against all others" in found.leading
    assert found.ratios[0].contrasts == len(found.ratios) > 2


def test_items_of_two_patients_have_no_independent_pairs(cohort: Cohort, few_replicates: pytest.MonkeyPatch) -> None:
    items = cohort.items.assign(
        patient_ids=[[*ids, f"other-{i % 97}"] for i, ids in enumerate(cohort.items["patient_ids"])]
    )
    found = cohort_sensitivity(replace(cohort, items=items), "recorded", simulations=0)
    assert found.pairs is None and any("no matched pairs" in note for note in found.notes)
    assert found.linear is not None and found.linear.fit.clusters == 0


def test_what_cannot_be_compared_is_refused(cohort: Cohort) -> None:
    items = cohort.items
    for changed, says in (
        (items.assign(style="plain", wording_id="one"), "has one value in split train"),
        (items.assign(severity_simulated=-1), "no item of split train"),
        (items.assign(style=items["severity_simulated"].map({0: "calm", 1: "urgent"})), "occur at one severity"),
        (items.drop(columns="style"), "no column 'style'"),
    ):
        with pytest.raises(InputError, match=says):
            cohort_sensitivity(replace(cohort, items=changed), "simulated", simulations=0)
    second = items.assign(severity_simulated_1=items["severity_simulated"], severity_simulated_2=1)
    with pytest.raises(InputError, match="pairs of severities"):
        cohort_sensitivity(replace(cohort, items=second), "simulated", errors="adjacent", simulations=0)
    with pytest.raises(InputError, match="no severity scale 'acuity'"):
        cohort_sensitivity(cohort, "acuity", simulations=0)


@pytest.mark.realdata
@pytest.mark.slow
def test_real_wordings_go_with_no_answer(real_data: Path, tmp_path: Path, few_replicates: pytest.MonkeyPatch) -> None:
    """Rewordings of ECG-QA are assigned by split, not by severity, and mean the same."""
    from causalecg.cohort.build import build_cohort

    ptbxl, ecgqa = real_data / "ptbxl", real_data / "ecgqa" / "ptbxl"
    opened = Cohort.open(build_cohort(tmp_path / "c", ptbxl=ptbxl, ecgqa=ecgqa, progress=False))
    found = cohort_sensitivity(opened, "acuity", simulations=0)
    assert (found.treatment, found.within) == ("wording_id", ("environment", "question_id"))
    # Limits of 95 % for all contrasts together.
    assert found.ratios[0].e_value_limit < 1.5


def test_questions_are_compared_within_a_topic_and_its_candidates(cohort: Cohort) -> None:
    items = cohort.items.copy()
    items["question_id"] = np.where(np.arange(len(items)) % 2, "first", "second")
    items["topic"] = np.where(np.arange(len(items)) % 4 < 2, "one", "other")
    rows = contrast_rows(replace(cohort, items=items), "train", "severity_simulated", "question_id")
    assert rows.within == ("topic",) and rows.arms == ("first", "second")
    sets = [["yes", "no"] if i % 8 < 4 else ["no", "yes", "unsure"] for i in range(len(items))]
    several = contrast_rows(
        replace(cohort, items=items.assign(candidates=sets)), "train", "severity_simulated", "question_id"
    )
    assert several.within == ("topic", "candidate_answers") and several.shape[0] == 4
    train = items[items["split"] == "train"]
    assert rows.shape[0] == 2 and pd.crosstab(rows.held, train["topic"].to_numpy()).to_numpy().min() == 0
