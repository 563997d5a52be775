"""The least-squares effect of one column on another beside covariates, and how much of either those explain.

Everything goes through residuals (Frisch, Waugh & Lovell): strata are taken out by their means, so that any number of
them costs one pass over the rows; the other covariates by a QR factorisation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from structural_models.errors import TableError
from structural_models.json_values import plain
from structural_models.stratified_independence import checked_groups

_ROUNDING = 1e-10


@dataclass(frozen=True)
class LinearFit:
    """What :func:`fit_linear` found.

    Attributes:
        estimate: coefficient of the treatment.
        standard_error: under equal variances; what sensitivity to a confounder is computed from.
        robust_error: clustered (CR1), or the same as ``standard_error`` where no groups were given.
        df: residual degrees of freedom, rows less coefficients.
        test_df: of the t distribution of estimate / robust_error: clusters less one, or ``df``.
        treatment_squares: residual sum of squares of the treatment given covariates and strata.
        outcome_squares: of the outcome given the treatment too.
        rows, clusters: how many; clusters 0 without groups.
    """

    estimate: float
    standard_error: float
    robust_error: float
    df: int
    test_df: int
    treatment_squares: float
    outcome_squares: float
    rows: int
    clusters: int

    @property
    def t(self) -> float:
        """Of the treatment, under equal variances."""
        return self.estimate / self.standard_error

    def to_dict(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = plain({**asdict(self), "t": self.t})
        return cleaned


def fit_linear(
    outcome: np.ndarray,
    treatment: np.ndarray,
    covariates: np.ndarray | None = None,
    *,
    strata: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> LinearFit:
    """Ordinary least squares of the outcome on the treatment, covariates, and a constant in every stratum.

    Args:
        outcome, treatment: (rows,) finite numbers.
        covariates: (rows, some) further columns; linearly dependent ones are left out.
        strata: (rows,) integer codes; without them there is one constant.
        groups: (rows,) integer patient of each row, for the clustered standard error; negative = a cluster of its own.

    Raises TableError for shapes that do not fit, numbers that are none, or a treatment that the covariates determine.
    """
    y, d = _checked(outcome, "outcome"), _checked(treatment, "treatment")
    rows = len(y)
    x = np.empty((rows, 0)) if covariates is None else _checked_covariates(covariates, rows)
    stratum = np.zeros(rows, dtype=np.int64) if strata is None else _checked_strata(strata, rows)
    if len(d) != rows:
        raise TableError(f"the outcome has {rows} rows and the treatment {len(d)}; give one of each per row")
    total = float(np.square(d - d.mean()).sum())
    y, d, *columns = (_without_means(column, stratum) for column in (y, d, *x.T))
    basis = _orthonormal(columns, x)
    y, d = y - basis @ (basis.T @ y), d - basis @ (basis.T @ d)
    df = rows - len(np.unique(stratum)) - basis.shape[1] - 1
    squares = float(d @ d)
    if squares <= _ROUNDING * total or df < 2:
        raise TableError(
            f"the treatment has no variation of its own in {rows} rows beside {basis.shape[1]} covariates and "
            f"{len(np.unique(stratum))} strata; leave some out, or bring more rows"
        )
    estimate = float(d @ y) / squares
    residual = y - estimate * d
    outcome_squares = float(residual @ residual)
    error = float(np.sqrt(outcome_squares / df / squares))
    robust, clusters = error, 0
    if groups is not None:
        cluster = _clusters(groups, rows)
        clusters = int(cluster.max()) + 1
        if clusters < 2:
            raise TableError("a clustered standard error needs rows of at least two patients")
        scores = np.bincount(cluster, d * residual)
        # With one row in every cluster this is HC1.
        scale = clusters / (clusters - 1) * (rows - 1) / df
        robust = float(np.sqrt(scale * (scores @ scores)) / squares)
    return LinearFit(
        estimate, error, robust, df, clusters - 1 if clusters else df, squares, outcome_squares, rows, clusters
    )


def _checked(values: np.ndarray, what: str) -> np.ndarray:
    out = np.asarray(values, dtype=np.float64)
    if out.ndim != 1 or not len(out) or not np.isfinite(out).all():
        raise TableError(f"the {what} must be one finite number per row, not of shape {out.shape} or with gaps")
    return out


def _checked_covariates(values: np.ndarray, rows: int) -> np.ndarray:
    out = np.asarray(values, dtype=np.float64)
    out = out[:, None] if out.ndim == 1 else out
    if out.ndim != 2 or len(out) != rows or not np.isfinite(out).all():
        raise TableError(f"covariates must be finite numbers in {rows} rows, not of shape {out.shape} or with gaps")
    return out


def _checked_strata(values: np.ndarray, rows: int) -> np.ndarray:
    codes = np.asarray(values)
    if codes.shape != (rows,) or not np.issubdtype(codes.dtype, np.integer):
        raise TableError(f"strata must be one integer per row ({rows}), not {codes.dtype} of shape {codes.shape}")
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _clusters(groups: np.ndarray, rows: int) -> np.ndarray:
    members = checked_groups(groups, rows)
    if members.shape[1] > 1:
        raise TableError("rows of several patients have no clusters of their own; give one patient per row")
    codes = members[:, 0].copy()
    alone = codes < 0
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(int(alone.sum()))
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _without_means(column: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    means = np.bincount(stratum, column) / np.bincount(stratum)
    return np.asarray(column - means[stratum])


def _orthonormal(columns: list[np.ndarray], raw: np.ndarray) -> np.ndarray:
    """(rows, rank) basis of what the covariates span, once the strata's means are off."""
    if not columns:
        return np.empty((len(raw), 0))
    from scipy.linalg import qr

    size = np.sqrt(np.square(raw).sum(0))
    scaled = np.column_stack(columns) / np.where(size > 0, size, 1.0)
    q, r, _ = qr(scaled, mode="economic", pivoting=True)
    kept = np.abs(np.diag(r)) > _ROUNDING
    return np.asarray(q[:, kept])
