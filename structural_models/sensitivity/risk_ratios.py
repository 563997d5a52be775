"""A limit on each side of a ratio of two standardised risks, that is no artefact of a cell without cases.

Each cell's risk has its Wilson (score) limits, which do not close in on a risk of zero; the limits of a weighted sum of
cells are recovered from those of the cells, and the limits of the ratio from those of the two sums (MOVER). Where rows
come in clusters, cells count as that many fewer rows (a design effect), as in Rao & Scott 1992.

Sources: Wilson 1927; Zou & Donner 2008, "Construction of confidence limits about effect measures: a general approach";
Donner & Zou 2012, "Closed-form confidence intervals for functions of the normal mean and standard deviation", eq. 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from structural_models.errors import TableError


@dataclass(frozen=True)
class StandardisedRisk:
    """Σ_s w_s P(outcome | s, arm), of one arm or (leading axes) of several.

    Attributes:
        estimate: plug-in.
        low, high: limits, within [0, 1].
    """

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


def wilson_limits(cases: np.ndarray, rows: np.ndarray, critical: float) -> tuple[np.ndarray, np.ndarray]:
    """Score limits of cases / rows, of the same shape; 0 and 1 where there is no row.

    Args:
        critical: how many standard errors they lie away, e.g. 1.96.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p, spread = cases / rows, critical**2 / rows
        centre = (p + spread / 2) / (1 + spread)
        half = np.sqrt(np.maximum(p * (1 - p), 0.0) * spread + spread**2 / 4) / (1 + spread)
    some = rows > 0
    low = np.where(some, np.maximum(centre - half, 0.0), 0.0)
    high = np.where(some, np.minimum(centre + half, 1.0), 1.0)
    # With no case, or nothing but cases, a limit is the share itself, to the last digit.
    return np.where(cases <= 0, 0.0, low), np.where(some & (cases >= rows), 1.0, high)


def standardised_risk(
    cases: np.ndarray, rows: np.ndarray, weights: np.ndarray, *, critical: float, design_effect: float = 1.0
) -> StandardisedRisk:
    """A weighted mean of cells' risks and its limits.

    Args:
        cases, rows: (..., strata) counts (or sums of weights), 0 <= cases <= rows.
        weights: (..., strata) of the strata; divided by their sum. A stratum of weight zero may be empty.
        critical: how many standard errors the limits lie away, e.g. 1.96.
        design_effect: positive; rows count as rows / design_effect.

    Raises TableError where a stratum that has weight has no row, or the cases are not among the rows.
    """
    x, n, w = (np.asarray(part, dtype=np.float64) for part in np.broadcast_arrays(cases, rows, weights))
    if ((x < 0) | (x > n)).any() or (w < 0).any():
        raise TableError("cases must lie between 0 and the rows of their cell, and weights be at least 0")
    if ((n <= 0) & (w > 0)).any() or not (w.sum(-1) > 0).all():
        raise TableError("a stratum that is standardised to has no row of the arm; leave such strata out")
    w = w / w.sum(-1, keepdims=True)
    p = np.divide(x, n, out=np.zeros_like(x), where=n > 0)
    low, high = wilson_limits(x / design_effect, n / design_effect, critical)
    return combined_risk((w * p).sum(-1), (w * w * np.square(p - low)).sum(-1), (w * w * np.square(high - p)).sum(-1))


def combined_risk(estimate: np.ndarray, below: np.ndarray, above: np.ndarray) -> StandardisedRisk:
    """MOVER: limits of a weighted sum from the sums of the squared weighted distances to the cells' limits."""
    return StandardisedRisk(
        estimate, np.maximum(estimate - np.sqrt(below), 0.0), np.minimum(estimate + np.sqrt(above), 1.0)
    )


def ratio_limits(risk: StandardisedRisk, other: StandardisedRisk) -> tuple[np.ndarray, np.ndarray]:
    """Limits of ``risk`` / ``other``, (...) each; 0 where ``risk`` is zero, infinite where ``other`` may be."""
    a, b = risk.estimate, other.estimate
    with np.errstate(divide="ignore", invalid="ignore"):
        low = _limit(a, b, risk.low, other.high, -1.0)
        high = _limit(a, b, risk.high, other.low, 1.0)
    low = np.where((a <= 0) | (risk.low <= 0), 0.0, low)
    high = np.where((b <= 0) | (other.low <= 0), np.inf, high)
    return np.asarray(low), np.asarray(high)


def _limit(a: np.ndarray, b: np.ndarray, a_limit: np.ndarray, b_limit: np.ndarray, side: float) -> np.ndarray:
    """The root r of (a - r b)^2 = (a - a_limit)^2 + r^2 (b - b_limit)^2 on that side of a / b."""
    inner = np.square(a * b) - a_limit * b_limit * (2 * a - a_limit) * (2 * b - b_limit)
    # With b = 0 the two factors of the denominator are -b_limit^2 and the root is still the right one.
    return np.asarray((a * b + side * np.sqrt(np.maximum(inner, 0.0))) / (b_limit * (2 * b - b_limit)))
