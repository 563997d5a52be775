"""Bootstrapped column means, and the interval of any function of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
#: Fewer clusters than this on either side of a share, and the limits are at least as wide as the exact ones.
_FEW = 10


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided confidence limits."""

    estimate: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"estimate": self.estimate, "low": self.low, "high": self.high}


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Means:
    """Means of columns that share items.

    Attributes:
        estimate: (columns,).
        drawn: (replicates, columns), of the resampled patients.
        left_out: (clusters, columns), with one patient's items left out.
        clusters: how many patients carry the interval.
        level: confidence level in (0, 1).
    """

    estimate: np.ndarray
    drawn: np.ndarray
    left_out: np.ndarray
    clusters: int
    level: float = 0.95

    def interval(self, statistic: Statistic, *, level: float | None = None) -> Interval:
        """Bias-corrected and accelerated interval of a function of column means, (..., columns) -> (...).

        The normal quantile is replaced by sqrt(G / (G - 1)) times the t quantile with G - 1 degrees of freedom, G =
        clusters, without which few clusters give intervals that are too narrow. Where resampling cannot vary (all
        items alike), the limits are those of a proportion of 0 out of G: 1 - (alpha / 2) ** (1 / G) to either side.

        Source: Efron 1987, eqs. 2.3 and 6.6 (BCa); Hesterberg 2015, section 5.3 (expanded quantiles).
        """
        from scipy.stats import norm, t

        centre, values = self._evaluated(statistic)
        if not np.isfinite(centre) or not len(values):
            return UNKNOWN
        alpha = 1 - (self.level if level is None else level)
        if np.ptp(values) < 1e-12:
            room = 1 - (alpha / 2) ** (1 / self.clusters)
            return Interval(centre, centre - room, centre + room)
        shift, acceleration = self._shift(values, centre), self._acceleration(statistic)
        reach = np.array([-1.0, 1.0]) * abs(t.ppf(alpha / 2, max(self.clusters - 1, 1)))
        reach = shift + reach * np.sqrt(self.clusters / max(self.clusters - 1, 1))
        with np.errstate(divide="ignore", over="ignore"):
            at = norm.cdf(shift + reach / np.maximum(1 - acceleration * reach, 1e-3))
        low, high = (float(v) for v in np.quantile(values, at))
        return Interval(centre, min(low, centre), max(high, centre))

    def share(self, column: int) -> Interval:
        """Interval of one column's mean, a share: within [0, 1], and where few clusters lie on one side of it, no
        narrower than Clopper & Pearson's (1934) of so many independent items as there are clusters."""
        found = self.interval(lambda means: means[..., column])
        if not np.isfinite(found.estimate):
            return found
        low, high = max(found.low, 0.0), min(found.high, 1.0)
        ones = found.estimate * self.clusters
        if min(ones, self.clusters - ones) < _FEW:
            exact = clopper_pearson(ones, self.clusters, self.level)
            low, high = min(low, exact[0]), max(high, exact[1])
        return Interval(found.estimate, low, high)

    def standard_error(self, statistic: Statistic) -> float:
        """Of the function, from its spread over the replicates."""
        _, values = self._evaluated(statistic)
        return float(values.std(ddof=1)) if len(values) > 1 else float("nan")

    def _evaluated(self, statistic: Statistic) -> tuple[float, np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            centre = float(statistic(self.estimate))
            values = np.asarray(statistic(self.drawn), dtype=np.float64)
        return centre, values[np.isfinite(values)]

    def _shift(self, values: np.ndarray, centre: float) -> float:
        from scipy.stats import norm

        room = 1e-12 * max(1.0, abs(centre))
        less = (values < centre - room).sum() + 0.5 * (np.abs(values - centre) <= room).sum()
        return float(norm.ppf(np.clip(less / len(values), 1 / (len(values) + 1), 1 - 1 / (len(values) + 1))))

    def _acceleration(self, statistic: Statistic) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = np.asarray(statistic(self.left_out), dtype=np.float64)
        kept = kept[np.isfinite(kept)]
        if len(kept) < 3:
            return 0.0
        gap = kept.mean() - kept
        spread = float((gap**2).sum())
        return float((gap**3).sum() / (6 * spread**1.5)) if spread > 1e-24 else 0.0


def clopper_pearson(ones: float, number: float, level: float = 0.95) -> tuple[float, float]:
    """Exact limits of a proportion; ``ones`` need not be whole. Source: Clopper & Pearson 1934."""
    from scipy.stats import beta

    alpha = 1 - level
    low = 0.0 if ones <= 0 else float(beta.ppf(alpha / 2, ones, number - ones + 1))
    high = 1.0 if ones >= number else float(beta.ppf(1 - alpha / 2, ones + 1, number - ones))
    return low, high


def percentile(centre: float, values: np.ndarray, clusters: int, level: float = 0.95) -> Interval:
    """Interval between quantiles of draws that are from a confidence distribution already; see :class:`Means` for draws
    that do not vary."""
    values = values[np.isfinite(values)]
    if not np.isfinite(centre) or not len(values):
        return UNKNOWN
    alpha = 1 - level
    low, high = (float(v) for v in np.quantile(values, [alpha / 2, 1 - alpha / 2]))
    if high - low < 1e-12:
        room = 1 - (alpha / 2) ** (1 / clusters)
        low, high = centre - room, centre + room
    return Interval(centre, low, high)
