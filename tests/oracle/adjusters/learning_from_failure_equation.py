"""Learning from failure (Nam et al. 2020, algorithm 1), with smoothing and scaling per class as in the released code; a
row's weight is that of its visits before."""

from __future__ import annotations

import math


def probability(scores: list[float], true: int, kind: str) -> float:
    """Of candidate ``true`` ("one"), or of what is so about a candidate whose signed log-odds are given ("set")."""
    if kind == "one":
        return math.exp(scores[true]) / sum(math.exp(score) for score in scores)
    return 1 / (1 + math.exp(-scores[true]))


def losses_of(scores: list[float], answer: list[bool], kind: str, q: float) -> tuple[float, float]:
    """Cross-entropy and generalised cross-entropy of one row."""
    if kind == "one":
        p = [probability(scores, answer.index(True), kind)]
    else:
        signed = [score if true else -score for score, true in zip(scores, answer, strict=True)]
        p = [probability(signed, i, kind) for i in range(len(signed))]
    plain = trusted = 0.0
    for value in p:
        plain -= math.log(value)
        trusted += (1 - value**q) / q
    return plain, trusted


def train(
    steps: list, answers: list, classes: list[int], kind: str, q: float, smoothing: float
) -> list[tuple[float, float]]:
    """The two parts' losses of each step.

    Args:
        steps: per step (rows, biased scores, debiased scores), the scores per row of the step.
        answers: per training row, which candidates are true.
        classes: per training row.
    """
    smooth_b, smooth_d = [0.0] * len(answers), [0.0] * len(answers)
    found = []
    for rows, biased, debiased in steps:
        total_b = total_d = 0.0
        new = []
        for row, b, d in zip(rows, biased, debiased, strict=True):
            plain_b, trusted = losses_of(b, answers[row], kind, q)
            plain_d, _ = losses_of(d, answers[row], kind, q)
            same = [i for i in range(len(answers)) if classes[i] == classes[row]]
            largest_b, largest_d = max(smooth_b[i] for i in same), max(smooth_d[i] for i in same)
            weight = 0.5
            if smooth_b[row] + smooth_d[row] > 0:
                scaled_b, scaled_d = smooth_b[row] / largest_b, smooth_d[row] / largest_d
                weight = scaled_b / (scaled_b + scaled_d)
            total_b += trusted / len(rows)
            total_d += weight * plain_d / len(rows)
            new.append((row, plain_b, plain_d))
        for row, plain_b, plain_d in new:
            smooth_b[row] = smoothing * smooth_b[row] + (1 - smoothing) * plain_b
            smooth_d[row] = smoothing * smooth_d[row] + (1 - smoothing) * plain_d
        found.append((total_b, total_d))
    return found
