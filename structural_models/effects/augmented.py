"""Augmented inverse probability weighting: an outcome model, and the propensity to correct it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from structural_models.effects.cells import Cells
from structural_models.effects.g_formula import GFormula, Outcomes
from structural_models.effects.outcome_model import OutcomeModel
from structural_models.effects.weighting import arm_shares
from structural_models.errors import TableError
from structural_models.propensity import Method


@dataclass(frozen=True)
class Augmented:
    """mean of m(a, x) + 1(arm = a) / e_a(x) (y - m(a, x)): right where either m or e is.

    Args:
        propensity, outcome_model: the nuisance models, as for the estimators that use one of them alone.
        folds: both are fitted on the other folds of patients; 1 = on all rows.

    Source: Robins, Rotnitzky & Zhao 1994; cross-fitting as in Chernozhukov et al. 2018, definition 3.2.
    """

    propensity: Method = "saturated"
    outcome_model: Outcomes = "saturated"
    folds: int = 5
    name: ClassVar[str] = "augmented"
    population: ClassVar[str] = "all rows"

    def __post_init__(self) -> None:
        GFormula(self.outcome_model)
        if self.propensity not in get_args(Method):
            raise TableError(f"the propensity is {' or '.join(get_args(Method))}, not '{self.propensity}'")
        if self.folds < 1:
            raise TableError(f"cross-fitting needs at least 1 fold, not {self.folds}")

    @property
    def saturated(self) -> bool:
        return "saturated" in (self.propensity, self.outcome_model)

    def means(self, cells: Cells) -> np.ndarray:
        out = np.empty((len(cells.arms), cells.measured.shape[1]))
        for outcome in range(out.shape[1]):
            out[:, outcome] = cells.counts @ self._terms(cells, outcome) / cells.rows
        return out

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        return np.asarray(self._terms(cells, outcome) - means[:, outcome])

    def _terms(self, cells: Cells, outcome: int) -> np.ndarray:
        """(cells, arms) the summand of each row."""
        out = np.empty((len(cells), len(cells.arms)))
        for fold in np.unique(cells.fold):
            here = np.flatnonzero(cells.fold == fold)
            learned = cells if self.folds == 1 else cells.with_counts(np.where(cells.fold == fold, 0.0, cells.counts))
            expected = self._expected(learned, outcome)
            share = arm_shares(learned, self.propensity)
            stratum, arm = cells.stratum[here], cells.arm[here]
            with np.errstate(divide="ignore", invalid="ignore"):
                own = (cells.measured[here, outcome] - expected[stratum, arm]) / share[stratum, arm]
            part = expected[stratum]
            part[np.arange(len(here)), arm] += own
            out[here] = part
        return out

    def _expected(self, cells: Cells, outcome: int) -> np.ndarray:
        """(strata, arms) mean outcome."""
        if self.outcome_model == "saturated":
            return np.asarray(cells.saturated_means[:, :, outcome])
        model = OutcomeModel.fit(cells, interactions=self.outcome_model == "by arm")
        strata = np.arange(len(cells.strata))
        return np.stack([model.predict(strata, arm)[:, outcome] for arm in range(len(cells.arms))], axis=1)
