"""Rows matched to rows of other arms that agree in some columns and, among these, are near in others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from structural_models.errors import TableError
from structural_models.tabulation import coded, column_values, distinct_rows, is_quantity, require_rows

#: Of a standard deviation: parts rows that are equally near, at random.
_JITTER = 1e-6


@dataclass(frozen=True)
class Matching:
    """Matched sets: one row and its matches of other arms.

    Attributes:
        weights: (rows,) float64. A row counts as one, and as 1 / ratio for every row it is a match of; without
            replacement a row that is in no set has weight zero.
        heads, matches: (matches,) int64 row positions: ``matches[i]`` is matched to ``heads[i]``.
        sets: (rows,) int64 number of the set a row is in, -1 for none: a row of its stratum's smallest arm with its
            matches, each in one set only.
    """

    weights: np.ndarray
    heads: np.ndarray
    matches: np.ndarray
    sets: np.ndarray


def match_rows(
    table: pd.DataFrame,
    treatment: str,
    within: Sequence[str],
    *,
    ratio: int = 1,
    replace: bool = True,
    near: Sequence[str] = (),
    rng: np.random.Generator,
) -> Matching:
    """Match on the levels of ``within`` exactly, and on ``near`` as closely as can be.

    With replacement every row is matched to ``ratio`` rows of each other arm of its stratum; those are dealt out, so
    that two rows of an arm are used equally often to within one, unless ``near`` decides. Without, the rows of the
    stratum's smallest arm are matched, in random order, each to as many unused rows of each other arm, up to ``ratio``,
    as there are for all. Either way the weights of the arms of a stratum have the same sum, so that arm and stratum are
    independent, where each stratum has the same arms; with replacement that sum is the number of the stratum's rows
    (without it, of its smallest arm's). Without replacement a stratum of one arm is left out.

    Args:
        treatment: arms.
        within: columns of levels; may be empty.
        ratio: at least one.
        near: columns; quantities count in units of their standard deviation, a different level counts as one unit.

    Raises TableError: no rows, a ratio out of range, or a column that is missing or has gaps.

    Source: Stuart 2010, sections 3 and 4; Abadie & Imbens 2006 for weights with replacement.
    """
    require_rows(table)
    if ratio < 1:
        raise TableError(f"a row is matched to at least one row, not to {ratio}")
    arm, _ = coded(table, treatment)
    stratum = distinct_rows(table, within)[1]
    place = _places(table, near, rng)
    sets = np.full(len(table), -1, dtype=np.int64)
    heads: list[np.ndarray] = []
    matches: list[np.ndarray] = []
    weights = np.ones(len(table)) if replace else np.zeros(len(table))
    order = np.lexsort((rng.random(len(table)), stratum))
    for rows in np.split(order, np.flatnonzero(np.diff(stratum[order])) + 1):
        arms = [rows[arm[rows] == k] for k in np.unique(arm[rows])]
        if len(arms) == 1:
            continue
        smallest = min(arms, key=len)
        sets[smallest] = smallest
        if replace:
            for own in arms:
                others = rows[arm[rows] != arm[own[0]]]
                found = _with_replacement(place, own, others, ratio, rng)
                np.add.at(weights, found.ravel(), 1.0 / ratio)
                heads.append(np.repeat(others, ratio))
                matches.append(found.ravel())
                if own is not smallest:
                    of_smallest = np.flatnonzero(arm[others] == arm[smallest[0]])
                    _join(sets, others[of_smallest], found[of_smallest])
            continue
        weights[smallest] = 1.0
        for own in arms:
            if own is smallest:
                continue
            each = min(ratio, len(own) // len(smallest))
            found = _without_replacement(place, own, smallest, each)
            weights[found] = 1.0 / each
            heads.append(np.repeat(smallest, each))
            matches.append(found.ravel())
            _join(sets, smallest, found)
    none = np.zeros(0, dtype=np.int64)
    return Matching(weights, np.concatenate([none, *heads]), np.concatenate([none, *matches]), sets)


def _join(sets: np.ndarray, heads: np.ndarray, found: np.ndarray) -> None:
    """Put the (heads, ratio) matches into the sets of their heads, unless they are in one."""
    for column in found.T:
        rows, first = np.unique(column, return_index=True)
        free = sets[rows] < 0
        sets[rows[free]] = heads[first[free]]


def _places(table: pd.DataFrame, near: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """(rows, features) so that nearness is Euclidean distance."""
    parts = []
    for name in near:
        if is_quantity(table, name) or pd.api.types.is_integer_dtype(column_values(table, name)):
            values = table[name].to_numpy(dtype=np.float64)
            parts.append(((values - values.mean()) / (values.std() or 1.0))[:, None])
        else:
            codes, levels = coded(table, name)
            parts.append((codes[:, None] == np.arange(len(levels))) / np.sqrt(2.0))
    if not parts:
        return np.zeros((len(table), 0))
    places = np.hstack(parts)
    return np.asarray(places + _JITTER * rng.standard_normal(places.shape))


def _with_replacement(
    place: np.ndarray, donors: np.ndarray, rows: np.ndarray, ratio: int, rng: np.random.Generator
) -> np.ndarray:
    """(rows, ratio) donors; a row's are distinct while there are enough of them."""
    if not place.shape[1]:
        dealt = np.resize(rng.permutation(donors), len(rows) * ratio)
        return np.asarray(dealt.reshape(len(rows), ratio))
    from scipy.spatial import cKDTree

    nearest = min(ratio, len(donors))
    at = cKDTree(place[donors]).query(place[rows], k=[*range(1, nearest + 1)])[1]
    return np.asarray(donors[np.resize(at.T, (ratio, len(rows))).T])


def _without_replacement(place: np.ndarray, donors: np.ndarray, rows: np.ndarray, each: int) -> np.ndarray:
    """(rows, each) distinct donors: rows take their nearest one that is left, in turn."""
    found = np.empty((len(rows), each), dtype=np.int64)
    if not place.shape[1]:
        return np.asarray(donors[: len(rows) * each].reshape(len(rows), each))
    left = np.ones(len(donors), dtype=bool)
    for turn in range(each):
        for i, row in enumerate(rows):
            free = np.flatnonzero(left)
            best = free[np.square(place[donors[free]] - place[row]).sum(axis=1).argmin()]
            found[i, turn], left[best] = donors[best], False
    return found
