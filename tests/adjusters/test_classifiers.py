"""Rows and weights of an adjuster, as any classifier with ``fit(X, y, sample_weight=...)`` uses them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from adjusters.classifiers import fit_classifier
from adjusters.contract import Adjuster, Card, ContractError
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, ToyCohort, toy_cohort


class Swap(Adjuster):
    card = Card(summary="Styles exchanged between rows of a topic.", uses=("rewrite",))

    def rewrite(self, table, *, rng):
        return table.assign(style=table.groupby("topic")["style"].transform(lambda style: rng.permutation(style)))


class OwnRule(Adjuster):
    card = Card(summary="Predicts by a rule of its own.", uses=("predict",))


class Recorder:
    """A classifier that keeps what it is given."""

    def fit(self, x, y, sample_weight=None):
        self.x, self.y, self.sample_weight = x, y, sample_weight
        return self


def features_of(toy: ToyCohort):
    def features(table: pd.DataFrame) -> np.ndarray:
        ecg = toy.signals[[int(ids[0][1:]) for ids in table["ecg_ids"]], 0]
        return np.column_stack([ecg, table["style"] == "urgent"]).astype(float)

    return features


def fitted(toy: ToyCohort, ours: Adjuster, classifier):
    return fit_classifier(
        ours, classifier, toy.split("train"), features_of(toy), ESTIMAND, rng=np.random.default_rng(0)
    )


def right(toy: ToyCohort, model, split: str) -> np.ndarray:
    table = toy.split(split)
    return (model.predict(features_of(toy)(table)) == table["answer"].str[0]).to_numpy().astype(float)


@pytest.mark.parametrize("ours", [adjuster("ipw"), Swap()], ids=["ipw", "swap"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_weights_and_rewritten_rows_beat_the_unadjusted_fit(ours: Adjuster, seed: int) -> None:
    """By more than three standard errors of the paired difference over 4,000 test items, at every seed."""
    toy = toy_cohort(rho=0.9, train=4000, valid=10, test=4000, seed=seed)
    plain, found = (
        right(toy, fitted(toy, a, LogisticRegression(max_iter=2000)), "test_unbiased") for a in (adjuster("none"), ours)
    )
    gain = found - plain
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain)), (plain.mean(), found.mean())


def test_the_classifier_is_given_the_rewritten_rows_and_the_weights_as_they_are() -> None:
    toy = toy_cohort(rho=0.9, train=400, valid=10, test=10, seed=0)
    table = toy.split("train")
    weighted = fitted(toy, adjuster("ipw"), Recorder())
    wanted = adjuster("ipw").fit(table, ESTIMAND, rng=np.random.default_rng(0)).weights(table)
    assert np.array_equal(weighted.sample_weight, wanted)
    assert list(weighted.y) == [answer[0] for answer in table["answer"]]
    assert fitted(toy, adjuster("none"), Recorder()).sample_weight is None
    swapped = fitted(toy, Swap(), Recorder())
    assert not np.array_equal(swapped.x[:, -1], weighted.x[:, -1])
    assert sorted(swapped.x[:, -1]) == sorted(weighted.x[:, -1])
    assert np.array_equal(swapped.x[:, :-1], weighted.x[:, :-1])


def test_a_prediction_rule_and_several_answers_are_refused() -> None:
    toy = toy_cohort(rho=0.9, train=200, valid=10, test=10, seed=0)
    with pytest.raises(ContractError, match="^OwnRule changes the predict") as caught:
        fitted(toy, OwnRule(), LogisticRegression())
    assert "\n" not in str(caught.value)
    several = ToyCohort(toy.items.assign(answer=[["yes", "no"]] * len(toy.items)), toy.signals)
    with pytest.raises(ContractError, match="exactly one answer per row"):
        fitted(several, adjuster("none"), LogisticRegression())


def test_a_mistake_in_the_features_is_not_blamed_on_the_classifier() -> None:
    toy = toy_cohort(rho=0.9, train=200, valid=10, test=10, seed=0)

    def wrong(table: pd.DataFrame) -> np.ndarray:
        raise TypeError("a mistake in the caller's own features")

    with pytest.raises(TypeError, match="own features"):
        fit_classifier(
            adjuster("ipw"), LogisticRegression(), toy.split("train"), wrong, ESTIMAND, rng=np.random.default_rng(0)
        )


def test_the_last_step_of_a_pipeline_takes_the_weights() -> None:
    toy = toy_cohort(rho=0.9, train=200, valid=10, test=10, seed=0)
    plain = fitted(toy, adjuster("ipw"), LogisticRegression())
    nested = make_pipeline(FunctionTransformer(), make_pipeline(FunctionTransformer(), LogisticRegression()))
    piped = fitted(toy, adjuster("ipw"), nested)
    assert np.array_equal(piped[-1][-1].coef_, plain.coef_)


def test_weights_make_a_logistic_regression_unbiased() -> None:
    toy = toy_cohort(rho=0.9, train=4000, valid=10, test=4000, seed=2)
    weighted = right(toy, fitted(toy, adjuster("ipw"), LogisticRegression(max_iter=2000)), "test_unbiased").mean()
    best = 0.9  # Phi(2.56 / 2)
    error = np.sqrt(best * (1 - best) / 4000)
    # The effective sample is 4q(1-q) = 2(1-rho) = 20 % of 4,000: with 33 coefficients a loss of about 1 % is expected.
    assert weighted > best - 3 * error - 0.015


@pytest.mark.parametrize("name", ["backdoor", "stratified"])
def test_adjusters_that_need_a_scorer_are_refused_by_name(name: str) -> None:
    toy = toy_cohort(rho=0.9, train=200, valid=10, test=10, seed=0)
    with pytest.raises(ContractError, match=f"(?i)^{name} changes the"):
        fitted(toy, adjuster(name), LogisticRegression())


@pytest.mark.parametrize("wrap", [lambda c: c, make_pipeline], ids=["bare", "in a pipeline"])
def test_a_classifier_without_weights_is_refused(wrap) -> None:
    toy = toy_cohort(rho=0.9, train=200, valid=10, test=10, seed=0)
    with pytest.raises(ContractError, match="KNeighborsClassifier takes no sample_weight"):
        fitted(toy, adjuster("ipw"), wrap(KNeighborsClassifier()))
