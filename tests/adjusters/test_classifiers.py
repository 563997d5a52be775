from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from adjusters.classifiers import fit_classifier
from adjusters.contract import ContractError
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, ToyCohort, toy_cohort


@pytest.fixture(scope="module")
def toy() -> ToyCohort:
    return toy_cohort(rho=0.9, train=4000, valid=10, test=4000, seed=2)


def features_of(toy: ToyCohort):
    def features(table: pd.DataFrame) -> np.ndarray:
        ecg = toy.signals[[int(ids[0][1:]) for ids in table["ecg_ids"]], 0]
        return np.column_stack([ecg, table["style"] == "urgent"]).astype(float)

    return features


def fitted_accuracy(toy: ToyCohort, name: str, split: str) -> float:
    features = features_of(toy)
    model = fit_classifier(
        adjuster(name), LogisticRegression(max_iter=2000), toy.split("train"), features, ESTIMAND,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    table = toy.split(split)
    return float((model.predict(features(table)) == table["answer"].str[0]).mean())


def test_weights_make_a_logistic_regression_unbiased(toy) -> None:
    plain, weighted = (fitted_accuracy(toy, name, "test_unbiased") for name in ("none", "ipw"))
    best = 0.9  # Phi(2.56 / 2)
    error = np.sqrt(best * (1 - best) / 4000)
    assert weighted > plain + 3 * error
    # The effective sample is 4q(1-q) = 2(1-rho) = 20 % of 4,000: with 33 coefficients a loss of about 1 % is expected.
    assert weighted > best - 3 * error - 0.015


@pytest.mark.parametrize("name", ["backdoor", "stratified"])
def test_adjusters_that_need_a_scorer_are_refused_by_name(toy, name: str) -> None:
    with pytest.raises(ContractError, match=f"(?i)^{name} changes the"):
        fitted_accuracy(toy, name, "test")


def test_a_classifier_without_weights_is_refused(toy) -> None:
    with pytest.raises(ContractError, match="KNeighborsClassifier takes no sample_weight"):
        fit_classifier(
            adjuster("ipw"), KNeighborsClassifier(), toy.split("train"), features_of(toy), ESTIMAND,
            rng=np.random.default_rng(0),
        )  # fmt: skip
