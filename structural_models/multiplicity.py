"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from structural_models.errors import TableError


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down p-values, (tests,) in the order given: the chance of any false rejection stays below the level.

    NaN stands for a test that could not be made: it stays NaN and counts nothing. Raises TableError for a p outside
    [0, 1].

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    p = _checked(p_values)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out


def benjamini_hochberg(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's step-up p-values, (tests,): the expected share of false ones among the rejected stays
    below the level. NaN and errors as for :func:`holm`.

    Source: Benjamini & Hochberg 1995, "Controlling the false discovery rate".
    """
    p = _checked(p_values)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(-p[made], kind="stable")]
    factors = len(order) / np.arange(len(order), 0, -1)
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(1.0, np.minimum.accumulate(factors * p[order]))
    return out


def _checked(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    p = np.asarray(p_values, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise TableError(f"p-values lie between 0 and 1; got {p.min()} to {p.max()}")
    return p
