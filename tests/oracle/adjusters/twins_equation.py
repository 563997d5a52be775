"""The loss of training on twins, pair by pair."""

from __future__ import annotations

import math


def loss(own: list[list[float]], twin: list[list[float]], right: list[int], right_of_twin: list[int]) -> float:
    """Mean over pairs of the mean of both losses; scores of each one's candidates, and the true positions."""
    total = 0.0
    for z, y, true, other in zip(own, twin, right, right_of_twin, strict=True):
        first = math.log(sum(math.exp(v) for v in z)) - z[true]
        second = math.log(sum(math.exp(v) for v in y)) - y[other]
        total += (first + second) / 2
    return total / len(own)
