"""The loss that a refitted head minimises (Kirichenko et al. 2023, with an L2 penalty), item by item, and its gradient.

Features are standardised with the mean and standard deviation of the rows. The problem is strictly convex, so that a
point without gradient is the minimum.
"""

from __future__ import annotations

import math


def standardised(x):
    n, dim = len(x), len(x[0])
    mean = [sum(row[d] for row in x) / n for d in range(dim)]
    scale = [math.sqrt(sum((row[d] - mean[d]) ** 2 for row in x) / n) for d in range(dim)]
    return [[(row[d] - mean[d]) / scale[d] for d in range(dim)] for row in x], mean, scale


def loss_and_gradient(coefficient, x, candidates, true, several, weights, penalty):
    """coefficient: per answer, dim slopes and the intercept. candidates, true: per row, lists of answers."""
    loss, gradient = 0.0, [[0.0] * len(row) for row in coefficient]
    for i, row in enumerate(x):
        z = {c: sum(b * v for b, v in zip(coefficient[c], [*row, 1.0], strict=True)) for c in candidates[i]}
        if several[i]:
            for c in candidates[i]:
                p, y = 1 / (1 + math.exp(-z[c])), float(c in true[i])
                loss -= weights[i] * (y * math.log(p) + (1 - y) * math.log(1 - p))
                for d, v in enumerate([*row, 1.0]):
                    gradient[c][d] += weights[i] * (p - y) * v
        else:
            whole = sum(math.exp(value) for value in z.values())
            for c in candidates[i]:
                p, y = math.exp(z[c]) / whole, float(c in true[i])
                if y:
                    loss -= weights[i] * math.log(p)
                for d, v in enumerate([*row, 1.0]):
                    gradient[c][d] += weights[i] * (p - y) * v
    for c, row in enumerate(coefficient):
        for d, b in enumerate(row):
            loss += penalty / 2 * b * b
            gradient[c][d] += penalty * b
    return loss, gradient
