"""How strong must an unmeasured confounder be, in shares of variance explained, to change a linear estimate?

Source: Cinelli & Hazlett 2020, "Making sense of sensitivity: extending omitted variable bias". R²(Y~Z) stands for the
share of the outcome's residual variance (given treatment and covariates) that the confounder Z explains, R²(D~Z) for
that of the treatment's (given covariates).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from structural_models.errors import TableError
from structural_models.json_values import plain
from structural_models.sensitivity.linear_fit import LinearFit


def partial_r2(fit: LinearFit) -> float:
    """Share of the outcome's residual variance that the treatment explains: t² / (t² + df)."""
    return float(fit.t**2 / (fit.t**2 + fit.df))


def robustness_value(fit: LinearFit, *, q: float = 1.0, alpha: float | None = None) -> float:
    """RV: confounding that explains less than this share of both residual variances moves the estimate by less than
    ``q`` of itself; with ``alpha``, cannot make (1 - q) estimate fall inside the 1 - alpha interval.

    A confounder of that share that explains less of the outcome may move the interval further, since it also narrows
    it less; then the value is that of the worst such confounder. Clustered errors widen the interval as they stand.

    Raises TableError unless q is positive and alpha lies between 0 and 1.
    """
    if not q > 0 or (alpha is not None and not 0 < alpha < 1):
        raise TableError(f"q must be positive and alpha lie between 0 and 1, not {q} and {alpha}")
    f = q * abs(fit.t) / np.sqrt(fit.df)
    if alpha is None:
        return _value(f)
    critical = _critical(fit, alpha)
    if f <= critical:
        return 0.0
    if f * critical > 1:
        return float((f**2 - critical**2) / (1 + f**2))
    return _value(f - critical)


def adjusted_estimate(fit: LinearFit, r2_outcome: np.ndarray | float, r2_treatment: np.ndarray | float) -> np.ndarray:
    """The estimate had such a confounder been adjusted for, and and the estimate is too far from zero for it.

    Args:
        r2_outcome: R²(Y~Z) in [0, 1]; r2_treatment: R²(D~Z) in [0, 1). They broadcast.
    """
    y, d = _checked_shares(r2_outcome, r2_treatment)
    bias = fit.standard_error * np.sqrt(fit.df * y * d / (1 - d))
    return np.asarray(np.sign(fit.estimate) * (abs(fit.estimate) - bias))


def adjusted_error(fit: LinearFit, r2_outcome: np.ndarray | float, r2_treatment: np.ndarray | float) -> np.ndarray:
    """Its standard error, one degree of freedom less; a clustered error is presumed to shrink as a plain one.

    Arguments as :func:`adjusted_estimate`.
    """
    y, d = _checked_shares(r2_outcome, r2_treatment)
    return np.asarray(fit.robust_error * np.sqrt((1 - y) / (1 - d) * fit.df / (fit.df - 1)))


@dataclass(frozen=True)
class BenchmarkBound:
    """A confounder ``k_treatment`` times as strong with the treatment, and ``k_outcome`` times with the outcome, as a
    covariate (or several together) that was measured.

    Attributes:
        benchmark: which.
        r2_treatment, r2_outcome: the most it can explain, R²(D~Z) and R²(Y~Z).
        estimate, error, low, high: adjusted for it, and 1 - alpha limits.
    """

    benchmark: str
    k_treatment: float
    k_outcome: float
    r2_treatment: float
    r2_outcome: float
    estimate: float
    error: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = plain(asdict(self))
        return cleaned


def benchmark_bound(
    fit: LinearFit,
    without: LinearFit,
    benchmark: str,
    *,
    k_treatment: float = 1.0,
    k_outcome: float | None = None,
    alpha: float = 0.05,
) -> BenchmarkBound:
    """Bound a confounder by what a measured covariate does.

    Args:
        without: the same fit, less the covariates that are the benchmark.
        k_outcome: by default ``k_treatment``.

    Raises TableError where no confounder can be so many times as strong, or the two fits are of other rows.
    """
    from scipy.stats import t

    k_y = k_treatment if k_outcome is None else k_outcome
    if fit.rows != without.rows or without.df < fit.df:
        raise TableError(f"the fit without '{benchmark}' must be of the same rows and have fewer columns")
    if not (k_treatment > 0 and k_y > 0 and 0 < alpha < 1):
        raise TableError(f"k must be positive and alpha lie between 0 and 1, not {k_treatment}, {k_y} and {alpha}")
    of_d = 1 - fit.treatment_squares / without.treatment_squares
    of_y = 1 - fit.outcome_squares / without.outcome_squares
    r2_d = k_treatment * of_d / (1 - of_d)
    if not r2_d < 1:
        raise TableError(
            f"nothing can be {k_treatment:g} times as strong with the treatment as '{benchmark}', which explains "
            f"{of_d:.1%} of it; lower k_treatment"
        )
    between = k_treatment * of_d**2 / ((1 - k_treatment * of_d) * (1 - of_d))
    if not between < 1:
        raise TableError(f"'{benchmark}' explains {of_d:.1%} of the treatment; a smaller k_treatment can be bounded")
    r2_y = min(1.0, ((np.sqrt(k_y) + np.sqrt(between)) / np.sqrt(1 - between)) ** 2 * of_y / (1 - of_y))
    estimate, error = float(adjusted_estimate(fit, r2_y, r2_d)), float(adjusted_error(fit, r2_y, r2_d))
    reach = float(t.ppf(1 - alpha / 2, _test_df(fit))) * error
    return BenchmarkBound(
        benchmark, k_treatment, k_y, float(r2_d), float(r2_y), estimate, error, estimate - reach, estimate + reach
    )


@dataclass(frozen=True)
class Contours:
    """The adjusted estimate over a grid.

    Attributes:
        r2_treatment, r2_outcome: (points,) each.
        estimate: (outcome points, treatment points).
    """

    r2_treatment: np.ndarray
    r2_outcome: np.ndarray
    estimate: np.ndarray


def contours(fit: LinearFit, *, most: float = 0.4, points: int = 101) -> Contours:
    """For a contour plot; both shares run from 0 to ``most``, in (0, 1)."""
    if not 0 < most < 1 or points < 2:
        raise TableError(f"contours run from 0 to a share below 1 over two points or more, not to {most} over {points}")
    grid = np.linspace(0.0, most, points)
    return Contours(grid, grid, adjusted_estimate(fit, grid[:, None], grid[None, :]))


def _value(f: float) -> float:
    # (sqrt(f⁴ + 4 f²) - f²) / 2, without its cancellation for large f.
    return float(2 / (np.sqrt(1 + 4 / f**2) + 1)) if f > 0 else 0.0


def _critical(fit: LinearFit, alpha: float) -> float:
    """The half width of the interval in units in which the estimate is f."""
    from scipy.stats import t

    wider = fit.robust_error / fit.standard_error
    return float(wider * t.ppf(1 - alpha / 2, _test_df(fit)) / np.sqrt(fit.df - 1))


def _test_df(fit: LinearFit) -> int:
    """Once the confounder is in the model: it costs a coefficient, but no cluster."""
    return fit.test_df if fit.clusters else fit.df - 1


def _checked_shares(r2_outcome: np.ndarray | float, r2_treatment: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    y, d = np.asarray(r2_outcome, dtype=np.float64), np.asarray(r2_treatment, dtype=np.float64)
    if not ((y >= 0) & (y <= 1)).all() or not ((d >= 0) & (d < 1)).all():
        raise TableError("shares of variance explained lie between 0 and 1 (that of the treatment below 1)")
    return y, d
