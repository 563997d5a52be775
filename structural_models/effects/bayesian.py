"""The g-formula with a conjugate prior: exact posterior draws, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from structural_models.effects.cells import Cells
from structural_models.errors import TableError


@dataclass(frozen=True)
class BayesianGFormula:
    """P(s), P(q | s) and P(a | q, s) each have a Dirichlet prior, and so a Dirichlet posterior; rows count one by one,
    patients are not told apart.

    Args:
        concentration: of every Dirichlet, per level; 1 = uniform, 1/2 = Jeffreys.

    Answers are levels. A (stratum, arm) without rows keeps its prior: the posterior then says so by being wide.

    Source: Keil et al. 2018, "A Bayesian approach to the g-formula", in its saturated, conjugate form.
    """

    concentration: float = 1.0
    name: ClassVar[str] = "Bayesian g-formula"
    population: ClassVar[str] = "all rows"
    folds: ClassVar[int] = 1
    saturated: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.concentration < np.inf:
            raise TableError(f"the prior's concentration must be positive, not {self.concentration}")

    def means(self, cells: Cells) -> np.ndarray:
        """(arms, outcomes) posterior mean of P(outcome | do(arm))."""
        strata = cells.by_stratum + self.concentration
        answers = self._sums(cells) + self.concentration
        return np.einsum("s,saj->aj", strata / strata.sum(), answers / answers.sum(axis=2, keepdims=True))

    def draws(self, cells: Cells, number: int, rng: np.random.Generator) -> np.ndarray:
        """(number, 2, arms, outcomes) posterior draws of P(outcome | arm) and of P(outcome | do(arm))."""
        if number < 100:
            raise TableError(f"a posterior needs at least 100 draws, not {number}")
        by_stratum = _dirichlet(cells.by_stratum + self.concentration, number, rng)
        by_arm = _dirichlet(cells.by_arm + self.concentration, number, rng)
        answers = _dirichlet(self._sums(cells) + self.concentration, number, rng)
        joint = by_stratum[:, :, None] * by_arm
        seen = np.einsum("dsa,dsaj->daj", joint / joint.sum(axis=1, keepdims=True), answers)
        return np.stack([seen, np.einsum("ds,dsaj->daj", by_stratum, answers)], axis=1)

    def _sums(self, cells: Cells) -> np.ndarray:
        if cells.outcomes is None:
            raise TableError("the Bayesian g-formula is for answers that are levels, not for a number")
        return cells.sums


def _dirichlet(concentration: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, ...) draws over the last axis."""
    gamma = rng.standard_gamma(concentration, size=(number, *concentration.shape))
    return np.asarray(gamma / gamma.sum(axis=-1, keepdims=True))
