"""Weighted means of each arm's own rows: inverse propensities, and overlap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, get_args

import numpy as np
import pandas as pd

from structural_models.design import Design
from structural_models.effects.cells import Cells
from structural_models.effects.method import own_arm
from structural_models.errors import TableError
from structural_models.propensity import ArmProbabilities, Method, propensity_of_counts
from structural_models.weights import inverse_probability_weights, overlap_weights

_CAUTION = (
    "weights are taken as known: intervals of P(A | do(Q)) are wider than need be, those of the bias too narrow; "
    "a bootstrap allows for that"
)
#: From a frame of distinct covariate rows and the (rows, arms) counts at each to (rows, arms) propensities.
PropensityModel = Callable[[pd.DataFrame, np.ndarray], np.ndarray]
Propensities = Method | PropensityModel


@dataclass(frozen=True)
class InverseProbability:
    """Hájek's estimator: each arm's rows weighted by 1 / P(arm | covariates), normalised within the arm.

    Args:
        propensity: "saturated" or "multinomial", as for :func:`structural_models.propensity.fit_propensity`; or a
            model of your own, :data:`PropensityModel`.
        clip: weights above it (before normalising) are set to it.
        weights_known: take the weights as given when the interval is made, as the robust standard error of a weighted
            regression does: of P(A | do(Q)) wider than need be, of the bias too narrow. So it always is where weights
            are clipped or come of a model of your own.

    Source: Robins, Hernán & Brumback 2000; Imbens 2000 for several arms. Lunceford & Davidian 2004 for the interval
    that allows for the estimated propensity.
    """

    propensity: Propensities = "saturated"
    clip: float | None = None
    weights_known: bool = False
    name: ClassVar[str] = "inverse probability"
    population: ClassVar[str] = "all rows"
    folds: ClassVar[int] = 1

    def __post_init__(self) -> None:
        require_propensities(self.propensity)

    @property
    def saturated(self) -> bool:
        return self.propensity == "saturated"

    @property
    def caution(self) -> str:
        known = self.weights_known or self.clip is not None or not isinstance(self.propensity, str)
        return _CAUTION if known else ""

    def means(self, cells: Cells) -> np.ndarray:
        found = weighted_means(cells, self._weights(cells))
        if self.saturated:
            # Rows of an arm say nothing of strata in which it does not occur.
            found[(cells.by_arm[cells.by_stratum > 0] == 0).any(axis=0)] = np.nan
        return found

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        found = weighted_influence(cells, self._weights(cells), means, outcome)
        if self.caution:
            return found
        return _less_assignment(cells, found) if self.saturated else _less_scores(cells, found)

    def _weights(self, cells: Cells) -> np.ndarray:
        return _on_occupied(
            cells,
            self.propensity,
            partial(inverse_probability_weights, stabilised=False, clip=self.clip, normalise=False),
        )


@dataclass(frozen=True)
class Overlap:
    """Means in the population in which every arm is likely: strata count by 1 / sum_k 1 / P(k | stratum).

    Args:
        propensity: as for :class:`InverseProbability`; the interval takes the weights of a "multinomial" one as known.

    Source: Li & Li 2019, "Propensity score weighting for causal inference with multiple treatments"; the influence of
    the estimated propensity as in Li, Thomas & Li 2019.
    """

    propensity: Propensities = "saturated"
    name: ClassVar[str] = "overlap"
    population: ClassVar[str] = "rows where every arm is likely (overlap)"
    folds: ClassVar[int] = 1
    saturated: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_propensities(self.propensity)

    @property
    def caution(self) -> str:
        return "" if self.propensity == "saturated" else _CAUTION

    def means(self, cells: Cells) -> np.ndarray:
        return weighted_means(cells, self._weights(cells))

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        if self.propensity != "saturated":
            return weighted_influence(cells, self._weights(cells), means, outcome)
        share = arm_shares(cells, "saturated")
        with np.errstate(divide="ignore"):
            tilt = 1.0 / (1.0 / share).sum(axis=1)
        expected = np.nan_to_num(cells.saturated_means[:, :, outcome])
        own_share = share[cells.stratum, cells.arm]
        h = tilt[cells.stratum]
        own = h / own_share * (cells.measured[:, outcome] - expected[cells.stratum, cells.arm])
        through = np.square(h / own_share)[:, None] * (expected[cells.stratum] - means[:, outcome])
        whole = float((cells.counts * h).sum() / cells.rows)
        return np.asarray((own_arm(cells, own) + through) / whole)

    def _weights(self, cells: Cells) -> np.ndarray:
        return _on_occupied(cells, self.propensity, partial(overlap_weights, normalise=False))


def weighted_means(cells: Cells, weights: np.ndarray) -> np.ndarray:
    """(arms, outcomes) of (cells,) weights."""
    total = weights * cells.counts
    size = np.bincount(cells.arm, total, minlength=len(cells.arms))
    sums = [np.bincount(cells.arm, total * y, minlength=len(cells.arms)) for y in cells.measured.T]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.stack(sums, axis=1) / size[:, None])


def weighted_influence(cells: Cells, weights: np.ndarray, means: np.ndarray, outcome: int) -> np.ndarray:
    """(cells, arms), of weights taken as known."""
    size = np.bincount(cells.arm, weights * cells.counts, minlength=len(cells.arms)) / cells.rows
    left = cells.measured[:, outcome] - means[cells.arm, outcome]
    return own_arm(cells, weights * left / size[cells.arm])


def arm_shares(cells: Cells, method: Propensities) -> np.ndarray:
    """(strata, arms) P(arm | stratum), fitted on the cells; NaN (saturated) in a stratum without rows."""
    if method == "saturated":
        with np.errstate(invalid="ignore"):
            return np.asarray(cells.by_arm / cells.by_stratum[:, None])
    if not isinstance(method, str):
        return _checked(method(cells.strata, cells.by_arm), cells)
    fitted = propensity_of_counts(cells.strata, cells.by_arm, cells.arms, method=method)
    return fitted.model.probabilities(cells.strata)


def _checked(given: np.ndarray, cells: Cells) -> np.ndarray:
    table = np.asarray(given, dtype=np.float64)
    if table.shape != cells.by_arm.shape:
        raise TableError(f"the propensity model gave {table.shape} probabilities, not {cells.by_arm.shape}")
    return ArmProbabilities.of(table).table


def _on_occupied(
    cells: Cells, method: Propensities, weigh: Callable[[np.ndarray, ArmProbabilities], np.ndarray]
) -> np.ndarray:
    """(cells,) weights, zero for a cell that has no rows at present."""
    there = np.flatnonzero(cells.counts > 0)
    table = np.where(cells.by_stratum[:, None] > 0, arm_shares(cells, method), 1.0 / len(cells.arms))
    out = np.zeros(len(cells))
    out[there] = weigh(cells.arm[there], ArmProbabilities(table, cells.stratum[there]))
    return out


def _less_assignment(cells: Cells, influence: np.ndarray) -> np.ndarray:
    """What is left when the share that only who got which arm explains is taken out: E[. | x, q] - E[. | x].

    The projection on the scores of a saturated propensity.
    """
    arms = len(cells.arms)
    flat = cells.stratum * arms + cells.arm
    size = cells.by_arm.ravel()
    out = np.empty_like(influence)
    for column in range(influence.shape[1]):
        total = np.bincount(flat, cells.counts * influence[:, column], minlength=len(size))
        with np.errstate(divide="ignore", invalid="ignore"):
            of_arm = total / size
            of_stratum = total.reshape(-1, arms).sum(axis=1) / cells.by_stratum
        out[:, column] = influence[:, column] - of_arm[flat] + of_stratum[cells.stratum]
    return out


def _less_scores(cells: Cells, influence: np.ndarray) -> np.ndarray:
    """Residuals of the influence on the scores of the multinomial propensity."""
    z = np.column_stack([np.ones(len(cells.strata)), Design.of(cells.strata, cells.by_stratum).matrix(cells.strata)])
    left = own_arm(cells, np.ones(len(cells))) - arm_shares(cells, "multinomial")[cells.stratum]
    scores = (left[:, 1:, None] * z[cells.stratum][:, None, :]).reshape(len(cells), -1)
    root = np.sqrt(cells.counts)[:, None]
    explained = np.linalg.lstsq(scores * root, influence * root, rcond=None)[0]
    return np.asarray(influence - scores @ explained)


def require_propensities(given: object) -> None:
    """Raise TableError unless it is one of :data:`Propensities`."""
    if not callable(given) and given not in get_args(Method):
        raise TableError(f"the propensity is {', '.join(get_args(Method))} or a function, not '{given}'")
