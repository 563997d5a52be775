"""Clark et al. 2019, learned mixin with entropy penalty, item by item."""

import math

from answer_prior_equation import log_prior, loss


def entropy(scores, item):
    if item["kind"] == "one":
        total = sum(math.exp(s) for s in scores)
        return -sum(math.exp(s) / total * math.log(math.exp(s) / total) for s in scores)
    shares = [1 / (1 + math.exp(-s)) for s in scores]
    return -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in shares)


def losses(scores, features, weight, shift, rows, items, smoothing, folds, restore, penalty):
    found = []
    for z, h, item in zip(scores, features, items, strict=True):
        g = math.log(1 + math.exp(sum(a * b for a, b in zip(h, weight, strict=True)) + shift))
        view = [g * b for b in log_prior(rows, item, smoothing, folds, True)]
        topic = log_prior(rows, item, smoothing, folds, False)
        fused = [s + b - t * restore for s, b, t in zip(z, view, topic, strict=True)]
        found.append(loss(fused, item) + penalty * entropy(view, item))
    return found
