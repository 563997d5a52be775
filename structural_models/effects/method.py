"""What a way of estimating P(A | do(Q)) has to say."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from structural_models.effects.cells import Cells


class Method(Protocol):
    """An estimator of the mean outcome of every arm.

    Attributes:
        name: as in tables.
        population: whose mean it is.
        folds: how many folds of patients it is cross-fitted over; 1 = none.
        saturated: whether it can say nothing of an arm that some stratum lacks.
    """

    name: ClassVar[str]
    population: ClassVar[str]

    @property
    def folds(self) -> int: ...

    @property
    def saturated(self) -> bool: ...

    @property
    def caution(self) -> str:
        """A sentence for who reads its intervals; empty where there is nothing to say."""

    def means(self, cells: Cells) -> np.ndarray:
        """(arms, outcomes); NaN for an arm of which nothing can be said."""

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        """(cells, arms) influence of one row of each cell on the means of one outcome; their sum over rows is zero.

        The standard error of a mean is the root of the summed squares of (influence / rows), over independent rows.
        """


def own_arm(cells: Cells, values: np.ndarray) -> np.ndarray:
    """(cells, arms) with ``values``, (cells,), in the column of each cell's own arm and zero elsewhere."""
    out = np.zeros((len(cells), len(cells.arms)))
    out[np.arange(len(cells)), cells.arm] = values
    return out
