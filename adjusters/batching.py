"""Row positions of batches, of one kind of question each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def rows_of_kinds(table: pd.DataFrame) -> list[np.ndarray]:
    """Row positions of each kind of question: a batch holds one kind."""
    if "kind" not in table.columns:
        return [np.arange(len(table))]
    kinds = table["kind"].to_numpy()
    return [np.flatnonzero(kinds == kind) for kind in sorted(set(kinds))]


def dealt_batches(table: pd.DataFrame, codes: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows dealt out like cards, group by group: every batch holds each group in proportion, every row comes once.

    Args:
        codes: (rows,) integers, the group of each row.
        size: rows of a batch, about.
    """
    groups, group = np.unique(codes, return_inverse=True)
    dealt = []
    for rows in rows_of_kinds(table):
        order = rows[np.lexsort((rng.random(len(rows)), rng.permutation(len(groups))[group[rows]]))]
        piles = max(1, round(len(rows) / size))
        dealt += [rng.permutation(order[pile::piles]) for pile in range(piles)]
    for i in rng.permutation(len(dealt)):
        yield dealt[i]
