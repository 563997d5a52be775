from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from structural_models.errors import TableError
from structural_models.sensitivity.linear_fit import LinearFit, fit_linear
from structural_models.sensitivity.robustness import (
    adjusted_error,
    adjusted_estimate,
    benchmark_bound,
    contours,
    partial_r2,
    robustness_value,
)

fits = st.builds(
    lambda estimate, error, df, wider: LinearFit(estimate, error, error * wider, df, df, 1.0, 1.0, df + 2, 0),
    st.floats(0.01, 5) | st.floats(-5, -0.01),
    st.floats(0.001, 2),
    st.integers(10, 5000),
    st.just(1.0) | st.floats(0.5, 3),
)


@settings(deadline=None)
@given(fits, st.floats(0.1, 1))
def test_confounding_as_strong_as_the_robustness_value_takes_the_share_q(fit: LinearFit, q: float) -> None:
    rv = robustness_value(fit, q=q)
    assert 0 < rv < 1
    assert float(adjusted_estimate(fit, rv, rv)) == pytest.approx((1 - q) * fit.estimate, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(fits)
def test_with_alpha_the_interval_then_just_reaches_zero(fit: LinearFit) -> None:
    rv = robustness_value(fit, alpha=0.05)
    if rv == 0:
        assert abs(fit.estimate) <= student.ppf(0.975, fit.df - 1) * float(adjusted_error(fit, 0.0, 0.0)) * (1 + 1e-9)
        return
    reach = student.ppf(0.975, fit.df - 1)

    def distance(r2_outcome: float, r2_treatment: float) -> float:
        left = float(adjusted_estimate(fit, r2_outcome, r2_treatment)) * np.sign(fit.estimate)
        return (left - reach * float(adjusted_error(fit, r2_outcome, r2_treatment))) / fit.standard_error

    # Of all confounders that explain no more than rv of either, the worst one just takes the limit to zero.
    half = reach * float(adjusted_error(fit, 0.0, 0.0)) / fit.standard_error / np.sqrt(fit.df)
    worst = min(rv, rv / (rv + half**2))
    assert distance(worst, rv) / np.sqrt(fit.df) == pytest.approx(0, abs=1e-6)
    assert all(distance(share, rv) / np.sqrt(fit.df) >= -1e-6 for share in np.linspace(0, rv, 50))


def test_against_a_dense_solution_with_strata_and_clusters() -> None:
    rng = np.random.default_rng(0)
    n = 400
    strata, groups = rng.integers(0, 7, n), rng.integers(0, 60, n)
    x = rng.standard_normal((n, 2))
    d = (rng.random(n) < 0.3 + 0.05 * strata).astype(float)
    y = d * 0.4 + strata * 0.2 + x @ [1.0, -1.0] + rng.standard_normal(60)[groups] + rng.standard_normal(n)
    design = np.column_stack([d, x, x[:, 0] * 2, np.eye(7)[strata]])
    dense = np.delete(design, 3, axis=1)
    bread = np.linalg.inv(dense.T @ dense)
    beta = bread @ dense.T @ y
    e = y - dense @ beta
    scores = np.zeros((60, dense.shape[1]))
    np.add.at(scores, groups, dense * e[:, None])
    cr1 = bread @ scores.T @ scores @ bread * 60 / 59 * (n - 1) / (n - dense.shape[1])
    fit = fit_linear(y, d, np.column_stack([x, x[:, 0] * 2]), strata=strata, groups=groups)
    assert fit.estimate == pytest.approx(beta[0], rel=1e-10)
    assert fit.df == n - dense.shape[1] and fit.clusters == 60 and fit.test_df == 59
    assert fit.standard_error == pytest.approx(np.sqrt(e @ e / fit.df * bread[0, 0]), rel=1e-10)
    assert fit.robust_error == pytest.approx(np.sqrt(cr1[0, 0]), rel=1e-10)
    assert partial_r2(fit) == pytest.approx(1 - fit.outcome_squares / _squares_without(y, dense[:, 1:]), rel=1e-9)
    assert json.loads(json.dumps(fit.to_dict()))["rows"] == n


def _squares_without(y: np.ndarray, design: np.ndarray) -> float:
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(left @ left)


def test_a_confounder_as_strong_as_severity_once_severity_is_dropped() -> None:
    """Severity as benchmark: bounded confounding grows with k and shrinks the estimate."""
    rng = np.random.default_rng(1)
    s = rng.integers(0, 3, 3000)
    topic = rng.integers(0, 4, 3000)
    d = (rng.random(3000) < 0.3 + 0.15 * s).astype(float)
    y = (rng.random(3000) < 0.2 + 0.2 * s + 0.1 * d).astype(float)
    fit, without = fit_linear(y, d, strata=topic * 3 + s), fit_linear(y, d, strata=topic)
    bounds = [benchmark_bound(fit, without, "severity", k_treatment=k) for k in (0.5, 1.0, 2.0)]
    assert [b.estimate for b in bounds] == sorted((b.estimate for b in bounds), reverse=True)
    assert bounds[0].estimate < fit.estimate
    grid = contours(fit, most=0.3, points=4)
    assert grid.estimate.shape == (4, 4) and grid.estimate[0, 0] == pytest.approx(fit.estimate)
    assert grid.estimate[2, 3] == pytest.approx(float(adjusted_estimate(fit, 0.2, 0.3)))
    with pytest.raises(TableError, match="lower k_treatment"):
        benchmark_bound(fit, without, "severity", k_treatment=1000)
    with pytest.raises(TableError, match="same rows"):
        benchmark_bound(without, fit, "severity")


def test_bad_input_is_refused() -> None:
    y, d = np.arange(10.0), np.arange(10) % 2
    fit = fit_linear(y, d)
    for call, says in (
        (lambda: fit_linear(y, d[:5]), "treatment 5"),
        (lambda: fit_linear(y, d, strata=d), "no variation of its own"),
        (lambda: fit_linear(y, np.ones(10)), "no variation of its own"),
        (lambda: fit_linear(np.append(y[:9], np.nan), d), "finite number"),
        (lambda: fit_linear(y, d, strata=y), "one integer per row"),
        (lambda: fit_linear(y, d, y[:3]), "10 rows"),
        (lambda: fit_linear(y, d, groups=np.zeros((10, 2), dtype=int)), "several patients"),
        (lambda: fit_linear(y, d, groups=np.zeros(10, dtype=int)), "two patients"),
        (lambda: robustness_value(fit, q=0), "q must be positive"),
        (lambda: adjusted_estimate(fit, 0.5, 1.0), "below 1"),
        (lambda: contours(fit, most=1.0), "share below 1"),
    ):
        with pytest.raises(TableError, match=says):
            call()
