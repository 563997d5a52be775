"""The interval of a mean that is to hold for other patients and other templates."""

from __future__ import annotations

import numpy as np

from causalecg.audits.statistics.means import UNKNOWN, Interval

#: Fewer clusters of either kind cannot be generalised from.
MINIMUM = 20


def two_way_interval(values: np.ndarray, first: np.ndarray, second: np.ndarray, *, level: float = 0.95) -> Interval:
    """Interval of a mean over items that share clusters of two kinds.

    V = V(first) + V(second) - V(both), each with the correction G / (G - 1) of its number of clusters; where that is
    not positive, the larger of the first two. The quantile is t's with (the smaller number of clusters) - 1 degrees of
    freedom.

    Args:
        values: (items,) float64; NaN does not count.
        first, second: (items,) int codes, e.g. of patients and of templates.

    Returns NaN where either kind has fewer than :data:`MINIMUM` clusters.

    Source: Cameron, Gelbach & Miller 2011, eq. 2.13 and section 2.3.
    """
    from scipy.stats import t

    there = np.isfinite(values)
    x = np.asarray(values[there], dtype=np.float64)
    kinds = [np.unique(codes[there], return_inverse=True)[1] for codes in (first, second)]
    sizes = [int(codes.max(initial=-1)) + 1 for codes in kinds]
    if min(sizes) < MINIMUM:
        return UNKNOWN
    mean = float(x.mean())
    both = np.unique(kinds[0].astype(np.int64) * sizes[1] + kinds[1], return_inverse=True)[1]
    one, two, shared = (_variance(x - mean, codes) for codes in (*kinds, both))
    variance = one + two - shared
    if variance <= 0:
        variance = max(one, two)
    reach = float(t.ppf(1 - (1 - level) / 2, min(sizes) - 1) * np.sqrt(variance))
    return Interval(mean, mean - reach, mean + reach)


def _variance(residual: np.ndarray, codes: np.ndarray) -> float:
    sums = np.bincount(codes, residual)
    return float(len(sums) / (len(sums) - 1) * (sums**2).sum() / len(residual) ** 2)
