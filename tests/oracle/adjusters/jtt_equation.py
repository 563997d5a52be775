"""Just train twice (Liu et al. 2021, algorithm 1): the training set with its errors repeated, row by row."""

from __future__ import annotations

import math


def is_error(scores: list[float], answer: list[bool], kind: str) -> bool:
    """Candidates without padding."""
    if kind == "one":
        best = 0
        for i in range(len(scores)):
            if scores[i] > scores[best]:
                best = i
        return not answer[best]
    return any((score > 0) != true for score, true in zip(scores, answer, strict=True))


def loss(scores: list[float], answer: list[bool], kind: str) -> float:
    total = 0.0
    if kind == "one":
        normaliser = sum(math.exp(score) for score in scores)
        return -math.log(sum(math.exp(score) for score, true in zip(scores, answer, strict=True) if true) / normaliser)
    for score, true in zip(scores, answer, strict=True):
        p = 1 / (1 + math.exp(-score))
        total -= math.log(p if true else 1 - p)
    return total


def mean_over_repeated(first: list, second: list, answers: list, kind: str, times: int) -> float:
    """Mean loss of the second model over the set in which each error of the first occurs ``times`` times."""
    losses = []
    for one, other, answer in zip(first, second, answers, strict=True):
        for _ in range(times if is_error(one, answer, kind) else 1):
            losses.append(loss(other, answer, kind))
    return sum(losses) / len(losses)
