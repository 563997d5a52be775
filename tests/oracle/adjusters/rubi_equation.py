"""Cadene et al. 2019, item by item: masked scores, and the question-only branch."""

import math

from answer_prior_equation import centred, loss


def linear(layer, x):
    weight, bias = layer
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def losses(scores, questions, first, second, third, last, answers, items, question_weight):
    """``first`` ... ``last``: (weight, bias) of c1's layers and of c2; ``answers``: names of their outputs."""
    found = []
    for z, q, item in zip(scores, questions, items, strict=True):
        hidden = [max(v, 0.0) for v in linear(first, q)]
        hidden = [max(v, 0.0) for v in linear(second, hidden)]
        mask = linear(third, hidden)
        answer = linear(last, mask)
        masked, only = [], []
        for s, c in zip(centred(z, item), item["candidates"], strict=True):
            masked.append(s / (1 + math.exp(-mask[answers.index(c)])))
            only.append(answer[answers.index(c)])
        found.append(loss(masked, item) + question_weight * loss(only, item))
    return found
