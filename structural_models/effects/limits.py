"""From a variance, or from draws, to an interval and a p-value."""

from __future__ import annotations

from math import erfc, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

_NAN = float("nan")
#: Of variances; those of shares and small numbers are far larger.
_ROUNDING = 1e-24


class Limits(NamedTuple):
    """An interval, and the two-sided p-value of "it is zero"; NaN where the estimate or its spread is not known."""

    low: float
    high: float
    p: float


def normal_limits(estimate: float, variance: float, level: float) -> Limits:
    """Of a normal estimate. A variance of zero (up to rounding) is no knowledge: there are no limits then."""
    if not (np.isfinite(estimate) and variance > _ROUNDING):
        return Limits(_NAN, _NAN, _NAN)
    error = sqrt(variance)
    reach = NormalDist().inv_cdf(0.5 + level / 2) * error
    return Limits(float(estimate) - reach, float(estimate) + reach, erfc(abs(estimate) / error / sqrt(2)))


def drawn_limits(draws: np.ndarray, level: float) -> Limits:
    """Percentiles of (draws,), and twice the share of them on the rarer side of zero."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Limits(_NAN, _NAN, _NAN)
    low, high = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2])
    side = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return Limits(float(low), float(high), min(1.0, 2 * (1 + side) / (1 + len(known))))
