"""What estimate_effects() does with thin strata, several patients in a row, answer spaces, and input that makes no sense."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from structural_models.effects.augmented import Augmented
from structural_models.effects.cells import tabulate
from structural_models.effects.entropy_balancing import EntropyBalancing, balancing_weights
from structural_models.effects.estimate import estimate_effects
from structural_models.effects.g_formula import GFormula, Stratification
from structural_models.effects.weighting import InverseProbability, Overlap
from structural_models.errors import PositivityError, TableError


def questions(rng: np.random.Generator, n: int = 3000, arms: int = 3) -> pd.DataFrame:
    severity = rng.integers(0, 3, n)
    question = (severity + rng.integers(0, arms, n)) % arms
    answer = np.where(rng.random(n) < 0.2 + 0.2 * severity, "yes", "no")
    return pd.DataFrame({"severity": severity, "question": [f"q{q}" for q in question], "answer": answer})


def test_an_arm_that_a_stratum_lacks_is_listed_and_not_adjusted() -> None:
    table = questions(np.random.default_rng(0))
    table = table[(table["severity"] != 1) | (table["question"] != "q2")].reset_index(drop=True)
    for method in (GFormula(), InverseProbability(), Augmented(folds=1)):
        found = estimate_effects(table, "question", "answer", ["severity"], method=method)
        said = found.table.set_index(["arm", "outcome"])["interventional"]
        assert said["q2"].isna().all()
        assert said[["q0", "q1"]].notna().all()
        assert found.failures[["severity", "arm", "rows", "propensity"]].to_dict("records") == [
            {"severity": 1, "arm": "q2", "rows": 0, "propensity": 0.0}
        ]
        assert found.warnings == ("1 of 3 arms are not adjusted: some stratum (almost) lacks them, see the failures",)
        assert set(found.contrasts()["arm"]) == {"q1"}
    inside = table[table["severity"] != 1]
    wanted = estimate_effects(inside, "question", "answer", ["severity"]).table
    found = estimate_effects(table, "question", "answer", ["severity"], method=Stratification()).table
    assert np.abs(found["interventional"] - wanted["interventional"]).max() < 1e-12
    assert np.abs(found["interventional_low"] - wanted["interventional_low"]).max() < 1e-12
    # Overlap gives the stratum no weight, which is the same here.
    assert (
        estimate_effects(table, "question", "answer", ["severity"], method=Overlap())
        .table["interventional"]
        .notna()
        .all()
    )


def test_a_rare_cell_is_a_failure_too() -> None:
    """P(q | s) below .01 for two arms of half the rows each; the threshold shrinks with the share of the arm."""
    rows = [("a", 0)] * 995 + [("b", 0)] * 5 + [("a", 1)] * 5 + [("b", 1)] * 995
    table = pd.DataFrame(rows, columns=["question", "severity"]).assign(answer=lambda t: np.arange(len(t)) % 2)
    assert len(estimate_effects(table, "question", "answer", ["severity"]).failures) == 2
    assert estimate_effects(table, "question", "answer", ["severity"], threshold=0.004).failures.empty
    many = questions(np.random.default_rng(1), 60_000, arms=160)
    assert estimate_effects(many, "question", "answer", ["severity"]).failures.empty


def test_every_arm_has_an_answer_space_of_its_own() -> None:
    """Two kinds of question: yes or no, and which lead; no contrast leads from one to the other."""
    rng = np.random.default_rng(2)
    first = questions(rng)
    second = questions(rng).assign(question="which lead", answer=rng.choice(["I", "II", "V1"], 3000, p=[0.5, 0.3, 0.2]))
    found = estimate_effects(pd.concat([first, second], ignore_index=True), "question", "answer", ["severity"])
    spaces = found.table.groupby("arm")["outcome"].agg(set)
    assert spaces["q0"] == {"yes", "no"}
    assert spaces["which lead"] == {"I", "II", "V1"}
    against = found.contrasts("q0")
    assert set(against["arm"]) == {"q1", "q2"}
    assert set(against["outcome"]) == {"yes", "no"}


def test_within_each_topic_apart() -> None:
    rng = np.random.default_rng(3)
    parts = [questions(rng).assign(topic=name) for name in ("AF", "LBBB")]
    whole = estimate_effects(pd.concat(parts, ignore_index=True), "question", "answer", ["severity"], within=["topic"])
    for part in parts:
        alone = estimate_effects(part, "question", "answer", ["severity"]).table
        inside = whole.table[whole.table["topic"] == part["topic"].iloc[0]].reset_index(drop=True)
        columns = ["interventional", "interventional_low", "interventional_high", "bias_low", "bias_high"]
        assert np.abs(inside[columns] - alone[columns]).max().max() < 1e-12


def test_cross_fitting_keeps_patients_whole(monkeypatch) -> None:
    """No fold's nuisance models have seen a patient of that fold."""
    from structural_models.effects import estimate

    seen = []
    tabulated = estimate.tabulate

    def spy(*args, fold, **kwargs):
        seen.append(fold)
        return tabulated(*args, fold=fold, **kwargs)

    monkeypatch.setattr(estimate, "tabulate", spy)
    rng = np.random.default_rng(4)
    groups = np.column_stack([rng.integers(0, 900, 3000), np.full(3000, -1)])
    groups[:200, 1] = rng.integers(0, 900, 200)
    estimate_effects(questions(rng), "question", "answer", ["severity"], method=Augmented(), groups=groups, rng=rng)
    (fold,) = seen
    for patient in range(900):
        assert len(set(fold[(groups == patient).any(axis=1)])) <= 1
    assert len(set(fold)) == 5


def test_entropy_balancing_balances() -> None:
    rng = np.random.default_rng(5)
    table = questions(rng).assign(age=lambda t: rng.normal(t["severity"], 1.0).round(1), sex=rng.integers(0, 2, 3000))
    (part,) = tabulate(table, "question", "answer", ["severity", "age", "sex"]).parts
    cells = part.cells
    weights = balancing_weights(cells) * cells.counts
    ages = cells.strata["age"].to_numpy()[cells.stratum]
    for arm in range(3):
        at = cells.arm == arm
        assert weights[at].sum() == pytest.approx(cells.counts[at].sum())
        assert np.average(ages[at], weights=weights[at]) == pytest.approx(table["age"].mean(), abs=1e-7)
    apart = pd.DataFrame({"question": ["a"] * 9 + ["b"] * 9, "age": [1.0] * 9 + [2.0] * 9, "answer": [0, 1, 1] * 6})
    with pytest.raises(PositivityError, match="no weights give question = a"):
        estimate_effects(apart, "question", "answer", ["age"], method=EntropyBalancing())


def test_its_json(toy) -> None:
    found = estimate_effects(toy.table, "style", "answer", ["severity"])
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert record["table"][0]["arm"] == "a"
    assert len(record["contrasts"]) == 4
    assert record["method"] == "g-formula"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treatment": "nothing"}, "lacks the column 'nothing'"),
        ({"adjustment": ["style"]}, "column 'style' has two parts to play"),
        ({"threshold": 2.0}, "must lie between 0 and 1"),
        ({"interval": "bootstrap"}, "give a generator as rng"),
        ({"interval": "exact"}, "the interval is influence, bootstrap, posterior"),
        ({"method": Augmented()}, "give a generator as rng"),
        ({"groups": np.zeros(3, dtype=int)}, "one integer"),
        ({"groups": np.arange(12000).reshape(4000, 3)}, "three patients or more"),
    ],
)
def test_bad_input_is_one_sentence(toy, change: dict, message: str) -> None:
    options = {"treatment": "style", "adjustment": ["severity"], **change}
    with pytest.raises(TableError, match=message) as caught:
        estimate_effects(toy.table, options.pop("treatment"), "answer", options.pop("adjustment"), **options)
    assert "\n" not in str(caught.value)


def test_bad_options() -> None:
    with pytest.raises(TableError, match="saturated or regression"):
        GFormula("splines")
    with pytest.raises(TableError, match="uses all covariates"):
        GFormula(covariates=("age",))
    with pytest.raises(TableError, match="or a function"):
        InverseProbability("probit")
    with pytest.raises(TableError, match="at least 1 fold"):
        Augmented(folds=0)


def test_too_many_strata_for_a_saturated_model() -> None:
    rng = np.random.default_rng(6)
    table = questions(rng, 200_000, arms=80).assign(age=rng.standard_normal(200_000).round(5))
    table["answer"] = rng.integers(0, 9, 200_000)
    with pytest.raises(TableError, match="too many for a saturated model"):
        estimate_effects(table, "question", "answer", ["age"])
