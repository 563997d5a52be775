"""A table as its distinct rows of covariates, treatment and outcome, and how often each occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from structural_models.errors import TableError
from structural_models.tabulation import Levels, column_values, distinct_rows, factorize, is_quantity

#: Entries of the largest array that is made for saturated models; strata beyond it are no strata.
_LARGEST = 50_000_000


@dataclass(frozen=True)
class Cells:
    """Distinct rows of a table.

    Attributes:
        strata: (strata, columns) distinct rows of the covariates.
        stratum, arm: (cells,) int64 codes.
        value: (cells,) int64 outcome level, or (cells,) float64 outcome where it is a number.
        counts: (cells,) float64, how many rows each cell stands for.
        fold: (cells,) int64, the fold of patients each cell belongs to; all zero where there is one.
        arms: levels of the treatment among these rows.
        outcomes: levels of the outcome among these rows; ``None`` where it is a number.
    """

    strata: pd.DataFrame
    stratum: np.ndarray
    arm: np.ndarray
    value: np.ndarray
    counts: np.ndarray
    fold: np.ndarray
    arms: Levels
    outcomes: Levels | None

    def __len__(self) -> int:
        return len(self.counts)

    def with_counts(self, counts: np.ndarray) -> Cells:
        """The same cells, as often as ``counts`` says."""
        return replace(self, counts=counts)

    @cached_property
    def rows(self) -> float:
        return float(self.counts.sum())

    @cached_property
    def measured(self) -> np.ndarray:
        """(cells, outcomes) float64: an indicator of every level, or the number itself."""
        if self.outcomes is None:
            return np.asarray(self.value[:, None], dtype=np.float64)
        return (self.value[:, None] == np.arange(len(self.outcomes))).astype(np.float64)

    @cached_property
    def by_stratum(self) -> np.ndarray:
        """(strata,) rows."""
        return np.bincount(self.stratum, self.counts, minlength=len(self.strata))

    @cached_property
    def by_arm(self) -> np.ndarray:
        """(strata, arms) rows."""
        size = (len(self.strata), len(self.arms))
        if np.prod(size, dtype=np.float64) * self.measured.shape[1] > _LARGEST:
            raise TableError(
                f"{size[0]:,} strata of {size[1]} arms are too many for a saturated model; use additive models, or "
                "fewer covariates"
            )
        return np.bincount(self.stratum * size[1] + self.arm, self.counts, minlength=size[0] * size[1]).reshape(size)

    @cached_property
    def sums(self) -> np.ndarray:
        """(strata, arms, outcomes) summed outcome."""
        shape = (*self.by_arm.shape, self.measured.shape[1])
        flat = self.stratum * shape[1] + self.arm
        columns = [np.bincount(flat, self.counts * y, minlength=shape[0] * shape[1]) for y in self.measured.T]
        return np.stack(columns, axis=1).reshape(shape)

    @cached_property
    def saturated_means(self) -> np.ndarray:
        """(strata, arms, outcomes) mean outcome; NaN where an arm does not occur."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.sums / self.by_arm[:, :, None])


@dataclass(frozen=True)
class Part:
    """Cells alike in what is held fixed.

    Attributes:
        held: value of each column held fixed, in order.
        cells: of the rows that have it.
        at: (cells,) positions among all cells of the table.
    """

    held: tuple[object, ...]
    cells: Cells
    at: np.ndarray


@dataclass(frozen=True)
class Tabulated:
    """A whole table.

    Attributes:
        parts: one per combination of the columns held fixed.
        cell_of_row: (rows,) int64 position of each row's cell among all cells.
        cells: how many there are.
    """

    parts: tuple[Part, ...]
    cell_of_row: np.ndarray
    cells: int


def tabulate(
    table: pd.DataFrame,
    treatment: str,
    outcome: str,
    covariates: Sequence[str],
    within: Sequence[str] = (),
    *,
    fold: np.ndarray | None = None,
) -> Tabulated:
    """Count a table's distinct rows.

    Args:
        outcome: a float column is a number; any other holds levels.
        within: columns held fixed.
        fold: (rows,) int64; rows of different folds are kept apart.

    Raises TableError for no rows, a missing column, gaps, or lists.
    """
    if table.empty:
        raise TableError("the table has no rows; there is nothing to estimate")
    held = list(within)
    arm, arm_values = factorize(table, treatment, sort=True)
    numeric = is_quantity(table, outcome)
    code, names = factorize(table, outcome, sort=True)
    value = column_values(table, outcome).to_numpy(dtype=np.float64) if numeric else code
    first_stratum, stratum = distinct_rows(table, [*held, *covariates])
    cell_of_row = _numbered(stratum * len(arm_values) + arm, code)
    if fold is not None:
        cell_of_row = _numbered(cell_of_row, fold)
    cells = int(cell_of_row.max()) + 1
    first = np.empty(cells, dtype=np.int64)
    first[cell_of_row[::-1]] = np.arange(len(table) - 1, -1, -1)
    counts = np.bincount(cell_of_row, minlength=cells).astype(np.float64)
    first_part, part_of_stratum = distinct_rows(table.iloc[first_stratum], held)
    part_of_cell = part_of_stratum[stratum[first]]
    described = table.iloc[first_stratum]
    parts = []
    order = np.argsort(part_of_cell, kind="stable")
    for number, at in enumerate(np.split(order, np.cumsum(np.bincount(part_of_cell))[:-1])):
        rows = first[at]
        known, inside = np.unique(stratum[rows], return_inverse=True)
        here_arms, here_arm = np.unique(arm[rows], return_inverse=True)
        if numeric:
            here_value, outcomes = value[rows], None
        else:
            seen, here_value = np.unique(code[rows], return_inverse=True)
            outcomes = Levels(outcome, names[seen])
        here = Cells(
            strata=described.iloc[known][list(covariates)].reset_index(drop=True),
            stratum=inside.astype(np.int64),
            arm=here_arm.astype(np.int64),
            value=here_value,
            counts=counts[at],
            fold=np.zeros(len(at), dtype=np.int64) if fold is None else fold[rows].astype(np.int64),
            arms=Levels(treatment, arm_values[here_arms]),
            outcomes=outcomes,
        )
        names_held = tuple(described.iloc[first_part[number]][column] for column in held)
        parts.append(Part(names_held, here, at))
    parts.sort(key=lambda part: tuple(map(str, part.held)))
    return Tabulated(tuple(parts), cell_of_row, cells)


def _numbered(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(rows,) number of each row's pair."""
    codes = pd.factorize(first * (int(second.max()) + 1) + second)[0]
    return codes.astype(np.int64, copy=False)
