"""Intervals by resampling patients.

Every replicate draws patients with replacement; an item counts as often as its patient was drawn, an item of several
patients (a pair of ECGs, or an item and the donor whose ECG it was given) as the product over its distinct patients
(dyadic, pigeonhole bootstrap). All columns of a table share the draws, so their differences are paired.

With several patients to an item the intervals are conservative: what is particular to one item is counted once for
each of its patients and once for their interaction (at most three times for two patients, when no patient recurs).

Source: Cameron, Gelbach & Miller 2008 (cluster); Owen & Eckles 2012, Davezies et al. 2021 (dyadic).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from causalecg.audits.statistics.means import Means

REPLICATES = 2000
MINIMUM_CLUSTERS = 20
#: More patients than these are resampled in so many random groups of equal size, which changes no interval's width by
#: 1 %.
LARGEST = 25_000
_BUDGET = 16_000_000
_TOGETHER, _BLOCK = 16, 4096


class ClusterBootstrap:
    """Bootstrap means of columns that share items.

    Args:
        patients: (items, some) int codes of the items' own patients; a patient may be named twice.
        donors: (items, some) int codes, of the same patients, of the donors; negative = no donor, or not known.
        rng: draws the patients.
        replicates: number of draws.
        level: confidence level in (0, 1).

    Attributes:
        own, donors: how many distinct patients there are on either side; no donors = 0.
        clusters: the smaller of the two, where there are donors: so many patients carry the interval.
        dyadic: has an item several patients?
        members: (items, most distinct patients of an item) int codes, filled up with a code beyond all others.
    """

    def __init__(
        self,
        patients: np.ndarray,
        *,
        donors: np.ndarray | None = None,
        rng: np.random.Generator,
        replicates: int = REPLICATES,
        level: float = 0.95,
    ) -> None:
        given = np.zeros((len(patients), 0), dtype=np.int64) if donors is None else donors
        self.own, self.donors = len(np.unique(patients)), len(np.unique(given[given >= 0]))
        self.clusters = min(self.own, self.donors) if self.donors else self.own
        self._seed = int(rng.integers(2**63))
        members, drawn = _distinct(np.concatenate([patients, given], axis=1))
        self.dyadic = members.shape[1] > 1
        self.members = members
        if drawn > LARGEST:
            group = np.random.default_rng([self._seed, 1]).permutation(drawn) % LARGEST
            members, drawn = _distinct(np.append(group, -1)[members])
        self._units, self._drawn = members, drawn
        self.level, self.replicates = level, replicates

    def means(self, values: np.ndarray, weights: np.ndarray | None = None) -> Means:
        """Weighted column means.

        Args:
            values: (items, columns) float64; NaN = the item does not count in that column.
            weights: (items,) or (items, columns) of the estimator itself, e.g. for answer balance.
        """
        x = np.asarray(values, dtype=np.float64).reshape(len(self._units), -1)
        w = np.ones((len(x), 1)) if weights is None else np.asarray(weights, dtype=np.float64).reshape(len(x), -1)
        there = np.isfinite(x)
        summed = np.concatenate([np.where(there, x, 0.0) * w, there * w], axis=1)
        whole = summed.sum(0, keepdims=True)
        without = whole - _by_member(summed, self._units, self._drawn)
        if not self.dyadic:
            summed = whole - without
        drawn = np.empty((self.replicates, 2 * x.shape[1]))
        for start, counts in self._draws():
            drawn[start : start + len(counts)] = self._weighed(counts, summed) if self.dyadic else counts @ summed
        return Means(_ratio(whole)[0], _ratio(drawn), _ratio(without), self.clusters, self.level)

    def _draws(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first replicate, (some, clusters) how often each patient was drawn); the same at every call."""
        rng = np.random.default_rng(self._seed)
        size = max(1, min(_BUDGET // self._drawn, _TOGETHER if self.dyadic else self.replicates))
        for start in range(0, self.replicates, size):
            many = min(size, self.replicates - start)
            picked = rng.integers(0, self._drawn, (many, self._drawn))
            picked += np.arange(many)[:, None] * self._drawn
            counts = np.bincount(picked.ravel(), minlength=many * self._drawn).reshape(many, self._drawn)
            yield start, counts.astype(np.float64)

    def _weighed(self, counts: np.ndarray, summed: np.ndarray) -> np.ndarray:
        """(some, columns) sums over items, each as often as the product over its distinct patients."""
        # Whole rows of a block of items at a time: what is gathered stays in the processor's cache.
        table = np.ones((counts.shape[1] + 1, len(counts)))
        table[:-1] = counts.T
        found = np.zeros((len(counts), summed.shape[1]))
        for start in range(0, len(summed), _BLOCK):
            block = self._units[start : start + _BLOCK]
            product = table[block[:, 0]]
            for column in block.T[1:]:
                product *= table[column]
            found += product.T @ summed[start : start + _BLOCK]
        return found


def _ratio(totals: np.ndarray) -> np.ndarray:
    half = totals.shape[1] // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = totals[:, :half] / totals[:, half:]
    return found


def _distinct(codes: np.ndarray) -> tuple[np.ndarray, int]:
    """(items, most distinct patients of an item) int codes from 0, and how many codes there are.

    Rows with fewer are filled up with the number of codes; negative codes are left out.
    """
    known, inverse = np.unique(codes, return_inverse=True)
    absent = int((known < 0).sum())
    count = len(known) - absent
    members = inverse.reshape(codes.shape) - absent
    members = np.sort(np.where(members < 0, count, members), axis=1)
    again = np.zeros(members.shape, dtype=bool)
    again[:, 1:] = members[:, 1:] == members[:, :-1]
    members = np.sort(np.where(again, count, members), axis=1)
    return members[:, : max(1, int((members < count).sum(1).max(initial=1)))], count


def _by_member(values: np.ndarray, members: np.ndarray, clusters: int) -> np.ndarray:
    """(clusters, columns) sums over the items in which each patient takes part."""
    found = np.zeros((clusters + 1, values.shape[1]))
    for member in members.T:
        found += np.stack([np.bincount(member, column, minlength=clusters + 1) for column in values.T], axis=1)
    return found[:-1]
