"""McNemar's test of two paired proportions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class McNemar:
    """``first_only``, ``second_only``: discordant pairs. ``mid_p`` is the default; ``exact`` is conservative."""

    first_only: int
    second_only: int
    mid_p: float
    exact: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Two-sided test that (items,) bool ``first`` and ``second`` are true equally often.

    Source: McNemar 1947; mid-p form: Fagerland, Lydersen & Laake 2013.
    """
    from scipy.stats import binom

    b, c = int((first & ~second).sum()), int((~first & second).sum())
    n, k = b + c, min(b, c)
    if n == 0:
        return McNemar(0, 0, 1.0, 1.0)
    exact = min(1.0, 2 * float(binom.cdf(k, n, 0.5)))
    # Added up: among the smallest numbers there are, the exact value less the middle's can come out negative.
    mid_p = 2 * float(binom.cdf(k - 1, n, 0.5)) + float(binom.pmf(k, n, 0.5))
    return McNemar(b, c, 1.0 if b == c else min(1.0, mid_p), exact)
