"""The plug-in g-formula: standardisation to the strata of the whole sample.

P(a | do(q)) = sum_s P(a | q, s) P(s)   (Robins 1986)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from structural_models.effects.cells import Cells
from structural_models.effects.method import own_arm
from structural_models.effects.outcome_model import OutcomeModel
from structural_models.errors import TableError

Outcomes = Literal["saturated", "additive", "by arm"]


@dataclass(frozen=True)
class GFormula:
    """Standardisation.

    Args:
        outcome_model: "saturated" = the mean of every (stratum, arm), so that no form is assumed; "additive" = main
            effects of treatment and covariates, linear for a number and multinomial logistic for levels; "by arm" =
            the same with covariate effects of each arm's own.
    """

    outcome_model: Outcomes = "saturated"
    name: ClassVar[str] = "g-formula"
    population: ClassVar[str] = "all rows"
    folds: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.outcome_model not in get_args(Outcomes):
            raise TableError(f"the outcome model is {', '.join(get_args(Outcomes))}, not '{self.outcome_model}'")

    @property
    def saturated(self) -> bool:
        return self.outcome_model == "saturated"

    def means(self, cells: Cells) -> np.ndarray:
        share = cells.by_stratum / cells.rows
        if self.saturated:
            there = cells.by_stratum > 0
            return np.einsum("s,saj->aj", share[there], cells.saturated_means[there])
        model = self._model(cells)
        strata = np.arange(len(cells.strata))
        return np.stack([share @ model.predict(strata, arm) for arm in range(len(cells.arms))])

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        if self.saturated:
            expected = cells.saturated_means[:, :, outcome]
            propensity = cells.by_arm / cells.by_stratum[:, None]
            own = cells.measured[:, outcome] - expected[cells.stratum, cells.arm]
            reach = own_arm(cells, own / propensity[cells.stratum, cells.arm])
            return np.asarray(reach + expected[cells.stratum] - means[:, outcome])
        # M-estimation: the regression's own uncertainty, carried through its gradient.
        model = self._model(cells)
        scores, information = model.scores(cells)
        columns = []
        for arm in range(len(cells.arms)):
            through = np.linalg.lstsq(information, model.gradient(cells, arm, outcome), rcond=None)[0]
            columns.append(
                model.predict(cells.stratum, arm)[:, outcome] - means[arm, outcome] + cells.rows * scores @ through
            )
        return np.stack(columns, axis=1)

    def _model(self, cells: Cells) -> OutcomeModel:
        return OutcomeModel.fit(cells, interactions=self.outcome_model == "by arm")


@dataclass(frozen=True)
class Stratification:
    """Standardisation to the strata in which every arm occurs; the others are left out, whoever is in them."""

    name: ClassVar[str] = "stratification"
    population: ClassVar[str] = "rows of strata in which every arm occurs"
    folds: ClassVar[int] = 1
    saturated: ClassVar[bool] = False

    def means(self, cells: Cells) -> np.ndarray:
        kept = _with_every_arm(cells)
        return GFormula().means(kept) if kept.rows else np.full((len(cells.arms), cells.measured.shape[1]), np.nan)

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        kept = _with_every_arm(cells)
        inside = kept.counts > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            found = GFormula().influence(kept, means, outcome) * (cells.rows / kept.rows)
        return np.where(inside[:, None], found, 0.0)


def _with_every_arm(cells: Cells) -> Cells:
    present = cells.by_arm[:, cells.by_arm.sum(axis=0) > 0]
    whole = np.min(present, axis=1) > 0
    return cells.with_counts(np.where(whole[cells.stratum], cells.counts, 0.0))
