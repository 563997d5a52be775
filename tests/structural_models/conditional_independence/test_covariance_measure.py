"""The statistic against plain loops, its p against every sign, its variance against sandwich formulas."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from structural_models.conditional_independence.covariance_measure import covariance_measure


def test_the_statistic_is_the_largest_t_over_patients() -> None:
    rng = np.random.default_rng(0)
    x, y, patient = rng.standard_normal((40, 3)), rng.standard_normal((40, 2)), rng.integers(0, 15, 40)
    inflation = rng.uniform(1, 1.2, 40)
    largest = 0.0
    for i, j in product(range(3), range(2)):
        u = x[:, i] * y[:, j]
        variance = sum((u * inflation)[patient == p].sum() ** 2 for p in range(15))
        largest = max(largest, abs(u.sum()) / np.sqrt(variance))
    found = covariance_measure(x, y, patient[:, None], inflation=inflation, rng=rng, draws=19)
    assert found.statistic == pytest.approx(largest)
    assert found.components == 6


def test_its_p_is_exact_against_every_sign() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((9, 2)), rng.standard_normal((9, 1)) + 0.8
    u = x * y
    scale = np.sqrt((u**2).sum(axis=0))
    every = np.array([(np.abs(np.array(signs) @ u) / scale).max() for signs in product((-1, 1), repeat=9)])
    statistic = (np.abs(u.sum(axis=0)) / scale).max()
    exact = np.mean(every >= statistic - 1e-9)
    found = covariance_measure(x, y, np.arange(9)[:, None], rng=rng, draws=9999)
    assert found.statistic == pytest.approx(statistic)
    assert abs(found.p_value - exact) < 4 * np.sqrt(exact * (1 - exact) / 9999)


def test_rows_of_two_patients_have_the_dyadic_variance() -> None:
    """Σ over pairs of rows that share a patient, each pair of rows once."""
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((60, 1)) + 1, rng.standard_normal((60, 1)) + 1
    members = np.stack([rng.integers(0, 20, 60), rng.integers(20, 40, 60)], axis=1)
    members[::4, 1] = -1
    members[::7, 1] = members[::7, 0]
    u = (x * y)[:, 0]
    sets = [set(row.tolist()) - {-1} for row in members]
    variance = sum(u[i] * u[j] for i, j in product(range(60), repeat=2) if sets[i] & sets[j])
    found = covariance_measure(x, y, members, rng=rng, draws=19)
    assert found.statistic == pytest.approx(abs(u.sum()) / np.sqrt(variance))


def test_nothing_varies() -> None:
    found = covariance_measure(
        np.zeros((30, 2)), np.ones((30, 1)), np.arange(30)[:, None], rng=np.random.default_rng(0), draws=19
    )
    assert (found.components, found.statistic, found.p_value) == (0, 0.0, 1.0)


def test_products_in_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from structural_models.conditional_independence import covariance_measure as module

    rng = np.random.default_rng(3)
    x, y, patient = rng.standard_normal((50, 7)), rng.standard_normal((50, 3)), rng.integers(0, 20, (50, 1))
    whole = covariance_measure(x, y, patient, rng=np.random.default_rng(0), draws=99)
    monkeypatch.setattr(module, "_BUDGET", 300)
    assert covariance_measure(x, y, patient, rng=np.random.default_rng(0), draws=99) == whole
