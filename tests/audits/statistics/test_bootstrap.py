from __future__ import annotations

import numpy as np
import pytest

from causalecg.audits.statistics.bootstrap import ClusterBootstrap


def single(patients: np.ndarray) -> np.ndarray:
    return np.stack([patients, patients], axis=1)


def test_means_are_those_of_resampled_tables() -> None:
    # Independent: literally build each resampled table, with the same counts.
    rng = np.random.default_rng(1)
    patients, values = rng.integers(0, 12, 60), rng.random((60, 2))
    values[3, 1] = np.nan
    boot = ClusterBootstrap(single(patients), rng=np.random.default_rng(2), replicates=7)
    means = boot.means(values)
    estimate, drawn = means.estimate, means.drawn
    assert np.allclose(estimate, np.nanmean(values, axis=0), atol=1e-12)
    counts = np.concatenate([c for _, c in boot._draws()])
    assert counts.sum(1).tolist() == [12.0] * 7
    for b in range(7):
        rows = np.repeat(np.arange(60), counts[b][patients].astype(int))
        assert np.allclose(drawn[b], np.nanmean(values[rows], axis=0), atol=1e-12)


def test_an_item_of_two_patients_counts_as_their_product() -> None:
    pairs = np.array([[0, 1], [1, 2], [2, 3], [0, 3], [4, 4]])
    values = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    boot = ClusterBootstrap(pairs, rng=np.random.default_rng(0), replicates=50)
    assert boot.dyadic
    drawn = boot.means(values).drawn
    counts = np.concatenate([c for _, c in boot._draws()])
    for b in range(50):
        weight = np.array([counts[b][i] * counts[b][j] if i != j else counts[b][i] for i, j in pairs])
        if weight.sum():
            assert drawn[b, 0] == pytest.approx((weight * values).sum() / weight.sum(), abs=1e-12)


def test_estimator_weights_are_honoured() -> None:
    values, weights = np.array([1.0, 0.0, 1.0]), np.array([2.0, 1.0, 1.0])
    boot = ClusterBootstrap(single(np.arange(3)), rng=np.random.default_rng(0), replicates=5)
    assert boot.means(values, weights).estimate[0] == pytest.approx(0.75)


def test_where_resampling_cannot_vary_the_limits_are_exact() -> None:
    # 0 of n: the exact upper limit of a proportion is 1 - (alpha/2)^(1/n).
    boot = ClusterBootstrap(single(np.arange(50)), rng=np.random.default_rng(0), replicates=200)
    found = boot.means(np.zeros(50)).share(0)
    assert (found.low, found.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 50)))


@pytest.mark.parametrize("dyadic", [False, True])
def test_coverage_of_a_clustered_mean(dyadic: bool) -> None:
    """200 data sets with patient effects: coverage within 3 Monte-Carlo standard errors of 95 %, on the low side.

    A naive bootstrap over items would cover far less: the patients' effects make up two thirds of the variance. The
    dyadic bootstrap is known to be conservative, so only its lower side is bounded.
    """
    rng = np.random.default_rng(11)
    covered, sets, clusters = 0, 200, 60
    for _ in range(sets):
        effect = rng.standard_normal(clusters)
        if dyadic:
            pairs = np.stack([rng.permutation(clusters) for _ in range(2)], 1)
            pairs = np.concatenate([pairs, np.stack([rng.permutation(clusters) for _ in range(2)], 1)])
            pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        else:
            pairs = single(np.repeat(np.arange(clusters), 4))
        values = effect[pairs].mean(1) + 0.7 * rng.standard_normal(len(pairs))
        boot = ClusterBootstrap(pairs, rng=rng, replicates=400)
        found = boot.means(values).interval(lambda m: m[..., 0])
        covered += found.low <= 0 <= found.high
    error = np.sqrt(0.95 * 0.05 / sets)
    assert covered / sets > 0.95 - 3 * error - 0.01  # the percentile interval of 60 clusters is a little narrow
    if not dyadic:
        assert covered / sets < 0.95 + 3 * error


def test_an_item_counts_as_the_product_of_its_distinct_patients_and_donors() -> None:
    own = np.array([[0, 1], [1, 2], [3, 3], [0, 0], [2, 3]])
    donors = np.array([[2, 3], [3, 0], [1, -1], [-1, -1], [2, 0]])
    values = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    boot = ClusterBootstrap(own, donors=donors, rng=np.random.default_rng(0), replicates=60)
    assert (boot.own, boot.donors, boot.clusters) == (4, 4, 4)
    drawn = boot.means(values).drawn
    counts = np.concatenate([c for _, c in boot._draws()])
    for b in range(60):
        people = [(set(o) | set(d)) - {-1} for o, d in zip(own.tolist(), donors.tolist(), strict=True)]
        weight = np.array([np.prod([counts[b][p] for p in names]) for names in people])
        if weight.sum():
            assert drawn[b, 0] == pytest.approx((weight * values).sum() / weight.sum(), abs=1e-12)


@pytest.mark.parametrize("donors", [200, 60, 30])
def test_coverage_with_few_donors_for_many_items(donors: int) -> None:
    """600 items of 600 patients, whose swapped answer depends on the donor's ECG: a follow rate of .8 by donor.

    Resampling the items' own patients alone covers .88 to .5 here. The dyadic bootstrap is conservative where an item
    has much of its own, so only its lower side is bounded; 30 clusters make percentile intervals a little narrow.
    """
    rng = np.random.default_rng(donors)
    covered, naive, sets = 0, 0, 200
    own = single(np.arange(600))
    for _ in range(sets):
        of = rng.integers(0, donors, 600)
        readable = rng.random(donors) < 0.8
        values = np.where(rng.random(600) < 0.95, readable[of], ~readable[of]).astype(float)
        truth = 0.95 * 0.8 + 0.05 * 0.2
        boot = ClusterBootstrap(own, donors=single(600 + of), rng=rng, replicates=300)
        found = boot.means(values).share(0)
        covered += found.low <= truth <= found.high
        alone = ClusterBootstrap(own, rng=rng, replicates=300)
        found = alone.means(values).share(0)
        naive += found.low <= truth <= found.high
    assert covered / sets > 0.95 - 3 * np.sqrt(0.95 * 0.05 / sets) - 0.02
    assert naive < covered


def test_weights_may_differ_between_columns() -> None:
    values = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    boot = ClusterBootstrap(single(np.arange(3)), rng=np.random.default_rng(0), replicates=5)
    assert boot.means(values, np.array([[1.0, 2.0], [1.0, 1.0], [1.0, 1.0]])).estimate == pytest.approx([2 / 3, 3 / 4])
