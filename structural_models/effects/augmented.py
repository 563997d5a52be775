"""Augmented inverse probability weighting: an outcome model, and the propensity to correct it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from structural_models.effects.cells import Cells
from structural_models.effects.g_formula import GFormula
from structural_models.effects.weighting import Propensities, arm_shares, require_propensities
from structural_models.errors import TableError


@dataclass(frozen=True)
class Augmented:
    """mean of m(a, x) + 1(arm = a) / e_a(x) (y - m(a, x)): right where either m or e is.

    Args:
        propensity: as for :class:`structural_models.effects.weighting.InverseProbability`.
        outcome: the g-formula whose outcome model is used.
        folds: both are fitted on the other folds of patients; 1 = on all rows.

    Source: Robins, Rotnitzky & Zhao 1994; cross-fitting as in Chernozhukov et al. 2018, definition 3.2.
    """

    propensity: Propensities = "saturated"
    outcome: GFormula = field(default_factory=GFormula)
    folds: int = 5
    name: ClassVar[str] = "augmented"
    caution: ClassVar[str] = ""
    population: ClassVar[str] = "all rows"

    def __post_init__(self) -> None:
        require_propensities(self.propensity)
        if self.folds < 1:
            raise TableError(f"cross-fitting needs at least 1 fold, not {self.folds}")

    @property
    def saturated(self) -> bool:
        return self.propensity == "saturated" or self.outcome.saturated

    def means(self, cells: Cells) -> np.ndarray:
        return np.stack(
            [cells.counts @ self._terms(cells, j) / cells.rows for j in range(cells.measured.shape[1])], axis=1
        )

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        return np.asarray(self._terms(cells, outcome) - means[:, outcome])

    def _terms(self, cells: Cells, outcome: int) -> np.ndarray:
        """(cells, arms) the summand of each row."""
        out = np.empty((len(cells), len(cells.arms)))
        for fold in np.unique(cells.fold):
            here = np.flatnonzero(cells.fold == fold)
            learned = cells if self.folds == 1 else cells.with_counts(np.where(cells.fold == fold, 0.0, cells.counts))
            expected = self.outcome.expected(learned)[:, :, outcome]
            share = arm_shares(learned, self.propensity)
            stratum, arm = cells.stratum[here], cells.arm[here]
            with np.errstate(divide="ignore", invalid="ignore"):
                own = (cells.measured[here, outcome] - expected[stratum, arm]) / share[stratum, arm]
            part = expected[stratum]
            part[np.arange(len(here)), arm] += own
            out[here] = part
        return out
