"""Two ECGs have two severities, and what is adjusted for is the pair, not the larger of the two."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def has_pairs(table: pd.DataFrame, column: str) -> bool:
    """Whether any item has a second ECG's severity (column ``<column>_2``, -1 where there is none)."""
    return f"{column}_2" in table.columns and bool((table[f"{column}_2"] >= 0).any())


def pair_column(column: str) -> str:
    return f"{column}_pair"


def with_pairs(table: pd.DataFrame, column: str, levels: int) -> pd.DataFrame:
    """The table with ``<column>_pair``: the level itself for one ECG, ``levels * (1 + first) + second`` for two.

    A severity that is not defined (-1) stays so.
    """
    import numpy as np

    first, second = table[f"{column}_1"].to_numpy(), table[f"{column}_2"].to_numpy()
    pair = np.where(second >= 0, levels * (1 + first) + second, first)
    return table.assign(**{pair_column(column): np.where(table[column] < 0, -1, pair).astype(np.int64)})


def pair_words(words: Sequence[str]) -> list[str]:
    """A text per level of :func:`with_pairs`: of one ECG, then of first and second."""
    return [*words, *(f"{first} then {second}" for first, second in product(words, repeat=2))]
