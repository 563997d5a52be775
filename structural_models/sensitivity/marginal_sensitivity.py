"""Bounds of P(A | do(Q)) where something unmeasured also decides which question is asked.

The marginal sensitivity model: within a stratum, the odds of arm q with what is unmeasured differ from those without it
by a factor between 1 / Λ and Λ. Of several arms it is one against the rest, arm by arm, since P(A | do(q)) needs the
propensity of q only. A row of arm q then has a weight between 1 + (1 / e - 1) / Λ and 1 + (1 / e - 1) Λ, e = P(q | s).

*Hájek* bounds let every weight vary by itself and divide by their sum. *Sharp* ones also hold that the weights of an
arm average to 1 / e in every stratum, as those of any real confounder do; no narrower bounds follow from the model.
Both are exact for an answer that is given or not, so every answer is bounded by itself.

Sources: Tan 2006, "A distributional approach for causal inference using propensity scores"; Zhao, Small & Bhattacharya
2019, "Sensitivity analysis for inverse probability weighting estimators via the percentile bootstrap"; Dorn & Guo 2022,
"Sharp sensitivity analysis for inverse propensity weighting via quantile balancing".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from structural_models.errors import TableError
from structural_models.json_values import plain
from structural_models.patient_bootstrap import PatientBootstrap
from structural_models.sensitivity.answer_counts import AnswerCells, checked_counts, require_every_arm

#: Beyond it no Λ is looked for.
MOST = 1e4


@dataclass(frozen=True)
class MarginalBounds:
    """Of P(A = a | do(Q = q)), standardised to all rows.

    Attributes:
        lambdas: (Λs,).
        low, high: (Λs, arms, answers) bounds, or limits of an interval for them.
    """

    lambdas: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def contrast(self, arm: int, other: int, answer: int) -> tuple[np.ndarray, np.ndarray]:
        """(Λs,) bounds of P(answer | do(arm)) - P(answer | do(other))."""
        return (
            self.low[:, arm, answer] - self.high[:, other, answer],
            self.high[:, arm, answer] - self.low[:, other, answer],
        )

    def to_dict(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = plain({"lambdas": self.lambdas, "low": self.low, "high": self.high})
        return cleaned


def marginal_bounds(counts: np.ndarray, lambdas: np.ndarray, *, sharp: bool = True) -> MarginalBounds:
    """Bounds of P(A | do(Q)) for every Λ; at Λ = 1 both are the estimate by weighting (or the g-formula).

    Args:
        counts: (strata, arms, answers) rows; strata without any row are passed over.
        lambdas: (Λs,) at least 1.
        sharp: as above; otherwise Hájek's.

    Raises:
        PositivityError: an arm without a row in a stratum.
        TableError: counts or a Λ out of range.
    """
    n, grid = checked_counts(counts), _checked_lambdas(lambdas)
    require_every_arm(n)
    low, high = _bounds(n, grid, sharp)
    return MarginalBounds(grid, low, high)


def marginal_interval(
    cells: AnswerCells, lambdas: np.ndarray, bootstrap: PatientBootstrap, *, sharp: bool = True, alpha: float = 0.05
) -> MarginalBounds:
    """Limits that hold the whole of the bounds with probability 1 - alpha: percentiles over patients drawn anew.

    A stratum that a replicate leaves without a row of an arm is passed over there for that arm. Arguments and errors
    otherwise as :func:`marginal_bounds`; of ``cells``, all axes but the last two are strata.
    """
    grid = _checked_lambdas(lambdas)
    if not 0 < alpha < 1:
        raise TableError(f"alpha must lie between 0 and 1, not at {alpha}")
    require_every_arm(cells.counts().reshape(-1, *cells.shape[-2:]))

    def both(counts: np.ndarray) -> np.ndarray:
        return np.stack(_bounds(counts.reshape(-1, *cells.shape[-2:]), grid, sharp))

    drawn = cells.over_patients(both, bootstrap)
    return MarginalBounds(
        grid, np.nanquantile(drawn[:, 0], alpha / 2, axis=0), np.nanquantile(drawn[:, 1], 1 - alpha / 2, axis=0)
    )


def contrast_interval(
    cells: AnswerCells,
    lambdas: np.ndarray,
    bootstrap: PatientBootstrap,
    arm: int,
    other: int,
    answer: int,
    *,
    sharp: bool = True,
    alpha: float = 0.05,
) -> tuple[np.ndarray, np.ndarray]:
    """(Λs,) limits that hold the whole of the bounds of P(answer | do(arm)) - P(answer | do(other)).

    Arguments and errors as :func:`marginal_interval`.
    """
    grid = _checked_lambdas(lambdas)
    if not 0 < alpha < 1:
        raise TableError(f"alpha must lie between 0 and 1, not at {alpha}")
    require_every_arm(cells.counts().reshape(-1, *cells.shape[-2:]))

    def both(counts: np.ndarray) -> np.ndarray:
        drawn = MarginalBounds(grid, *_bounds(counts.reshape(-1, *cells.shape[-2:]), grid, sharp))
        return np.stack(drawn.contrast(arm, other, answer))

    drawn = cells.over_patients(both, bootstrap)
    return np.nanquantile(drawn[:, 0], alpha / 2, axis=0), np.nanquantile(drawn[:, 1], 1 - alpha / 2, axis=0)


def critical_lambda(counts: np.ndarray, arm: int, other: int, answer: int, *, sharp: bool = True) -> float:
    """The least Λ at which P(answer | do(arm)) = P(answer | do(other)) is possible; infinite beyond :data:`MOST`.

    Arguments and errors as :func:`marginal_bounds`.
    """
    from scipy.optimize import brentq

    n = checked_counts(counts)
    require_every_arm(n)

    def gap(log_lambda: float) -> float:
        low, high = MarginalBounds(np.ones(1), *_bounds(n, np.exp([log_lambda]), sharp)).contrast(arm, other, answer)
        return float(low[0]) if sign > 0 else -float(high[0])

    sign = 1.0
    start = gap(0.0)
    if start < 0:
        sign, start = -1.0, -start
    top = float(np.log(MOST))
    if start <= 0:
        return 1.0
    if gap(top) > 0:
        return float("inf")
    return float(np.exp(brentq(gap, 0.0, top, xtol=1e-10)))


def _checked_lambdas(lambdas: np.ndarray) -> np.ndarray:
    grid = np.atleast_1d(np.asarray(lambdas, dtype=np.float64))
    if grid.ndim != 1 or not len(grid) or not (np.isfinite(grid) & (grid >= 1)).all():
        raise TableError("every Λ is a finite number of at least 1, where nothing unmeasured decides")
    return grid


def _bounds(n: np.ndarray, lambdas: np.ndarray, sharp: bool) -> tuple[np.ndarray, np.ndarray]:
    """(Λs, arms, answers) each."""
    by_arm = n.sum(-1, keepdims=True)
    there = by_arm > 0
    stratum = np.where(there, by_arm.sum(-2, keepdims=True), 0.0)
    p = np.divide(n, by_arm, out=np.zeros_like(n), where=there)
    e = np.divide(by_arm, stratum, out=np.ones_like(by_arm), where=there)
    low, high = [], []
    # An arm that a replicate has lost altogether is 0 / 0.
    with np.errstate(invalid="ignore"):
        for factor in lambdas:
            # Weights times e: what a row may count for, once its stratum's propensity is off.
            most, least = e + (1 - e) * factor, e + (1 - e) / factor
            given = [stratum * p * w for w in (least, most)]
            rest = [stratum * (1 - p) * w for w in (most, least)]
            if sharp:
                cut = (np.maximum(given[0], stratum - rest[0]), np.minimum(given[1], stratum - rest[1]))
                parts = [part.sum(0) / stratum.sum(0) for part in cut]
            else:
                parts = [a.sum(0) / (a + b).sum(0) for a, b in zip(given, rest, strict=True)]
            low.append(parts[0])
            high.append(parts[1])
    return np.stack(low), np.stack(high)
