"""Batches in which each group is as likely as any other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from adjusters.batching import rows_of_kinds
from adjusters.group_based.groups import inverse_frequency

if TYPE_CHECKING:
    import pandas as pd


def balanced_batches(
    table: pd.DataFrame, codes: np.ndarray, groups: int, size: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """As many rows as there are, drawn with replacement, each group equally likely. Rows in no group are left out."""
    batches = []
    for rows in rows_of_kinds(table):
        if not (codes[rows] >= 0).any():
            continue
        weights = inverse_frequency(codes[rows], groups)
        drawn = rng.choice(rows, size=len(rows), p=weights / weights.sum())
        batches += np.array_split(drawn, max(1, round(len(rows) / size)))
    for i in rng.permutation(len(batches)):
        yield batches[i]
