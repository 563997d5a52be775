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

OutcomeForm = Literal["saturated", "regression"]


@dataclass(frozen=True)
class GFormula:
    """Standardisation.

    Args:
        outcome_model: "saturated" = the mean of every (stratum, arm), so that no form is assumed; "regression" = main
            effects of treatment and covariates, linear for a number and multinomial logistic for levels.
        covariates: those the regression uses, by default all.
        interactions: those of them whose effects each arm has of its own, or "all".
    """

    outcome_model: OutcomeForm = "saturated"
    covariates: tuple[str, ...] | None = None
    interactions: tuple[str, ...] | Literal["all"] = ()
    name: ClassVar[str] = "g-formula"
    caution: ClassVar[str] = ""
    population: ClassVar[str] = "all rows"
    folds: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.outcome_model not in get_args(OutcomeForm):
            raise TableError(f"the outcome model is {' or '.join(get_args(OutcomeForm))}, not '{self.outcome_model}'")
        if self.saturated and (self.covariates is not None or self.interactions):
            raise TableError("a saturated outcome model uses all covariates and products; name some for a regression")

    @property
    def saturated(self) -> bool:
        return self.outcome_model == "saturated"

    def means(self, cells: Cells) -> np.ndarray:
        there = cells.by_stratum > 0
        return np.einsum("s,saj->aj", cells.by_stratum[there] / cells.rows, self.expected(cells)[there])

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        if self.saturated:
            expected = cells.saturated_means[:, :, outcome]
            propensity = cells.by_arm / cells.by_stratum[:, None]
            own = cells.measured[:, outcome] - expected[cells.stratum, cells.arm]
            reach = own_arm(cells, own / propensity[cells.stratum, cells.arm])
            return np.asarray(reach + expected[cells.stratum] - means[:, outcome])
        # M-estimation: the regression's own uncertainty, carried through its gradient.
        model = self._fitted(cells)
        scores, information = model.scores(cells)
        columns = []
        for arm in range(len(cells.arms)):
            through = np.linalg.lstsq(information, model.gradient(cells, arm, outcome), rcond=None)[0]
            columns.append(
                model.predict(cells.stratum, arm)[:, outcome] - means[arm, outcome] + cells.rows * scores @ through
            )
        return np.stack(columns, axis=1)

    def expected(self, cells: Cells) -> np.ndarray:
        """(strata, arms, outcomes) mean outcome under the model."""
        if self.saturated:
            return cells.saturated_means
        model, strata = self._fitted(cells), np.arange(len(cells.strata))
        return np.stack([model.predict(strata, arm) for arm in range(len(cells.arms))], axis=1)

    def _fitted(self, cells: Cells) -> OutcomeModel:
        return OutcomeModel.fit(cells, covariates=self.covariates, interactions=self.interactions)


@dataclass(frozen=True)
class Stratification:
    """Standardisation to the strata in which every arm occurs; the others are left out, whoever is in them."""

    name: ClassVar[str] = "stratification"
    caution: ClassVar[str] = ""
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
