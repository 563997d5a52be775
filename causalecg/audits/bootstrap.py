"""Intervals by resampling patients.

Every replicate draws patients with replacement; an item counts as often as its patient was drawn, an item of two
patients as the product of the two (dyadic, pigeonhole bootstrap). All columns of a table share the draws, so their
differences are paired.

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
        patients: (items, 2) int codes; both the same for a single patient.
        rng: draws the patients.
        replicates: number of draws.
        level: confidence level in (0, 1).
    """

    def __init__(
        self, patients: np.ndarray, *, rng: np.random.Generator, replicates: int = REPLICATES, level: float = 0.95
    ) -> None:
        codes = np.unique(patients, return_inverse=True)[1].reshape(patients.shape)
        self.first, self.second = codes[:, 0], codes[:, 1]
        self.clusters = int(codes.max()) + 1
        self.dyadic = bool((self.first != self.second).any())
        self.level, self.replicates = level, replicates
        self._seed = int(rng.integers(2**63))

    def means(self, values: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Weighted column means.

        Args:
            values: (items, columns) float64; NaN = the item does not count in that column.
            weights: (items,) of the estimator itself, e.g. for answer balance.

        Returns:
            (columns,) estimates and (replicates, columns) bootstrap estimates.
        """
        x = np.asarray(values, dtype=np.float64).reshape(len(self.first), -1)
        w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
        there = np.isfinite(x)
        summed = np.concatenate([np.where(there, x, 0.0) * w[:, None], there * w[:, None]], axis=1)
        columns = x.shape[1]
        with np.errstate(invalid="ignore"):
            estimate = summed[:, :columns].sum(0) / summed[:, columns:].sum(0)
        if not self.dyadic:
            summed = _by_cluster(summed, self.first, self.clusters)
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
        size = max(1, _BUDGET // max(self.clusters, len(self.first) if self.dyadic else 0))
        for start in range(0, self.replicates, size):
            many = min(size, self.replicates - start)
            picked = rng.integers(0, self.clusters, (many, self.clusters))
            picked += np.arange(many)[:, None] * self.clusters
            counts = np.bincount(picked.ravel(), minlength=many * self.clusters).reshape(many, self.clusters)
            yield start, counts.astype(np.float64)

    def _products(self, counts: np.ndarray) -> np.ndarray:
        single = self.first == self.second
        return np.where(single, counts[:, self.first], counts[:, self.first] * counts[:, self.second])


def _by_cluster(values: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    return np.stack([np.bincount(cluster, column, minlength=clusters) for column in values.T], axis=1)
