"""The loss of modality dropout with abstention, item by item."""

from __future__ import annotations

import math


def loss(with_ecg: list[list[float]], without_ecg: list[list[float]], right: list[int], again: list[int]) -> float:
    """Mean loss over the rows with their ECG and the rows ``again`` without.

    Args:
        with_ecg, without_ecg: per item, scores of its candidates, the abstention last.
        right: per item, position of its true answer.
    """
    losses = []
    for scores, true in zip(with_ecg, right, strict=True):
        losses.append(math.log(sum(math.exp(z) for z in scores)) - scores[true])
    for i in again:
        scores = without_ecg[i]
        losses.append(math.log(sum(math.exp(z) for z in scores)) - scores[-1])
    return sum(losses) / len(losses)
