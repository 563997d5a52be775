"""Weights that make every arm's covariates those of the whole sample, as near to equal as that allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from structural_models.design import Design
from structural_models.effects.cells import Cells
from structural_models.effects.method import own_arm
from structural_models.effects.weighting import weighted_means
from structural_models.errors import PositivityError

#: Largest gap between an arm's weighted covariate means (standardised) and the sample's.
_BALANCED = 1e-8
_STEPS = 100


@dataclass(frozen=True)
class EntropyBalancing:
    """Each arm's rows weighted by exp(b . c(x)), b such that the weighted mean of c is that of all rows.

    c holds the float columns and an indicator of every level of the others (main effects), so that with a single column
    of levels this is exact post-stratification. Right where either log P(arm | x) or the mean outcome is linear in c.

    Source: Hainmueller 2012, eq. 3 to 8; Zhao & Percival 2017 for both conditions and the influence function.
    """

    name: ClassVar[str] = "entropy balancing"
    caution: ClassVar[str] = ""
    population: ClassVar[str] = "all rows"
    folds: ClassVar[int] = 1
    saturated: ClassVar[bool] = False

    def means(self, cells: Cells) -> np.ndarray:
        return weighted_means(cells, balancing_weights(cells))

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        weights = balancing_weights(cells)
        centred = _centred(cells)
        columns = np.zeros((len(cells), len(cells.arms)))
        own = np.zeros(len(cells))
        for arm in range(len(cells.arms)):
            at = np.flatnonzero(cells.arm == arm)
            if np.isnan(means[arm, outcome]):
                columns[:, arm] = np.nan
                continue
            c = centred[cells.stratum[at]]
            mass = weights[at] * cells.counts[at]
            left = cells.measured[at, outcome] - means[arm, outcome]
            # The slope of the outcome on the covariates, weighted as the arm is.
            slope = np.linalg.lstsq((c * mass[:, None]).T @ c, (c * mass[:, None]).T @ left, rcond=None)[0]
            columns[:, arm] = centred[cells.stratum] @ slope
            own[at] = weights[at] * (left - c @ slope) * (cells.rows / mass.sum())
        return columns + own_arm(cells, own)


def balancing_weights(cells: Cells) -> np.ndarray:
    """(cells,) weights, of mean one over the rows of each arm.

    Raises PositivityError where no weights balance an arm: its rows do not reach around the mean of all.
    """
    centred = _centred(cells)
    out = np.zeros(len(cells))
    for arm in range(len(cells.arms)):
        size = cells.by_arm[:, arm] if len(cells.strata) else np.zeros(0)
        there = np.flatnonzero(size > 0)
        if not len(there):
            continue
        weight = _balance(centred[there], size[there])
        if weight is None:
            raise PositivityError(
                f"no weights give {cells.arms.column} = {cells.arms.values[arm]} the covariates of the whole sample; "
                "merge levels, or leave that arm out"
            )
        of_stratum = np.zeros(len(cells.strata))
        of_stratum[there] = weight
        at = cells.arm == arm
        out[at] = of_stratum[cells.stratum[at]]
    return out


def _centred(cells: Cells) -> np.ndarray:
    """(strata, features) covariates less their mean over all rows."""
    there = cells.by_stratum > 0
    c = np.zeros((len(cells.strata), 0))
    if cells.strata.shape[1]:
        c = Design.of(cells.strata, cells.by_stratum).matrix(cells.strata)
    return np.asarray(c - (cells.by_stratum[there] @ c[there]) / cells.rows)


def _balance(c: np.ndarray, size: np.ndarray) -> np.ndarray | None:
    """(strata,) weights by Newton's method on the convex dual log sum n exp(c . b); None where it has no minimum."""
    b = np.zeros(c.shape[1])
    share = size / size.sum()

    def dual(at: np.ndarray) -> tuple[float, np.ndarray]:
        score = c @ at
        top = float(score.max())
        mass = share * np.exp(score - top)
        return top + float(np.log(mass.sum())), mass / mass.sum()

    value, mass = dual(b)
    for _ in range(_STEPS):
        gradient = mass @ c
        if np.abs(gradient).max(initial=0.0) < _BALANCED:
            return np.asarray(mass / share)
        left = c - gradient
        step = np.linalg.lstsq((left * mass[:, None]).T @ left, gradient, rcond=None)[0]
        length, slope = 1.0, float(gradient @ step)
        # Armijo: shorten until the dual falls.
        while length > 1e-10:
            tried, mass_tried = dual(b - length * step)
            if tried <= value - 1e-4 * length * slope:
                break
            length /= 2
        else:
            return None
        b, value, mass = b - length * step, tried, mass_tried
    return None
