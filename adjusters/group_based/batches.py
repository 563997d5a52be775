"""Batches that look at groups: each group in proportion, or each as often as any other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from adjusters.group_based.groups import inverse_frequency

if TYPE_CHECKING:
    import pandas as pd


def dealt_batches(table: pd.DataFrame, codes: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows dealt out like cards, group by group: every batch holds each group in proportion, every row comes once."""
    batches = []
    for rows in _kinds(table):
        code = np.unique(codes[rows], return_inverse=True)[1]
        order = rows[np.lexsort((rng.random(len(rows)), rng.permutation(int(code.max()) + 1)[code]))]
        piles = max(1, round(len(rows) / size))
        batches += [rng.permutation(order[pile::piles]) for pile in range(piles)]
    for i in rng.permutation(len(batches)):
        yield batches[i]


def balanced_batches(
    table: pd.DataFrame, codes: np.ndarray, groups: int, size: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """As many rows as there are, drawn with replacement, each group equally likely. Rows in no group are left out."""
    batches = []
    for rows in _kinds(table):
        if not (codes[rows] >= 0).any():
            continue
        weights = inverse_frequency(codes[rows], groups)
        drawn = rng.choice(rows, size=len(rows), p=weights / weights.sum())
        batches += np.array_split(drawn, max(1, round(len(rows) / size)))
    for i in rng.permutation(len(batches)):
        yield batches[i]


def _kinds(table: pd.DataFrame) -> list[np.ndarray]:
    """Row positions of each kind of question: a batch holds one kind."""
    if "kind" not in table.columns:
        return [np.arange(len(table))]
    kinds = table["kind"].to_numpy()
    return [np.flatnonzero(kinds == kind) for kind in sorted(set(kinds))]
