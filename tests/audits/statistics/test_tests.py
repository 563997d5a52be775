"""Tests and intervals against scipy; against statsmodels in tests/oracle."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causalecg.audits.statistics.bootstrap import LARGEST, ClusterBootstrap
from causalecg.audits.statistics.equivalence import equivalence
from causalecg.audits.statistics.means import clopper_pearson
from causalecg.audits.statistics.sign_flip import sign_flip
from causalecg.audits.statistics.two_way import two_way_interval
from structural_models.multiplicity import benjamini_hochberg, holm


def test_bca_limits_are_scipys() -> None:
    # Of a skewed mean; scipy has no expanded quantiles, which widen by sqrt(G / (G - 1)) t / z: 1.3 % at G = 200.
    values = np.random.default_rng(0).exponential(size=200)
    boot = ClusterBootstrap(np.arange(200)[:, None], rng=np.random.default_rng(1), replicates=20_000)
    found = boot.means(values).interval(lambda m: m[..., 0])
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2), axis=-1
    ).confidence_interval
    # A quantile of 20,000 draws has a standard error of sqrt(.025 x .975 / 20000) / density(z) = .019 of a standard error.
    room = 3 * 0.019 * np.sqrt(2) * values.std() / np.sqrt(200)
    wider = 0.02 * (theirs.high - theirs.low) / 2
    assert abs(found.low - theirs.low) < room + wider
    assert abs(found.high - theirs.high) < room + wider
    plain = np.quantile(boot.means(values).drawn, [0.025, 0.975])
    assert found.low > plain[0] and found.high > plain[1]  # skewed to the right: both limits move up


def test_many_patients_are_resampled_in_groups_to_the_same_width() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(2 * LARGEST)
    boot = ClusterBootstrap(np.arange(2 * LARGEST)[:, None], rng=rng, replicates=2000)
    error = boot.means(values).standard_error(lambda m: m[..., 0])
    assert boot.clusters == 2 * LARGEST
    # The spread of 2,000 draws has a relative standard error of 1 / sqrt(4000).
    assert error == pytest.approx(1 / np.sqrt(2 * LARGEST), rel=3 / np.sqrt(4000) + 0.01)


def test_exact_limits_of_a_proportion() -> None:
    for ones, number in ((0, 20), (3, 40), (40, 40)):
        theirs = stats.binomtest(ones, number).proportion_ci(0.95, method="exact")
        assert clopper_pearson(ones, number) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_sign_flips_of_few_patients_are_all_counted() -> None:
    values, patients = np.array([0.5, -0.2, 0.9, 1.1, -0.1, 0.4, 0.3]), np.array([0, 0, 1, 2, 3, 3, 4])
    sums = np.bincount(patients, values)
    theirs = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip(values, patients, rng=np.random.default_rng(0)) == pytest.approx(theirs, abs=1e-12)


def test_random_sign_flips_approach_the_exact_p() -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal(16) + 0.4
    every = 1 - 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    exact = (np.abs(every @ values) >= abs(values.sum()) - 1e-9).mean()
    found = sign_flip(values, np.arange(16), rng=rng)
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9999) + 1e-4)


def test_a_patient_with_many_items_is_one() -> None:
    # Forty items of two patients: the smallest two-sided p of two signs is 1/2.
    assert sign_flip(np.ones(40), np.repeat([0, 1], 20), rng=np.random.default_rng(0)) == 0.5


def test_equivalence_is_two_t_tests() -> None:
    values = np.random.default_rng(4).normal(0.02, 0.3, 200)
    error = values.std(ddof=1) / np.sqrt(200)
    one = stats.ttest_1samp(values, -0.05, alternative="greater").pvalue
    two = stats.ttest_1samp(values, 0.05, alternative="less").pvalue
    assert equivalence(values.mean(), error, 0.05, 199) == pytest.approx(max(one, two), rel=1e-9)
    with pytest.raises(ValueError, match="margin must be positive"):
        equivalence(0.0, 1.0, 0.0)


def test_adjusted_p_values() -> None:
    p = [0.01, 0.04, float("nan"), 0.03, 0.005]
    there = [0, 1, 3, 4]
    assert benjamini_hochberg(p)[there] == pytest.approx(stats.false_discovery_control(np.array(p)[there]), abs=1e-12)
    # By the definition: the largest of (m - rank + 1) p so far, in ascending order.
    assert holm(p)[there] == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-12)
    assert np.isnan(holm(p)[2]) and np.isnan(benjamini_hochberg(p)[2])


def test_two_way_clusters_against_the_double_sum() -> None:
    # V = sum over pairs of items that share a cluster of either kind of e_i e_j / n^2 (Cameron, Gelbach & Miller 2011,
    # eq. 2.2), before the finite-sample factors, which are put back here kind by kind.
    rng = np.random.default_rng(5)
    first, second = rng.integers(0, 30, 400), rng.integers(0, 25, 400)
    values = rng.standard_normal(30)[first] + rng.standard_normal(25)[second] + rng.standard_normal(400)
    e = values - values.mean()
    total = 0.0
    for same, sign in ((first, 1), (second, 1), (first * 25 + second, -1)):
        groups = len(np.unique(same))
        pairs = np.outer(e, e)[same[:, None] == same[None, :]].sum()
        total += sign * groups / (groups - 1) * pairs / 400**2
    found = two_way_interval(values, first, second)
    reach = stats.t.ppf(0.975, 24) * np.sqrt(total)
    assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=1e-12)
    assert np.isnan(two_way_interval(values, first, second % 10).low)
