"""Adjusters on a cohort of known truth. n = 4,000 test items: a standard error of about .005 at .9."""

from __future__ import annotations

import numpy as np
import pytest

from adjusters.contract import Adjuster
from adjusters.reference_loop import drive
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, SEVERITY, ToyCohort, ToyScorer, accuracy, toy_cohort

ERROR = np.sqrt(0.9 * 0.1 / 4000)


def unbiased(toy: ToyCohort, ours: Adjuster, *, oracle: bool = False, placebo: bool = False, epochs: int = 12) -> float:
    train, valid = (toy.split(name + ("_oracle" if oracle else "")) for name in ("train", "valid"))
    if placebo:
        rng = np.random.default_rng(9)
        train, valid = (t.assign(**{SEVERITY: rng.permutation(t[SEVERITY].to_numpy())}) for t in (train, valid))
    done = drive(ours, train, valid, toy.batch, ToyScorer, estimand=ESTIMAND, epochs=epochs)
    return accuracy(done.objective, toy, "test_unbiased")


@pytest.fixture(scope="module")
def toy() -> ToyCohort:
    return toy_cohort(rho=0.97, seed=0)


@pytest.fixture(scope="module")
def ends(toy) -> tuple[float, float]:
    """Unbiased accuracy of the unadjusted model and of the oracle."""
    return unbiased(toy, adjuster("none")), unbiased(toy, adjuster("none"), oracle=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "share"), [("backdoor", {}, 0.8), ("stratified", {}, 0.6), ("ipw", {}, 0.3)]
)
def test_what_is_recovered_and_what_a_placebo_recovers(toy, ends, name: str, options: dict, share: float) -> None:
    """``share`` of the gap is a floor stated beforehand from the effective samples: all rows for back-door adjustment,
    4q(1-q) = 6 % of them (240 rows) for weights. The placebo gains nothing beyond four standard errors of a difference;
    that of the stratified adjuster, whose first stage needs no severity, beyond a fifth of the gap."""
    low, high = ends
    assert high - low > 0.1
    found = unbiased(toy, adjuster(name, **options))
    assert (found - low) / (high - low) > share, (low, found, high)
    placebo = unbiased(toy, adjuster(name, **options), placebo=True)
    allowed = 0.2 * (high - low) if name == "stratified" else 4 * np.sqrt(2) * ERROR
    assert placebo - low < allowed, (low, placebo, high)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["backdoor", "ipw", "stratified"])
def test_no_harm_without_confounding(name: str) -> None:
    toy = toy_cohort(rho=0.5, seed=1)
    plain, found = unbiased(toy, adjuster("none")), unbiased(toy, adjuster(name))
    assert found > plain - 3 * np.sqrt(2) * ERROR


@pytest.mark.slow
def test_where_severity_shows_in_the_ecg_the_conditional_prior_is_the_right_one() -> None:
    toy = toy_cohort(rho=0.9, severity_visible=2.0, seed=2)
    conditional, marginal = (unbiased(toy, adjuster("backdoor", prior=p)) for p in ("conditional", "marginal"))
    assert conditional > marginal + 3 * np.sqrt(2) * ERROR
