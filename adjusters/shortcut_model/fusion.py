"""Fusions of what a question says of an answer with what question and ECG say of it, as in counterfactual VQA.

A fusion h turns two scores of an answer into one. Scores are those of candidates that compete ("one"); a candidate of a
"set" is two that compete, yes and no, with half its log-odds each way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from adjusters.contract import Kind

Fusion = Literal["sum", "hm", "rubi"]
#: The constant is looked for within these bounds, in so many rounds of so many points.
BOUND, ROUNDS, POINTS = 20.0, 6, 41


def _sum(question: Tensor, other: Tensor) -> Tensor:
    return logsigmoid(question + other)


def _harmonic(question: Tensor, other: Tensor) -> Tensor:
    both = logsigmoid(question) + logsigmoid(other)
    return both - softplus(both)


def _masked(question: Tensor, other: Tensor) -> Tensor:
    return other * torch.sigmoid(question)


#: h(q, k): log sigmoid(q + k), log of s / (1 + s) with s = sigmoid(q) sigmoid(k), and k sigmoid(q).
FUSIONS: dict[Fusion, Callable[[Tensor, Tensor], Tensor]] = {"sum": _sum, "hm": _harmonic, "rubi": _masked}


def fused(fusion: Fusion, question: Tensor, other: Tensor, kind: Kind) -> Tensor:
    """Scores h(question, other) ("one") or log-odds h(question / 2, other / 2) - h(-question / 2, -other / 2) ("set").

    Args:
        question: (batch, candidates) finite.
        other: the same; where a constant stands for it see :func:`untreated`.
    """
    h = FUSIONS[fusion]
    if kind == "one":
        return h(question, other)
    return h(question / 2, other / 2) - h(-question / 2, -other / 2)


def untreated(fusion: Fusion, question: Tensor, constant: Tensor, kind: Kind) -> Tensor:
    """:func:`fused` with the same constant () for every answer, yes and no of a set as well."""
    h = FUSIONS[fusion]
    every = constant.to(question.dtype).expand_as(question)
    if kind == "one":
        return h(question, every)
    return h(question / 2, every) - h(-question / 2, every)


def divergence(total: Tensor, direct: Tensor, padding: Tensor, kind: Kind) -> Tensor:
    """(batch,) KL(p(total) || p(direct)), nats; summed over the candidates of a set."""
    if kind == "one":
        log_p, log_q = (
            torch.log_softmax(s.masked_fill(padding, float("-inf")), dim=1).masked_fill(padding, 0.0)
            for s in (total, direct)
        )
        return (log_p.exp() * (log_p - log_q)).masked_fill(padding, 0.0).sum(1)
    yes = torch.sigmoid(total)
    each = yes * (logsigmoid(total) - logsigmoid(direct)) + (1 - yes) * (logsigmoid(-total) - logsigmoid(-direct))
    return each.masked_fill(padding, 0.0).sum(1)


def closest_constant(mean_divergence: Callable[[Tensor], float]) -> float:
    """The constant in [-BOUND, BOUND] of the lowest mean divergence: a search on ever finer grids."""
    low, high = -BOUND, BOUND
    best = 0.0
    for _ in range(ROUNDS):
        points = torch.linspace(low, high, POINTS, dtype=torch.float64)
        losses = [mean_divergence(point) for point in points]
        best = float(points[losses.index(min(losses))])
        step = (high - low) / (POINTS - 1)
        low, high = max(best - step, -BOUND), min(best + step, BOUND)
    return best
