"""Invariant risk minimisation: what is learned must be best in every environment at once.

IRMv1: mean over environments of R_e, plus strength times the mean of (dR_e(w z) / dw at w = 1)^2

w is one number that scales all scores z. The derivative of an item's loss is known in closed form, sum over candidates
of (p - y) z, so that no gradient of a gradient is taken.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from adjusters.contract import Batch, Card, ContractError, NewScorer, Scorer
from adjusters.group_based.environments import EnvironmentAdjuster, EnvironmentObjective
from adjusters.group_based.risks import risks_of


class InvariantRisk(EnvironmentAdjuster):
    """IRMv1.

    The squared derivative of a sample is too large by the sample's variance; the product of the derivatives of two
    halves is not, but on one fixed batch, seen again and again, it can be driven below any bound. Environments with few
    rows in a batch are therefore split in halves, those with many are not.

    Args:
        environment: column of the environments, of which "style" and "severity" mean their roles; ``None`` = the
            cohort's ``environment``. Where two levels mirror each other, a model that uses the shortcut is as well
            scaled at either, and is not penalised: so it is with severity, or style, in the benchmark's laws.
        strength: weight of the penalty, >= 0.
        anneal: epochs of a first stage in which it is at most 1; then the optimiser starts afresh.
        whole_from: rows of an environment in a batch from which they are not split in halves; 0 = never split, as in
            the paper's code; large = always, as in DomainBed.
    """

    name = "irm"
    card = Card(
        summary="IRMv1: the predictor that is best in every environment at once.",
        uses=("batches", "objective"),
        consistent_when="P(A | E) is the same in all environments, the shortcut is not, and they are many enough",
        fails_when="the environments share the shortcut's strength (R0-R9 have one site; severity as the environment "
        "gains nothing there), or answers are more frequent in some",
        source="Arjovsky et al. 2019, IRMv1; Gulrajani & Lopez-Paz 2021 (halves, reset of the optimiser)",
    )

    def __init__(
        self, environment: str | None = None, strength: float = 100.0, anneal: int = 1, whole_from: int = 256
    ) -> None:
        self.environment = environment
        self.strength = strength
        self.anneal = anneal
        self.whole_from = whole_from
        self.check_options()
        if not isinstance(whole_from, int) or whole_from < 0:
            raise ContractError(f"irm's whole_from is a number of rows, at least 0, not {whole_from}")

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> InvariantRiskObjective:
        return InvariantRiskObjective(scorer, self.environments_["rows"], self.strength, self.whole_from)


class InvariantRiskObjective(EnvironmentObjective):
    """See :class:`InvariantRisk`."""

    def __init__(self, scorer: Scorer, rows: list[int], strength: float, whole_from: int) -> None:
        super().__init__(scorer, rows, strength)
        self.whole_from = whole_from

    def penalty(self, scores: Tensor, per_item: Tensor, batch: Batch) -> Tensor:
        slopes = scale_derivative(scores, batch)
        members = self.members(batch, slopes.dtype)
        whole, present = risks_of(slopes, members)
        turn = members * ((members.cumsum(0) % 2) == 1)
        first, _ = risks_of(slopes, turn)
        second, _ = risks_of(slopes, members - turn)
        squares = torch.where(members.sum(0) >= self.whole_from, whole**2, first * second)
        return squares.sum() / present.sum().clamp(min=1)


def scale_derivative(scores: Tensor, batch: Batch) -> Tensor:
    """(batch,) derivative of the negative log-likelihood of w * scores by w, at w = 1."""
    z = scores.masked_fill(batch.padding, 0.0)
    if batch.kind == "set":
        return ((torch.sigmoid(z) - batch.answer.to(z.dtype)) * z).masked_fill(batch.padding, 0.0).sum(-1)
    given = torch.softmax(scores.masked_fill(batch.padding, float("-inf")), dim=-1)
    true = torch.softmax(scores.masked_fill(~batch.answer, float("-inf")), dim=-1)
    return ((given - true) * z).sum(-1)
