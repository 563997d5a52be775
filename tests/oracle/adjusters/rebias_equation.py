"""The unbiased HSIC as a mean over quadruples (Song et al. 2012), and ReBias's losses (Bahng et al. 2020)."""

from __future__ import annotations

import math
from itertools import permutations


def hsic(k: list[list[float]], l: list[list[float]]) -> float:  # noqa: E741
    """Mean over ordered quadruples of distinct rows."""
    total, count = 0.0, 0
    for i, j, q, r in permutations(range(len(k)), 4):
        total += k[i][j] * l[i][j] + k[i][j] * l[q][r] - 2 * k[i][j] * l[i][q]
        count += 1
    return total / count


def kernel(features: list[list[float]]) -> list[list[float]]:
    """Gaussian; the bandwidth squared is the (lower) median of the squared distances that are not zero."""
    n = len(features)
    distance = [[sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for y in features] for x in features]
    positive = sorted(distance[i][j] for i in range(n) for j in range(n) if distance[i][j] > 1e-12)
    bandwidth = positive[(len(positive) - 1) // 2] if positive else 1.0
    return [[math.exp(-distance[i][j] / (2 * bandwidth)) for j in range(n)] for i in range(n)]


def dependence(f: list, g: list, classes: list, measure: str) -> float:
    total, counted = 0.0, 0
    for c in set(classes):
        members = [i for i in range(len(classes)) if classes[i] == c]
        if len(members) < 4:
            continue
        k, l = kernel([f[i] for i in members]), kernel([g[i] for i in members])  # noqa: E741
        value = hsic(k, l)
        if measure == "cka":
            own = max(hsic(k, k), 0.0) * max(hsic(l, l), 0.0)
            value = value / math.sqrt(own) if own > 0 else 0.0
        total += len(members) * value
        counted += len(members)
    return total / counted if counted else 0.0


def centred(scores: list[list[float]], ids: list[list[int]], answers: int) -> list[list[float]]:
    """Scores of kind "one" without padding, each row's less their mean, at the places of their answers."""
    found = []
    for row, places in zip(scores, ids, strict=True):
        mean = sum(row) / len(row)
        values = [0.0] * answers
        for score, place in zip(row, places, strict=True):
            values[place] = score - mean
        found.append(values)
    return found


def placed(scores: list[list[float]], ids: list[list[int]], answers: int) -> list[list[float]]:
    """Log-odds of kind "set" at the places of their answers."""
    found = []
    for row, places in zip(scores, ids, strict=True):
        values = [0.0] * answers
        for score, place in zip(row, places, strict=True):
            values[place] = score
        found.append(values)
    return found


def one_hot(values: list) -> list[list[float]]:
    every = sorted(set(values))
    return [[float(value == one) for one in every] for value in values]


def set_loss(scores: list[list[float]], true: list[list[bool]]) -> float:
    total = 0.0
    for row, yes in zip(scores, true, strict=True):
        for score, so in zip(row, yes, strict=True):
            p = 1 / (1 + math.exp(-score))
            total -= math.log(p if so else 1 - p)
    return total / len(scores)


def loss(scores: list[list[float]], true: list[int]) -> float:
    total = 0.0
    for row, at in zip(scores, true, strict=True):
        total -= math.log(math.exp(row[at]) / sum(math.exp(score) for score in row))
    return total / len(scores)
