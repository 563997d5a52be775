"""Rows as codes of treatment, outcome and stratum, and which outcomes are frequent enough to be compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: So many rows must be expected in a cell before its emptiness says anything, or its share is compared.
MINIMUM_EXPECTED = 5.0


@dataclass(frozen=True)
class TreatmentCells:
    """(rows,) int64 codes from 0: treatment ``f``, outcome ``a``, stratum ``s``, and ``t``, what the comparison is held
    within. Every stratum lies in one t."""

    f: np.ndarray
    a: np.ndarray
    s: np.ndarray
    t: np.ndarray

    @cached_property
    def arms(self) -> int:
        return int(self.f.max()) + 1

    @cached_property
    def t_of_s(self) -> np.ndarray:
        out = np.empty(int(self.s.max()) + 1, dtype=np.int64)
        out[self.s] = self.t
        return out

    def counts(self, of: np.ndarray, size: int, weights: np.ndarray | None = None) -> np.ndarray:
        """(size, arms) rows, or their summed weights, per level of ``of`` and arm."""
        flat = np.bincount(of * self.arms + self.f, weights, minlength=size * self.arms)
        return flat.reshape(size, self.arms).astype(np.float64)

    @cached_property
    def by_t(self) -> np.ndarray:
        """(t, arms) rows."""
        return self.counts(self.t, int(self.t.max()) + 1)

    @cached_property
    def by_s(self) -> np.ndarray:
        """(strata, arms) rows."""
        return self.counts(self.s, len(self.t_of_s))

    @cached_property
    def expected_by_s(self) -> np.ndarray:
        """(strata, arms) rows to be expected, were the treatment independent of the stratum within t."""
        share = self.by_t / self.by_t.sum(1, keepdims=True)
        return np.asarray(self.by_s.sum(1, keepdims=True) * share[self.t_of_s])

    @cached_property
    def frequent(self) -> np.ndarray:
        """(rows,) bool: is the row's outcome so frequent in its t that :data:`MINIMUM_EXPECTED` rows of it are to be
        expected with every arm that occurs there?"""
        levels = int(self.a.max()) + 1
        rows = np.bincount(self.t * levels + self.a)[self.t * levels + self.a]
        rarest = np.where(self.by_t > 0, self.by_t, np.inf).min(1) / self.by_t.sum(1)
        return np.asarray(rows * rarest[self.t] >= MINIMUM_EXPECTED)

    @cached_property
    def pooled_outcome(self) -> np.ndarray:
        """(rows,) codes of (t, outcome) with the outcomes that are not frequent taken together; where even together
        they are too few, they join the most frequent one."""
        levels = int(self.a.max()) + 1
        key = self.t * (levels + 1) + np.where(self.frequent, self.a, levels)
        for t in np.unique(self.t[~self.frequent]):
            inside = self.t == t
            rare = inside & ~self.frequent
            row = self.by_t[t]
            if rare.sum() * row[row > 0].min() / row.sum() < MINIMUM_EXPECTED and (inside & self.frequent).any():
                key[rare] = t * (levels + 1) + np.bincount(self.a[inside & self.frequent]).argmax()
        return np.unique(key, return_inverse=True)[1].astype(np.int64)
