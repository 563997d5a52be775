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
    p = np.asarray(p_values, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise TableError(f"p-values lie between 0 and 1; got {p.min()} to {p.max()}")
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out
