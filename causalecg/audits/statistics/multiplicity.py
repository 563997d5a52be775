"""p-values of several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values that keep the chance of any false rejection; NaN stays NaN. Source: Holm 1979."""
    p = np.asarray(p_values, dtype=np.float64)
    found = np.full(len(p), np.nan)
    there = np.flatnonzero(np.isfinite(p))
    order = there[np.argsort(p[there], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return found


def benjamini_hochberg(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values that keep the expected share of false ones among the rejected; NaN stays NaN.

    Source: Benjamini & Hochberg 1995.
    """
    p = np.asarray(p_values, dtype=np.float64)
    found = np.full(len(p), np.nan)
    there = np.flatnonzero(np.isfinite(p))
    order = there[np.argsort(-p[there], kind="stable")]
    factors = len(order) / np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.minimum.accumulate(factors * p[order]), 1.0)
    return found
