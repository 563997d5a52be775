"""Identities that need no other package: with saturated models all estimators of one population are the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.effects.augmented import Augmented
from structural_models.effects.bayesian import BayesianGFormula
from structural_models.effects.entropy_balancing import EntropyBalancing
from structural_models.effects.estimate import estimate_effects
from structural_models.effects.g_formula import GFormula, Stratification
from structural_models.effects.method import Method
from structural_models.effects.weighting import InverseProbability, Overlap

#: The regressions are iterative, and take their time.
SAME = [
    GFormula(),
    pytest.param(GFormula("regression", interactions="all"), marks=pytest.mark.slow),
    Stratification(),
    InverseProbability(),
    pytest.param(InverseProbability("multinomial"), marks=pytest.mark.slow),
    EntropyBalancing(),
    Augmented(folds=1),
    pytest.param(Augmented("multinomial", folds=1), marks=pytest.mark.slow),
]


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Any table in which every stratum has every arm and every answer."""
    strata, arms = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    sizes = draw(st.lists(st.integers(1, 6), min_size=strata * arms * 2, max_size=strata * arms * 2))
    rows = [
        (f"s{s}", f"q{q}", "yes" if a else "no")
        for (s, q, a), size in zip(np.ndindex(strata, arms, 2), sizes, strict=True)
        for _ in range(size)
    ]
    return pd.DataFrame(rows, columns=["severity", "question", "answer"])


def means(table: pd.DataFrame, method: Method | BayesianGFormula, **options) -> pd.DataFrame:
    found = estimate_effects(table, "question", "answer", ["severity"], method=method, threshold=0.0, **options)
    return found.table.set_index(["arm", "outcome"])


def test_the_g_formula_is_the_enumerated_truth(toy) -> None:
    found = estimate_effects(toy.table, "style", "answer", ["severity"]).table
    done = found[found["outcome"] == 1]["interventional"].to_numpy()
    assert np.abs(done - toy.do).max() < 1e-12
    conditional = estimate_effects(toy.table, "style", "answer", ["severity"], within=["ecg"]).table
    done = conditional[conditional["outcome"] == 1].pivot(index="arm", columns="ecg", values="interventional")
    assert np.abs(done.to_numpy() - toy.do_given_ecg).max() < 1e-12


def test_the_bias_is_what_is_seen_less_what_is_done(toy) -> None:
    found = estimate_effects(toy.table, "style", "answer", ["severity"]).table
    seen = toy.table.groupby("style")["answer"].mean().to_numpy()
    assert np.abs(found[found["outcome"] == 1]["bias"].to_numpy() - (seen - toy.do)).max() < 1e-12


@settings(max_examples=40, deadline=None)
@given(tables())
@pytest.mark.parametrize("method", SAME[1:], ids=lambda m: f"{m.name} {vars(m)}")
def test_saturated_estimators_agree(method: Method, table: pd.DataFrame) -> None:
    """One column of levels: every model of this list is saturated in it. The regressions are iterative: 1e-5."""
    wanted, found = (means(table, m)["interventional"] for m in (GFormula(), method))
    exact = isinstance(method, Stratification | InverseProbability | EntropyBalancing | Augmented)
    iterative = "multinomial" in vars(method).values() or not exact
    assert np.abs(wanted - found).max() < (1e-5 if iterative else 1e-8)


@settings(max_examples=20, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
@pytest.mark.parametrize("method", [*SAME, Overlap()], ids=lambda m: f"{m.name} {vars(m)}")
def test_rows_have_no_order_and_arms_no_names(method: Method, table: pd.DataFrame, random) -> None:
    wanted = means(table, method)
    order = list(range(len(table)))
    random.shuffle(order)
    moved = means(table.iloc[order].reset_index(drop=True), method)
    columns = ["interventional", "interventional_low", "interventional_high", "associated_low"]
    assert np.abs(wanted[columns] - moved[columns]).max().max() < 1e-6
    names = {f"q{i}": f"q{9 - i}" for i in range(4)}
    renamed = means(table.assign(question=table["question"].map(names)), method)
    back = renamed.rename(index={new: old for old, new in names.items()}, level=0).sort_index()
    assert np.abs(wanted[columns] - back[columns]).max().max() < 1e-5


@settings(max_examples=20, deadline=None)
@given(tables())
@pytest.mark.parametrize("method", [*SAME, Overlap()], ids=lambda m: f"{m.name} {vars(m)}")
def test_every_row_twice(method: Method, table: pd.DataFrame) -> None:
    """The estimate stays; as independent rows the variance halves, as two rows of one patient it stays too, but for
    patients / (patients - 1)."""
    once = means(table, method)
    both = pd.concat([table, table], ignore_index=True)
    twice = means(both, method)
    together = means(both, method, groups=np.tile(np.arange(len(table)), 2))
    n = len(table)
    width = {
        name: frame["interventional_high"] - frame["interventional_low"]
        for name, frame in (("once", once), ("twice", twice), ("together", together))
    }
    assert np.abs(once["interventional"] - twice["interventional"]).max() < 1e-6
    assert np.abs(width["twice"] - width["once"] / np.sqrt(2)).max() < 1e-5
    assert np.abs(width["together"] - width["once"] * np.sqrt(n / (n - 1))).max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(tables())
def test_regression_on_stratum_dummies_is_the_overlap_contrast(table: pd.DataFrame) -> None:
    """Two arms: least squares with an indicator of every stratum weighs strata by P(q | s) (1 - P(q | s))."""
    two = table[table["question"].isin(["q0", "q1"])].reset_index(drop=True)
    found = estimate_effects(two, "question", "answer", ["severity"], method=Overlap()).contrasts()
    ours = float(found[found["outcome"] == "yes"]["difference"].iloc[0])
    design = pd.get_dummies(two["severity"]).astype(float).assign(arm=(two["question"] == "q1").astype(float))
    fitted = np.linalg.lstsq(design.to_numpy(), (two["answer"] == "yes").to_numpy(dtype=float), rcond=None)[0]
    assert ours == pytest.approx(fitted[-1], abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_probabilities_over_the_answers_sum_to_one(table: pd.DataFrame) -> None:
    for method in (GFormula(), Overlap(), EntropyBalancing(), BayesianGFormula()):
        found = means(table, method, rng=np.random.default_rng(0), replicates=100)
        assert np.abs(found["interventional"].groupby(level=0).sum() - 1).max() < 1e-9
        assert np.abs(found["bias"].groupby(level=0).sum()).max() < 1e-9
