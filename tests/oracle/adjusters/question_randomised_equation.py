"""The loss under P(Q): each item in a wording drawn from its canonical question's, plain loops."""

from __future__ import annotations

import numpy as np


def drawn(asked: dict[str, list[str]], canonical: list[str], places) -> list[str]:
    """The text at each place in [0, 1) of the canonical question's texts, sorted, each as long as it was often asked."""
    found = []
    for name, place in zip(canonical, places, strict=True):
        texts = sorted(set(asked[name]))
        upto = 0.0
        for text in texts:
            upto += sum(each == text for each in asked[name]) / len(asked[name])
            if place < upto - 1e-12:
                break
        found.append(text)
    return found


def weyl(rows) -> list[float]:
    """Weyl's sequence: multiples of the golden ratio modulo one."""
    golden = (np.sqrt(5) - 1) / 2
    return [((row + 1) * golden) % 1.0 for row in rows]


def per_item(scores, answer, kind: str) -> list[float]:
    losses = []
    for z, truth in zip(scores, answer, strict=True):
        there = [c for c in range(len(z)) if np.isfinite(z[c])]
        if kind == "one":
            losses.append(-sum(z[c] - np.log(sum(np.exp(z[d]) for d in there)) for c in there if truth[c]))
        else:
            losses.append(sum(np.log1p(np.exp(-z[c] if truth[c] else z[c])) for c in there))
    return losses
