"""Matching from Abadie & Imbens 2006 (section 2.1) and Stuart 2010 (section 3), plain loops."""

from __future__ import annotations

import numpy as np


def nearest(severity, style, covariate, number, ratio: int) -> list[list[tuple[int, int]]]:
    """Per row its matches (row, match): the ``ratio`` nearest rows of each other style at the same severity.
    ``number``s stand in units of their standard deviation, a different ``covariate`` level counts as one unit."""
    n = len(style)
    scale = np.sqrt(np.mean([(x - np.mean(number)) ** 2 for x in number]))
    found = []
    for i in range(n):
        own = []
        for f in sorted(set(style) - {style[i]}):
            donors = [j for j in range(n) if severity[j] == severity[i] and style[j] == f]
            distance = [((number[i] - number[j]) / scale) ** 2 + float(covariate[i] != covariate[j]) for j in donors]
            own += [(i, donors[k]) for k in np.argsort(distance, kind="stable")[:ratio]]
        found.append(own)
    return found


def weights_with_replacement(severity, style, pairs, ratio: int) -> np.ndarray:
    """1 + K(i) / M, K(i) = how often i is a match; divided by the styles at its severity; mean one."""
    n = len(style)
    weights = np.empty(n)
    for i in range(n):
        used = sum(match == i for own in pairs for _, match in own)
        styles = len({style[j] for j in range(n) if severity[j] == severity[i]})
        weights[i] = (1 + used / ratio) / styles
    return weights / weights.mean()
