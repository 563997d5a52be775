"""V-REx, equation 8 of Krueger et al. 2021, from losses given item by item; mean over environments, as in DomainBed."""

from __future__ import annotations


def total(losses, environments, strength):
    risks = []
    for e in sorted(set(environments)):
        own = [loss for loss, of in zip(losses, environments, strict=True) if of == e]
        risks.append(sum(own) / len(own))
    mean = sum(risks) / len(risks)
    variance = sum((risk - mean) ** 2 for risk in risks) / len(risks)
    return mean + strength * variance
