"""A permutation test of paired differences, patients kept together."""

from __future__ import annotations

import numpy as np

FLIPS = 9_999
#: More patients than these are flipped in so many random groups.
_LARGEST = 4000
_BLOCK = 4_000_000


def sign_flip(differences: np.ndarray, clusters: np.ndarray, *, rng: np.random.Generator, flips: int = FLIPS) -> float:
    """Two-sided p-value of "the differences of a patient are as often positive as negative, and as large".

    The signs of all of a patient's differences are turned together, all 2^G ways where there are no more than
    ``flips`` of them, else ``flips`` random ones, of which the observed one counts as one more. Exact: under the null
    P(p <= a) <= a, for any number of patients.

    Args:
        differences: (items,) float64; NaN does not count.
        clusters: (items,) int codes of the patients.

    Source: Fisher 1935; Winkler et al. 2015 for whole blocks; Phipson & Smyth 2010 for the count of one more.
    """
    there = np.isfinite(differences)
    code = np.unique(clusters[there], return_inverse=True)[1]
    sums = np.bincount(code, differences[there])
    sums = sums[np.abs(sums) > 1e-12]
    if not len(sums):
        return 1.0
    if len(sums) > _LARGEST:
        sums = np.bincount(rng.permutation(len(sums)) % _LARGEST, sums)
    observed = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()
    if 2 ** len(sums) <= flips + 1:
        every = 1 - 2 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float((np.abs(every @ sums) >= observed).mean())
    beyond = 0
    block = max(1, _BLOCK // len(sums))
    for start in range(0, flips, block):
        many = min(block, flips - start)
        signs = rng.integers(0, 2, (many, len(sums)), dtype=np.int8)
        beyond += int((np.abs(2.0 * (signs @ sums) - sums.sum()) >= observed).sum())
    return (1 + beyond) / (1 + flips)
