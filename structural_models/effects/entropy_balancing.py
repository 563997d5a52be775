"""Weights that make every arm's covariates those of the whole sample, as near to equal as that allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from structural_models.effects.cells import Cells
from structural_models.effects.method import own_arm
from structural_models.effects.weighting import weighted_means
from structural_models.entropy_weights import centred_covariates, entropy_weights


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
        centred = centred_covariates(cells.strata, cells.by_stratum)
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
    return np.asarray(entropy_weights(cells.strata, cells.by_arm, cells.arms)[cells.stratum, cells.arm])
