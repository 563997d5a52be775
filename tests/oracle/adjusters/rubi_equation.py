"""Cadene et al. 2019, item by item: masked scores, and the question-only branch."""

import math

from answer_prior_equation import centred, log_prior, loss


def linear(layer, x):
    weight, bias = layer
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def losses(scores, questions, first, second, third, last, answers, items, question_weight, centre=True):
    """``first`` ... ``last``: (weight, bias) of c1's layers and of c2; ``answers``: names of their outputs. Without
    ``centre`` as the paper prints it."""
    found = []
    for z, q, item in zip(scores, questions, items, strict=True):
        hidden = [max(v, 0.0) for v in linear(first, q)]
        hidden = [max(v, 0.0) for v in linear(second, hidden)]
        mask = linear(third, hidden)
        answer = linear(last, mask)
        masked, only = [], []
        for s, c in zip(centred(z, item) if centre else z, item["candidates"], strict=True):
            masked.append(s / (1 + math.exp(-mask[answers.index(c)])))
            only.append(answer[answers.index(c)])
        found.append(loss(masked, item) + question_weight * loss(only, item))
    return found


def losses_of_view(scores, rows, items, smoothing, folds, restore, centre=True):
    """The mask is P(A | view) / (P(A | view) + P(A | topic)), of odds in a set; or P(A | view)."""
    found = []
    for z, item in zip(scores, items, strict=True):
        view = log_prior(rows, item, smoothing, folds, True)
        topic = log_prior(rows, item, smoothing, folds, False)
        masked = []
        for s, v, t in zip(centred(z, item) if centre else z, view, topic, strict=True):
            v, t = math.exp(v), math.exp(t)
            share = v if item["kind"] == "one" else v / (1 + v)
            masked.append(s * (v / (v + t) if restore else share))
        found.append(loss(masked, item))
    return found
