"""Intervals by resampling patients.

Every replicate draws patients with replacement; an item counts as often as its patient was drawn, an item of several
patients (a pair of ECGs, or an item and the donor whose ECG it was given) as the product over its distinct patients
(dyadic, pigeonhole bootstrap). All columns of a table share the draws, so their differences are paired.

With several patients to an item the intervals are conservative: what is particular to one item is counted once for
each of its patients and once for their interaction (at most three times for two patients, when no patient recurs).

Source: Cameron, Gelbach & Miller 2008 (cluster); Owen & Eckles 2012, Davezies et al. 2021 (dyadic).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

REPLICATES = 2000
MINIMUM_CLUSTERS = 20
_BUDGET = 8_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided confidence limits."""

    estimate: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"estimate": self.estimate, "low": self.low, "high": self.high}


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
        self._members, self._drawn = _distinct(np.concatenate([patients, given], axis=1))
        self.dyadic = self._members.shape[1] > 1
        self.level, self.replicates = level, replicates
        self._seed = int(rng.integers(2**63))

    def means(self, values: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Weighted column means.

        Args:
            values: (items, columns) float64; NaN = the item does not count in that column.
            weights: (items,) or (items, columns) of the estimator itself, e.g. for answer balance.

        Returns:
            (columns,) estimates and (replicates, columns) bootstrap estimates.
        """
        x = np.asarray(values, dtype=np.float64).reshape(len(self._members), -1)
        w = np.ones((len(x), 1)) if weights is None else np.asarray(weights, dtype=np.float64).reshape(len(x), -1)
        there = np.isfinite(x)
        summed = np.concatenate([np.where(there, x, 0.0) * w, there * w], axis=1)
        columns = x.shape[1]
        with np.errstate(invalid="ignore"):
            estimate = summed[:, :columns].sum(0) / summed[:, columns:].sum(0)
        if not self.dyadic:
            summed = _by_cluster(summed, self._members[:, 0], self._drawn)
        found = np.empty((self.replicates, columns))
        for start, counts in self._draws():
            weighted = counts if not self.dyadic else self._products(counts)
            totals = weighted @ summed
            with np.errstate(invalid="ignore"):
                found[start : start + len(counts)] = totals[:, :columns] / totals[:, columns:]
        return estimate, found

    def interval(
        self, statistic: Callable[[np.ndarray], np.ndarray], estimate: np.ndarray, drawn: np.ndarray
    ) -> Interval:
        """Percentile interval of a function of column means, (..., columns) -> (...).

        Where resampling cannot vary (all items alike), the limits are those of a proportion of 0 out of the number of
        clusters: 1 - (alpha / 2) ** (1 / clusters) to either side.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            centre = float(statistic(estimate))
            values = np.asarray(statistic(drawn), dtype=np.float64)
        values = values[np.isfinite(values)]
        if not np.isfinite(centre) or not len(values):
            return Interval(float("nan"), float("nan"), float("nan"))
        alpha = 1 - self.level
        low, high = (float(v) for v in np.quantile(values, [alpha / 2, 1 - alpha / 2]))
        if high - low < 1e-12:
            room = 1 - (alpha / 2) ** (1 / self.clusters)
            low, high = centre - room, centre + room
        return Interval(centre, low, high)

    def proportion(self, column: int, estimate: np.ndarray, drawn: np.ndarray) -> Interval:
        """Interval of one column's mean, a share: kept within [0, 1]."""
        found = self.interval(lambda means: means[..., column], estimate, drawn)
        return Interval(found.estimate, max(found.low, 0.0), min(found.high, 1.0))

    def _draws(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first replicate, (some, clusters) how often each patient was drawn); the same at every call."""
        rng = np.random.default_rng(self._seed)
        size = max(1, _BUDGET // max(self._drawn, len(self._members) if self.dyadic else 0))
        for start in range(0, self.replicates, size):
            many = min(size, self.replicates - start)
            picked = rng.integers(0, self._drawn, (many, self._drawn))
            picked += np.arange(many)[:, None] * self._drawn
            counts = np.bincount(picked.ravel(), minlength=many * self._drawn).reshape(many, self._drawn)
            yield start, counts.astype(np.float64)

    def _products(self, counts: np.ndarray) -> np.ndarray:
        padded = np.concatenate([counts, np.ones((len(counts), 1))], axis=1)
        product = padded[:, self._members[:, 0]]
        for column in self._members.T[1:]:
            product = product * padded[:, column]
        return product


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


def _by_cluster(values: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    return np.stack([np.bincount(cluster, column, minlength=clusters) for column in values.T], axis=1)
