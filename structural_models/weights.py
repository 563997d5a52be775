"""Weights for treatments with any number of arms. One pass over the rows; nothing of size rows x arms is built."""

from __future__ import annotations

import numpy as np

from structural_models.errors import PositivityError, TableError
from structural_models.propensity import ArmProbabilities

Probabilities = np.ndarray | ArmProbabilities


def inverse_probability_weights(
    codes: np.ndarray,
    propensity: Probabilities,
    *,
    stabilised: bool = True,
    numerator: Probabilities | None = None,
    clip: float | None = None,
    clip_quantile: float | None = None,
    normalise: bool = True,
) -> np.ndarray:
    """Weights under which every arm has the covariates of the whole sample.

    w = 1 / e_a(x), times P(a) when stabilised; then clipped; then divided by their mean.

    Args:
        codes: (rows,) integer arm of each row, 0 .. arms - 1.
        propensity: (rows, arms) P(arm | covariates), each row summing to one.
        stabilised: multiply by the arm's share, so that the arms keep their sizes; otherwise all arms weigh the same.
        numerator: (rows, arms) P(arm | a subset of the covariates) in place of the share, e.g. P(F | T) where the
            effect is asked for within a topic.
        clip: weights above it are set to it (before normalising).
        clip_quantile: the same, at this quantile of the weights; in (0, 1).
        normalise: divide by the mean, as loss weights want. Without it, and unstabilised, a propensity saturated on the
            same rows gives weights that sum to the number of rows in every arm.

    Returns:
        (rows,) float64.

    Raises:
        PositivityError: a row whose own arm has propensity zero.
        TableError: shapes that do not fit, a propensity that is none, or an option out of range.

    Source: Robins, Hernán & Brumback 2000; Imbens 2000 for several arms.
    """
    given = ArmProbabilities.of(propensity)
    arm = _checked_codes(codes, given)
    weights = 1.0 / _observed(arm, given, "propensity")
    if numerator is not None:
        if not stabilised:
            raise TableError("a numerator stabilises the weights; do not give one with stabilised=False")
        top = ArmProbabilities.of(numerator)
        _checked_codes(arm, top)
        weights *= _observed(arm, top, "numerator")
    elif stabilised:
        weights *= (np.bincount(arm, minlength=given.arms) / len(arm))[arm]
    weights = _clipped(weights, clip, clip_quantile)
    return weights / weights.mean() if normalise else weights


def overlap_weights(codes: np.ndarray, propensity: Probabilities, *, normalise: bool = True) -> np.ndarray:
    """Weights for the population in which every arm is likely: w = h(x) / e_a(x), h = 1 / Σ_k 1 / e_k(x).

    With two arms this is one minus the propensity of the row's own arm. Bounded by one before normalising; a row that
    some arm cannot reach has weight zero.

    Args:
        codes, propensity, normalise: as for :func:`inverse_probability_weights`.

    Returns:
        (rows,) float64.

    Raises:
        PositivityError: a row whose own arm has propensity zero, or no row that every arm can reach.

    Source: Li & Li 2019, "Propensity score weighting for causal inference with multiple treatments", eq. 5.
    """
    given = ArmProbabilities.of(propensity)
    arm = _checked_codes(codes, given)
    own = _observed(arm, given, "propensity")
    with np.errstate(divide="ignore"):
        tilt = 1.0 / (1.0 / given.table).sum(axis=1)
    weights = tilt[given.rows] / own
    if not weights.any():
        raise PositivityError(
            "there is no overlap: in every stratum some arm has propensity zero; merge arms or strata"
        )
    return np.asarray(weights / weights.mean() if normalise else weights, dtype=np.float64)


def effective_sample_size(weights: np.ndarray) -> float:
    """Kish: (Σw)² / Σw², between 1 and the number of rows; unchanged when all weights are multiplied by a constant.

    Raises TableError unless weights are finite, non-negative and not all zero.
    """
    w = checked_weights(weights)
    w = w / w.max()
    return float(w.sum() ** 2 / np.square(w).sum())


def checked_weights(weights: np.ndarray, rows: int | None = None) -> np.ndarray:
    """(rows,) float64. Raises TableError unless finite, non-negative, not all zero and as many as ``rows``."""
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or (rows is not None and len(w) != rows):
        raise TableError(
            f"weights must be one number per row{'' if rows is None else f' ({rows})'}, not of shape {w.shape}"
        )
    if not np.isfinite(w).all() or (w < 0).any() or not w.any():
        raise TableError("weights must be finite, at least zero, and not all zero")
    return w


def _checked_codes(codes: np.ndarray, given: ArmProbabilities) -> np.ndarray:
    arm = np.asarray(codes)
    if arm.shape != (len(given),) or not len(arm):
        raise TableError(f"{arm.shape} arm codes do not fit propensities of {len(given)} rows; give one code per row")
    if not np.issubdtype(arm.dtype, np.integer) or arm.min() < 0 or arm.max() >= given.arms:
        raise TableError(f"arm codes must be integers from 0 to {given.arms - 1}, the columns of the propensities")
    return arm


def _observed(arm: np.ndarray, given: ArmProbabilities, what: str) -> np.ndarray:
    own = given.observed(arm)
    zero = np.flatnonzero(own == 0)
    if len(zero):
        raise PositivityError(
            f"the {what} of the observed arm is zero in {len(zero)} rows (first: row {zero[0]}, arm {arm[zero[0]]}); "
            "use smoothing, or drop the strata where it cannot occur"
        )
    return own


def _clipped(weights: np.ndarray, clip: float | None, quantile: float | None) -> np.ndarray:
    if clip is not None and quantile is not None:
        raise TableError("give clip or clip_quantile, not both")
    if clip is not None:
        if not clip > 0:
            raise TableError(f"clip must be a positive weight, not {clip}")
        return np.minimum(weights, clip)
    if quantile is not None:
        if not 0 < quantile < 1:
            raise TableError(f"clip_quantile must lie between 0 and 1, not at {quantile}")
        return np.minimum(weights, np.quantile(weights, quantile))
    return weights
