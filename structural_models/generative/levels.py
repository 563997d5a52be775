"""Levels of a node by name and by code: a level's code is its position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from structural_models.errors import TableError


def plain_levels(levels: Sequence[Any] | np.ndarray) -> tuple[Any, ...]:
    """The same levels of Python's own types."""
    return tuple(level.item() if isinstance(level, np.generic) else level for level in levels)


def check_levels(node: str, levels: tuple[Any, ...]) -> None:
    """Raises TableError unless there are levels, all distinct."""
    if not levels or len(set(levels)) < len(levels):
        raise TableError(f"the levels of node '{node}' must be distinct and at least one, not ({_listed(levels)})")


def named(levels: Sequence[Any]) -> np.ndarray:
    """(levels,) array: of numbers where all levels are numbers of one type, else of objects."""
    out = np.empty(len(levels), dtype=object)
    out[:] = list(levels)
    kinds = {type(level) for level in levels}
    return out.astype(next(iter(kinds))) if len(kinds) == 1 and kinds <= {int, float, bool} else out


def codes_of(levels: Sequence[Any], values: Any, what: str) -> np.ndarray:
    """(values,) int64 codes. Raises TableError, beginning with ``what``, for a value that is no level."""
    given = np.empty(len(values), dtype=object)
    given[:] = list(values)
    codes = pd.Index(list(levels), dtype=object).get_indexer(pd.Index(given, dtype=object))
    if (codes < 0).any():
        raise TableError(f"{what} '{given[codes < 0][0]}', which is not among its levels ({_listed(levels)})")
    return np.asarray(codes, dtype=np.int64)


def _listed(levels: Sequence[Any]) -> str:
    return ", ".join(map(str, levels))
