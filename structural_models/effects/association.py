"""P(A | Q): what is seen, before anything is adjusted for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from structural_models.effects.cells import Cells
from structural_models.effects.method import own_arm


@dataclass(frozen=True)
class Association:
    """The mean outcome among the rows of each arm."""

    name: ClassVar[str] = "association"
    caution: ClassVar[str] = ""
    population: ClassVar[str] = "the rows of each arm"
    folds: ClassVar[int] = 1
    saturated: ClassVar[bool] = False

    def means(self, cells: Cells) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(_by_arm(cells, cells.measured) / _rows(cells)[:, None])

    def influence(self, cells: Cells, means: np.ndarray, outcome: int) -> np.ndarray:
        share = _rows(cells) / cells.rows
        return own_arm(cells, (cells.measured[:, outcome] - means[cells.arm, outcome]) / share[cells.arm])


def _rows(cells: Cells) -> np.ndarray:
    return np.bincount(cells.arm, cells.counts, minlength=len(cells.arms))


def _by_arm(cells: Cells, values: np.ndarray) -> np.ndarray:
    """(arms, outcomes) sums."""
    return np.stack([np.bincount(cells.arm, cells.counts * y, minlength=len(cells.arms)) for y in values.T], axis=1)
