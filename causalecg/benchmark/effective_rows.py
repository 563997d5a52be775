"""How many rows the weights leave that an arm was trained with.

What an adjuster could weight says nothing: a stage may take no notice of weights, and weights may be nearly even.
"""

from __future__ import annotations

import numpy as np

from adjusters.contract import Adjuster
from structural_models.weights import effective_sample_size

#: An arm whose weights leave a smaller share of its rows effective is held against an oracle of few rows as well.
FEW = 0.5


def effective_rows(adjuster: Adjuster, weights: np.ndarray | None) -> float | None:
    """Effective sample size (Kish) of the weights in training; ``None`` where no stage takes weights into its loss.

    Args:
        adjuster: fitted.
        weights: (rows,) of the rows learned from, if there are any.
    """
    stages = [stage for stage in adjuster.stages() if stage.trains and stage.split == "train" and stage.weighted]
    return effective_sample_size(weights) if stages and weights is not None else None


def leaves_few(effective: float | None, rows: int) -> bool:
    """Whether fewer than half of ``rows``, as many as there were to learn from, are left effective."""
    return effective is not None and effective < FEW * rows
