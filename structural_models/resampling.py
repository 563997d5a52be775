"""Drawing rows with little more noise than the weights demand, and pairing rows that differ in the arm only.

Groups (patients) are kept apart where it means something: a draw is spread over patients as evenly as their weights
allow, and a pair never joins two rows of one patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from structural_models.errors import PositivityError, TableError
from structural_models.tabulation import coded, distinct_rows, require_rows
from structural_models.weights import checked_weights

Target = Literal["independent", "uniform"]
_SWAP_ATTEMPTS = 64


def systematic_resample(
    weights: np.ndarray, size: int, *, rng: np.random.Generator, groups: np.ndarray | None = None
) -> np.ndarray:
    """Draw rows in proportion to their weights with one random number (systematic, low-variance resampling).

    Row i is drawn floor or ceil of size x w_i / Σw times, and so is every group as a whole.

    Args:
        weights: (rows,) finite, at least zero, not all zero.
        size: how many rows to draw, at least one.
        groups: (rows,) integer group of each row, e.g. of its patient.

    Returns:
        (size,) int64 row positions in random order.

    Raises:
        TableError: weights, size or groups out of range.
    """
    w = checked_weights(weights)
    return _systematic(w, _spread(len(w), [_checked_groups(groups, len(w))], rng), size, rng)


def stratified_resample(
    table: pd.DataFrame,
    columns: Sequence[str],
    size: int,
    *,
    target: Target | Mapping[tuple, float] = "independent",
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Draw rows so that the cells of ``columns`` (e.g. severity, style) have given shares.

    Args:
        columns: two or more for "independent".
        size: how many rows to draw; a cell is drawn floor or ceil of size x share times, a row of it equally often (to
            within one).
        target: "independent" = the product of the columns' own shares, which cuts the tie between them; "uniform" = all
            combinations of levels alike; or a mapping {(level of each column, ...): share}, shares summing to one.
        groups: as for :func:`systematic_resample`.

    Returns:
        (size,) int64 row positions in random order.

    Raises:
        PositivityError: a cell with a positive share has no row to draw from.
        TableError: shares that are none, or as :func:`systematic_resample`.
    """
    require_rows(table)
    first, cell = distinct_rows(table, columns)
    share = _target_shares(table, list(columns), first, target)
    missing = 1.0 - share.sum()
    if missing > 1e-9:
        raise PositivityError(
            f"cells of {' x '.join(columns)} with a target share of {missing:.3g} in all have no row to draw from; "
            "merge levels, or give a target that leaves them out"
        )
    weights = share[cell] / np.bincount(cell)[cell]
    order = _spread(len(table), [cell, _checked_groups(groups, len(table))], rng)
    return _systematic(weights, order, size, rng)


def _target_shares(
    table: pd.DataFrame, columns: list[str], first: np.ndarray, target: Target | Mapping[tuple, float]
) -> np.ndarray:
    """(cells,) target share of each occurring cell; what is missing to one lies in cells without rows."""
    levels = [coded(table, name) for name in columns]
    if isinstance(target, str):
        if target not in ("independent", "uniform"):
            raise TableError(
                f"no target is called '{target}'; use independent, uniform, or a mapping of cells to shares"
            )
        if target == "independent" and len(columns) < 2:
            raise TableError("the target 'independent' needs at least two columns to set apart")
        share = np.ones(len(first))
        for codes, known in levels:
            own = np.bincount(codes) / len(codes) if target == "independent" else np.full(len(known), 1 / len(known))
            share = share * own[codes[first]]
        return share
    given = {key if isinstance(key, tuple) else (key,): float(value) for key, value in target.items()}
    if any(not 0 <= value <= 1 for value in given.values()) or abs(sum(given.values()) - 1) > 1e-9:
        raise TableError("target shares must lie between 0 and 1 and sum to one")
    cells = zip(*(known.values[codes[first]].tolist() for codes, known in levels), strict=True)
    return np.array([given.get(cell, 0.0) for cell in cells])


def matched_pairs(
    table: pd.DataFrame,
    treatment: str,
    within: Sequence[str],
    *,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Pair rows of different arms that agree in every column of ``within``; no row is used twice.

    As many pairs are formed as the arms' sizes allow, min(n // 2, n - largest arm) per stratum, less pairs of one
    patient that no exchange of partners could part.

    Args:
        treatment: arms, e.g. the style.
        within: what the two rows agree in, e.g. severity and topic; may be empty.
        groups: (rows,) integer group of each row, e.g. of its patient.

    Returns:
        (pairs, 2) int64 row positions; pairs, and the two rows of a pair, in random order. May be empty.

    Raises:
        TableError: no rows, or a column that is missing or has gaps.
    """
    require_rows(table)
    arm, arms = coded(table, treatment)
    group = _checked_groups(groups, len(table))
    stratum = distinct_rows(table, within)[1]
    order = np.lexsort((rng.random(len(table)), rng.permutation(len(arms))[arm], stratum))
    cuts = np.flatnonzero(np.diff(stratum[order])) + 1
    found = [_pair_up(rows, arm, rng) for rows in np.split(order, cuts)]
    parted = [_part_patients(pairs, arm, group, rng) for pairs in found]
    pairs = rng.permutation(np.concatenate(parted))
    turned = rng.random(len(pairs)) < 0.5
    pairs[turned] = pairs[turned, ::-1]
    return np.asarray(pairs, dtype=np.int64)


def _pair_up(rows: np.ndarray, arm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of one stratum, sorted by arm: each is paired with one half a stratum away, so never with its own arm."""
    starts = np.flatnonzero(np.r_[True, np.diff(arm[rows]) != 0])
    sizes = np.diff(np.r_[starts, len(rows)])
    largest = int(sizes.argmax())
    if 2 * sizes[largest] > len(rows):
        big = np.arange(starts[largest], starts[largest] + sizes[largest])
        others = np.delete(rows, big)
        return np.column_stack([others, rows[big[: len(others)]]])
    if len(rows) % 2:
        rows = np.delete(rows, rng.integers(len(rows)))
    half = len(rows) // 2
    return np.column_stack([rows[:half], rows[half:]])


def _part_patients(pairs: np.ndarray, arm: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exchange second partners until no pair is of one group; pairs that resist are dropped."""
    pairs = pairs.copy()
    clashing = np.flatnonzero(group[pairs[:, 0]] == group[pairs[:, 1]])
    dropped: list[int] = []
    for i in clashing:
        if group[pairs[i, 0]] != group[pairs[i, 1]]:
            continue
        for j in rng.integers(len(pairs), size=_SWAP_ATTEMPTS):
            left, right = pairs[[i, j], 0], pairs[[j, i], 1]
            if (group[left] != group[right]).all() and (arm[left] != arm[right]).all():
                pairs[[i, j], 1] = right
                break
        else:
            dropped.append(int(i))
    return np.delete(pairs, dropped, axis=0)


def _checked_groups(groups: np.ndarray | None, rows: int) -> np.ndarray:
    if groups is None:
        return np.arange(rows, dtype=np.int64)
    group = np.asarray(groups)
    if group.shape != (rows,) or not np.issubdtype(group.dtype, np.integer):
        raise TableError(f"groups must be one integer per row ({rows}), not {group.dtype} of shape {group.shape}")
    return pd.factorize(group)[0].astype(np.int64)


def _spread(rows: int, keys: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Row positions sorted by the keys, first key outermost; keys in random order of their values, ties at random."""
    shuffled = [rng.permutation(int(key.max()) + 1)[key] for key in keys]
    return np.lexsort((rng.random(rows), *reversed(shuffled)))


def _systematic(weights: np.ndarray, order: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    if size < 1:
        raise TableError(f"cannot draw {size} rows; ask for at least one")
    edges = np.cumsum(weights[order])
    ticks = (np.arange(size) + rng.random()) * (edges[-1] / size)
    at = np.searchsorted(edges, ticks, side="right")
    last = int(np.flatnonzero(weights[order])[-1])
    return rng.permutation(order[np.minimum(at, last)]).astype(np.int64, copy=False)
