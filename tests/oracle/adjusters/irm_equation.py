"""IRMv1 (Arjovsky et al. 2019) as published: the gradient of a risk by a number that scales the scores, by autograd.

Matched: the paper's squared gradient ("whole"), or DomainBed's product of the gradients of every other row; mean over
environments; the penalty's weight multiplies it and nothing is divided by that weight.
"""

from __future__ import annotations

import torch


def item_loss(scores, answer, kind):
    """scores, answer: one item's candidates, no padding."""
    if kind == "one":
        return -torch.log_softmax(scores, 0)[answer].logsumexp(0)
    loss = 0.0
    for z, y in zip(scores, answer, strict=True):
        loss = loss - (torch.nn.functional.logsigmoid(z) if y else torch.nn.functional.logsigmoid(-z))
    return loss


def total(items, kind, environments, strength, halves):
    """items: (scores, answer) per item; environments: list of each item's."""
    risks, penalties = [], []
    for e in sorted(set(environments)):
        own = [item for item, of in zip(items, environments, strict=True) if of == e]
        risks.append(sum(item_loss(z, y, kind) for z, y in own) / len(own))
        gradients = []
        for part in [own[0::2], own[1::2]] if halves else [own, own]:
            w = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
            risk = sum(item_loss(w * z, y, kind) for z, y in part) / len(part)
            gradients.append(torch.autograd.grad(risk, [w], create_graph=True)[0])
        penalties.append(gradients[0] * gradients[1])
    return sum(risks) / len(risks) + strength * sum(penalties) / len(penalties)
