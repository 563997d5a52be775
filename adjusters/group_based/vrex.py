"""Risk extrapolation: the environments' risks must not differ.

V-REx: mean over environments of R_e, plus strength times the variance of R_e over the environments
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from adjusters.contract import Batch, Card, NewScorer, Scorer
from adjusters.group_based.environments import EnvironmentAdjuster, EnvironmentObjective
from adjusters.group_based.risks import risks_of


class RiskExtrapolation(EnvironmentAdjuster):
    """V-REx.

    Args:
        environment: column of the environments, of which "style" and "severity" mean their roles; ``None`` = the
            cohort's ``environment``.
        strength: weight of the variance, >= 0.
        anneal: epochs of a first stage in which it is at most 1; then the optimiser starts afresh.
    """

    name = "vrex"
    card = Card(
        summary="V-REx: the predictor that is as good in every environment as in any other.",
        uses=("batches", "objective"),
        consistent_when="the shortcut is worth more in some environments than in others, and the ECG is not",
        fails_when="the environments share the shortcut's strength (R0-R9 have one site; severity as the environment "
        "gains nothing there), or some are harder to read",
        source="Krueger et al. 2021, equation 8; Gulrajani & Lopez-Paz 2021 (reset of the optimiser)",
    )

    def __init__(self, environment: str | None = None, strength: float = 10.0, anneal: int = 1) -> None:
        self.environment = environment
        self.strength = strength
        self.anneal = anneal
        self.check_options()

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> RiskExtrapolationObjective:
        return RiskExtrapolationObjective(scorer, self.environments_["rows"], self.strength)


class RiskExtrapolationObjective(EnvironmentObjective):
    """See :class:`RiskExtrapolation`."""

    def penalty(self, scores: Tensor, per_item: Tensor, batch: Batch) -> Tensor:
        """Variance (divided by their number) of the risks of the environments that the batch holds."""
        risks, present = risks_of(per_item, self.members(batch, per_item.dtype))
        number = present.sum().clamp(min=1)
        away = torch.where(present, risks - risks.sum() / number, 0.0)
        return (away**2).sum() / number
