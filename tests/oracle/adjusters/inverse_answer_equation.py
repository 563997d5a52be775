"""Do et al. 2024: 1 / P(A | b), or P(A | T) / P(A | b), mean one, row by row."""

import math

from answer_prior_equation import log_prior, loss


def weights(rows, items, smoothing, folds, restore):
    found = []
    for item in items:
        view = loss(log_prior(rows, item, smoothing, folds, True), item)
        topic = loss(log_prior(rows, item, smoothing, folds, False), item)
        found.append(math.exp(view - restore * topic))
    return [w * len(found) / sum(found) for w in found]
