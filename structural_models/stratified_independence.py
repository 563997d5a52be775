"""Is a column independent of another within strata? A permutation test that keeps a patient's rows together.

The statistic is Pearson's, summed over strata. Within a stratum the values of the first column are exchanged, which
leaves all margins as they are, so the test is exact however thin the cells are.

Rows may be exchanged one by one where the first column was assigned row by row, whatever the second one does within a
patient. Where the rows of a patient resemble each other in the first column, that would reject too often: then patients
are exchanged whole, each with those whose rows lie in the same strata. Which of the two it is, is said by the caller,
or by a test of its own (the number of pairs of one patient's rows that have the same value).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from structural_models.errors import TableError
from structural_models.tabulation import coded, distinct_rows, require_rows

Exchange = Literal["rows", "patients"]
PERMUTATIONS = 999
#: Level of the test whether rows of one patient resemble each other.
_CLUSTERING_LEVEL = 0.05
_BUDGET = 4_000_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class IndependenceTest:
    """What :func:`independence_test` found.

    Attributes:
        statistic: Pearson's chi-squared, summed over strata.
        df: degrees of freedom, (values - 1)(values - 1) summed over strata; 0 = nothing could be compared.
        p_value: (1 + permutations that reach the statistic) / (1 + permutations); NaN where nothing could be exchanged.
        rows: in strata where both columns vary.
        exchanged: what the permutations exchanged.
        p_clustering: of the test whether rows of one patient resemble each other in the first column; NaN where none
            was made.
    """

    statistic: float
    df: int
    p_value: float
    rows: int
    exchanged: Exchange
    p_clustering: float

    @property
    def made(self) -> bool:
        return self.p_value == self.p_value


def independence_test(
    table: pd.DataFrame,
    first: str,
    second: str,
    strata: Sequence[str],
    *,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    exchange: Exchange | None = None,
    permutations: int = PERMUTATIONS,
) -> IndependenceTest:
    """Test ``first`` ⟂ ``second`` given ``strata``.

    Args:
        table: no gaps in the columns used; all of them hold levels.
        strata: columns whose combinations are the strata; none = one stratum.
        groups: (rows,) integer patient of each row, or (rows, some) where a row has several; negative = none.
        exchange: "rows" or "patients"; by default rows, unless those of one patient resemble each other.
        permutations: how many.

    Raises TableError for no rows, a missing column, groups that do not fit, or patients to be exchanged without groups.
    """
    require_rows(table)
    if permutations < 1:
        raise TableError(f"a permutation test needs at least one permutation, not {permutations}")
    if exchange == "patients" and groups is None:
        raise TableError("to exchange patients, give the patient of each row in groups")
    members = None if groups is None else checked_groups(groups, len(table))
    f, a = coded(table, first)[0], coded(table, second)[0]
    stratum = distinct_rows(table, strata)[1]
    kept = varies(stratum, f) & varies(stratum, a)
    f, a, stratum = f[kept], a[kept], np.unique(stratum[kept], return_inverse=True)[1]
    if not len(f):
        return IndependenceTest(0.0, 0, float("nan"), 0, exchange or "rows", float("nan"))
    cells = _Cells.of(f, a, stratum)
    held = None if members is None else members[kept]
    statistic = cells.statistic(f[None])[0]
    p_clustering = float("nan")
    if exchange == "patients":
        reached, drawn = 0, 0
    else:
        pairs = None if held is None or exchange == "rows" else _SameValue.of(held, int(f.max()) + 1)
        if pairs is not None and not pairs.any:
            pairs = None
        observed_pairs = 0.0 if pairs is None else pairs.count(f[None])[0]
        reached = alike = drawn = 0
        for permuted in _rows_exchanged(f, stratum, permutations, rng, cells.size):
            reached += int((cells.statistic(permuted) >= statistic - _ROUNDING * (1 + statistic)).sum())
            if pairs is not None:
                alike += int((pairs.count(permuted) >= observed_pairs).sum())
            drawn += len(permuted)
        if pairs is not None:
            p_clustering = (1 + alike) / (1 + drawn)
        exchange = "patients" if p_clustering < _CLUSTERING_LEVEL else "rows"
    if exchange == "patients":
        assert held is not None
        reached = drawn = 0
        for permuted in _patients_exchanged(f, stratum, held, permutations, rng, cells.size):
            reached += int((cells.statistic(permuted) >= statistic - _ROUNDING * (1 + statistic)).sum())
            drawn += len(permuted)
    p = (1 + reached) / (1 + drawn) if drawn else float("nan")
    return IndependenceTest(float(statistic), cells.df, p, len(f), exchange, p_clustering)


def checked_groups(groups: np.ndarray, rows: int) -> np.ndarray:
    """(rows, some) int64 codes from 0, by value; -1 = none. Raises TableError unless integers, for every row."""
    given = np.asarray(groups)
    given = given[:, None] if given.ndim == 1 else given
    if given.ndim != 2 or len(given) != rows or not given.shape[1] or not np.issubdtype(given.dtype, np.integer):
        raise TableError(
            f"groups must hold one integer (or several) per row ({rows} rows), not {given.dtype} of shape {given.shape}"
        )
    known, codes = np.unique(given, return_inverse=True)
    return np.maximum(codes.reshape(given.shape) - int((known < 0).sum()), -1).astype(np.int64)


def varies(stratum: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(rows,) bool: has the row's stratum several values?"""
    size = int(stratum.max()) + 1
    low, high = np.full(size, codes.max()), np.zeros(size, dtype=np.int64)
    np.minimum.at(low, stratum, codes)
    np.maximum.at(high, stratum, codes)
    return np.asarray((low < high)[stratum])


@dataclass(frozen=True)
class _Cells:
    """Expected counts, which exchanging within strata does not change."""

    base: np.ndarray
    size: int
    per_expected: np.ndarray
    rows: int
    df: int

    @classmethod
    def of(cls, f: np.ndarray, a: np.ndarray, stratum: np.ndarray) -> _Cells:
        first = int(f.max()) + 1
        known, column = np.unique(stratum * (int(a.max()) + 1) + a, return_inverse=True)
        of_stratum = known // (int(a.max()) + 1)
        in_column, in_stratum = np.bincount(column), np.bincount(stratum)
        in_row = np.bincount(stratum * first + f, minlength=len(in_stratum) * first).reshape(-1, first)
        expected = in_column[:, None] * in_row[of_stratum] / in_stratum[of_stratum][:, None]
        per_expected = np.divide(1.0, expected, out=np.zeros_like(expected), where=expected > 0)
        df = int((((in_row > 0).sum(1) - 1) * (np.bincount(of_stratum) - 1)).sum())
        return cls(column * first, expected.size, per_expected.ravel(), len(f), df)

    def statistic(self, f: np.ndarray) -> np.ndarray:
        """(draws,) of (draws, rows) codes."""
        draws = len(f)
        at = f + self.base + (np.arange(draws) * self.size)[:, None]
        counts = np.bincount(at.ravel(), minlength=draws * self.size).reshape(draws, self.size).astype(np.float64)
        return np.asarray(counts**2 @ self.per_expected - self.rows)


@dataclass(frozen=True)
class _SameValue:
    """Counts pairs of rows of one patient that have the same value (each such value of a patient once squared)."""

    members: np.ndarray
    rows: np.ndarray
    values: int
    size: int

    @classmethod
    def of(cls, members: np.ndarray, values: int) -> _SameValue:
        row, column = np.nonzero(members >= 0)
        patient = members[row, column]
        several = np.bincount(patient)[patient] > 1 if len(patient) else np.zeros(0, dtype=bool)
        known, codes = np.unique(patient[several], return_inverse=True)
        return cls(codes * values, row[several], values, len(known) * values)

    @property
    def any(self) -> bool:
        return self.size > 0

    def count(self, f: np.ndarray) -> np.ndarray:
        draws = len(f)
        at = f[:, self.rows] + self.members + (np.arange(draws) * self.size)[:, None]
        counts = np.bincount(at.ravel(), minlength=draws * self.size).reshape(draws, self.size).astype(np.float64)
        return np.asarray((counts**2).sum(1))


def _chunks(permutations: int, width: int) -> Iterator[int]:
    size = max(1, _BUDGET // width)
    for start in range(0, permutations, size):
        yield min(size, permutations - start)


def _rows_exchanged(
    f: np.ndarray, stratum: np.ndarray, permutations: int, rng: np.random.Generator, cells: int
) -> Iterator[np.ndarray]:
    """(some, rows) codes, exchanged within strata."""
    order = np.argsort(stratum, kind="stable")
    back = np.argsort(order, kind="stable")
    # Sorting by (stratum, random bits, code) shuffles the codes of each stratum in one pass.
    bits = max(1, int(f.max()).bit_length())
    high = np.sort(stratum).astype(np.uint64) << np.uint64(40)
    low = f[order].astype(np.uint64)
    random_bits = 40 - bits
    for some in _chunks(permutations, max(len(f), cells)):
        keys = rng.integers(0, 1 << random_bits, (some, len(f)), dtype=np.uint64) << np.uint64(bits)
        keys |= high
        keys |= low
        keys.sort(axis=1)
        yield (keys & np.uint64((1 << bits) - 1)).astype(np.int64)[:, back]


def _patients_exchanged(
    f: np.ndarray, stratum: np.ndarray, members: np.ndarray, permutations: int, rng: np.random.Generator, cells: int
) -> Iterator[np.ndarray]:
    """(some, rows) codes; patients who share a row move as one, to the place of others like them. Nothing where none
    are alike, or exchanging them changes nothing."""
    unit = connected(members)
    order = np.lexsort((stratum, unit))
    starts = np.flatnonzero(np.r_[True, np.diff(unit[order]) > 0])
    blocks = np.split(order, starts[1:])
    alike: dict[tuple[int, ...], list[np.ndarray]] = {}
    for block in blocks:
        alike.setdefault(tuple(stratum[block].tolist()), []).append(block)
    pools = [np.stack(found) for found in alike.values() if len(found) > 1]
    pools = [rows for rows in pools if (f[rows] != f[rows[0]]).any()]
    if not pools:
        return
    for some in _chunks(permutations, max(len(f), cells)):
        out = np.repeat(f[None], some, axis=0)
        for rows in pools:
            shuffled = np.argsort(rng.random((some, len(rows))), axis=1)
            out[:, rows] = f[rows][shuffled]
        yield out


def connected(members: np.ndarray) -> np.ndarray:
    """(rows,) number of the connected component: rows are joined by the patients they share."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    row, column = np.nonzero(members >= 0)
    rows = len(members)
    patients = int(members.max(initial=-1)) + 1
    size = rows + patients
    edges = coo_matrix((np.ones(len(row), dtype=np.int8), (row, rows + members[row, column])), shape=(size, size))
    return np.asarray(connected_components(edges, directed=False)[1][:rows], dtype=np.int64)
