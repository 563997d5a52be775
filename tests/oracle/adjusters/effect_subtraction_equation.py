"""Niu et al. 2021 (CF-VQA) and Leng et al. 2024 (VCD), item by item. A set's candidate is yes against no."""

import math

from answer_prior_equation import centred, log_prior, loss


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def fuse(fusion, q, k):
    if fusion == "sum":
        return math.log(sigmoid(q + k))
    if fusion == "hm":
        s = sigmoid(q) * sigmoid(k)
        return math.log(s / (1 + s))
    return k * sigmoid(q)


def fused(fusion, question, other, item, constant=None):
    """Of every candidate; ``constant`` stands for ``other``, for yes and for no."""
    found = []
    for q, k in zip(question, other, strict=True):
        if item["kind"] == "one":
            found.append(fuse(fusion, q, k if constant is None else constant))
        else:
            yes = fuse(fusion, q / 2, k / 2 if constant is None else constant)
            no = fuse(fusion, -q / 2, -k / 2 if constant is None else constant)
            found.append(yes - no)
    return found


def log_p(scores, item):
    if item["kind"] == "set":
        return list(scores)
    total = math.log(sum(math.exp(s) for s in scores))
    return [s - total for s in scores]


def training(fusion, question, both, items):
    found = []
    for q, k, item in zip(question, both, items, strict=True):
        q, k = centred(q, item), centred(k, item)
        found.append(loss(fused(fusion, q, k, item), item) + loss(q, item))
    return found


def divergence(fusion, question, both, items, constant):
    """Mean KL(p(Z(q, k)) || p(Z(q, c)))."""
    total = 0.0
    for q, k, item in zip(question, both, items, strict=True):
        q, k = centred(q, item), centred(k, item)
        z, direct = fused(fusion, q, k, item), fused(fusion, q, k, item, constant)
        if item["kind"] == "one":
            for a, b in zip(log_p(z, item), log_p(direct, item), strict=True):
                total += math.exp(a) * (a - b)
        else:
            for a, b in zip(z, direct, strict=True):
                p, r = sigmoid(a), sigmoid(b)
                total += p * math.log(p / r) + (1 - p) * math.log((1 - p) / (1 - r))
    return total / len(items)


def indirect(fusion, question, both, items, constant, weight):
    """Z(q, k) - weight Z(q, c)."""
    found = []
    for q, k, item in zip(question, both, items, strict=True):
        q, k = centred(q, item), centred(k, item)
        z, direct = (log_p(fused(fusion, q, k, item, c), item) for c in (None, constant))
        found.append([a - weight * b for a, b in zip(z, direct, strict=True)])
    return found


def contrasted(intact, altered, items, weight):
    return [
        [a - weight * b for a, b in zip(log_p(x, item), log_p(y, item), strict=True)]
        for x, y, item in zip(intact, altered, items, strict=True)
    ]


def less_the_view(intact, rows, items, smoothing, restore, weight):
    """log P(A | E, Q) - weight (log P(A | view, T) - log P(A | T)), the latter where it is to stay; counts of all rows."""
    found = []
    for x, item in zip(intact, items, strict=True):
        view = log_prior(rows, item, smoothing, 1, True)
        topic = log_prior(rows, item, smoothing, 1, False)
        scores = log_p(x, item)
        found.append([a - weight * (v - restore * t) for a, v, t in zip(scores, view, topic, strict=True)])
    return found


def noised(ecg, noise, share):
    """sqrt(1 - r) E + sqrt(r) rms(E) noise: (leads, samples) lists."""
    values = [v for lead in ecg for v in lead]
    size = math.sqrt(sum(v * v for v in values) / len(values))
    return [
        [math.sqrt(1 - share) * v + math.sqrt(share) * size * e for v, e in zip(lead, other, strict=True)]
        for lead, other in zip(ecg, noise, strict=True)
    ]
