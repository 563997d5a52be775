"""Tables as integer codes: levels of a column, distinct rows of several. Linear in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from structural_models.errors import PositivityError, TableError


def column_values(table: pd.DataFrame, name: str) -> pd.Series:
    """A complete column of single values. Raises TableError where it is missing, has gaps, or holds lists."""
    if name not in table.columns:
        raise TableError(f"the table lacks the column '{name}'; it has {', '.join(map(str, table.columns))}")
    values = table[name]
    gaps = int(values.isna().sum())
    if gaps:
        raise TableError(f"column '{name}' is empty in {gaps} of {len(values)} rows; fill or drop these rows first")
    return values


def factorize(table: pd.DataFrame, name: str, *, sort: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) int64 codes and the distinct values they stand for."""
    values = column_values(table, name)
    try:
        codes, levels = pd.factorize(np.asarray(values), sort=sort)
    except TypeError as error:
        raise TableError(f"column '{name}' must hold one plain value per row, but holds lists or the like") from error
    return codes.astype(np.int64, copy=False), np.asarray(levels)


@dataclass(frozen=True)
class Levels:
    """The sorted distinct values of a column; a value's position is its code."""

    column: str
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def codes(self, table: pd.DataFrame) -> np.ndarray:
        """(rows,) int64 codes. Raises PositivityError for a value that is not among the levels."""
        positions, distinct = factorize(table, self.column)
        known = pd.Index(self.values).get_indexer(pd.Index(distinct))
        if (known < 0).any():
            new = distinct[known < 0][0]
            rows = int(np.isin(positions, np.flatnonzero(known < 0)).sum())
            raise PositivityError(
                f"column '{self.column}' holds '{new}' (or other new values) in {rows} rows, which did not occur where "
                "the propensity was fitted; drop these rows or fit on data that hold it"
            )
        return np.asarray(known, dtype=np.int64)[positions]


def coded(table: pd.DataFrame, column: str) -> tuple[np.ndarray, Levels]:
    """(rows,) int64 codes of a column and its sorted levels."""
    codes, values = factorize(table, column, sort=True)
    return codes, Levels(column, values)


def distinct_rows(table: pd.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct combinations of several columns.

    Returns:
        (combinations,) int64 position of the first row of each, and (rows,) int64 number of each row's combination.
        Without columns all rows share one combination.
    """
    key = np.zeros(len(table), dtype=np.int64)
    for name in columns:
        codes, values = factorize(table, name)
        key = pd.factorize(key * max(len(values), 1) + codes)[0].astype(np.int64, copy=False)
    first = np.empty(int(key.max()) + 1 if len(key) else 0, dtype=np.int64)
    first[key[::-1]] = np.arange(len(key) - 1, -1, -1)
    return first, key


def is_quantity(table: pd.DataFrame, column: str) -> bool:
    """Whether a column is a quantity (any float type) rather than levels (integers, booleans, strings, categories)."""
    return bool(pd.api.types.is_float_dtype(column_values(table, column)))


def require_rows(table: pd.DataFrame) -> None:
    if table.empty:
        raise TableError("the table has no rows; there is nothing to fit")
