"""Group DRO, algorithm 1 of Sagawa et al. 2020 with the adjustment of its section 3.2, on losses given item by item.

Matched: the weights climb first and the step is taken under the new ones; a group that a batch lacks contributes a loss
of zero and keeps its weight; the adjustment moves the weights, and not the reported losses.
"""

from __future__ import annotations

import math


def train(losses, groups, rows, rate, adjustment, memory):
    """losses, groups: per batch a list over items. Returns per batch (total, weights after it)."""
    q = [1.0 / len(rows)] * len(rows)
    running = [None] * len(rows)
    found = []
    for batch, group in zip(losses, groups, strict=True):
        means = [None] * len(rows)
        for g in range(len(rows)):
            own = [loss for loss, of in zip(batch, group, strict=True) if of == g]
            if own:
                means[g] = sum(own) / len(own)
        for g, mean in enumerate(means):
            if mean is None:
                continue
            running[g] = mean if running[g] is None else memory * running[g] + (1 - memory) * mean
            q[g] = q[g] * math.exp(rate * (running[g] + adjustment / math.sqrt(rows[g])))
        whole = sum(q)
        q = [each / whole for each in q]
        total = sum(q[g] * mean for g, mean in enumerate(means) if mean is not None)
        found.append((total, list(q)))
    return found
