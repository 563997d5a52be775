"""From a variance, or from draws, to an interval and a p-value."""

from __future__ import annotations

from math import erfc, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

_NAN = float("nan")


class Limits(NamedTuple):
    """An interval, and the two-sided p-value of "it is zero"; NaN where the estimate or its spread is not known."""

    low: float
    high: float
    p: float


def normal_limits(estimate: float, variance: float, level: float) -> Limits:
    """Of a normal estimate. A variance of zero (or below, by rounding) gives no p-value."""
    error = float(np.sqrt(max(variance, 0.0))) if np.isfinite(estimate) else _NAN
    reach = NormalDist().inv_cdf(0.5 + level / 2) * error
    p = erfc(abs(estimate) / error / sqrt(2)) if error > 0 else _NAN
    return Limits(float(estimate) - reach, float(estimate) + reach, p)


def drawn_limits(draws: np.ndarray, level: float) -> Limits:
    """Percentiles of (draws,), and twice the share of them on the rarer side of zero."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Limits(_NAN, _NAN, _NAN)
    low, high = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2])
    side = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return Limits(float(low), float(high), min(1.0, 2 * (1 + side) / (1 + len(known))))
