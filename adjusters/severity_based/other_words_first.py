"""What is minimised by strategies that ask items in other words first, and then as they were asked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adjusters.contract import Batch, LossTerms, Objective, Scorer, Stage, negative_log_likelihood, weighted_mean
from adjusters.exchanged_wordings import ExchangedWordings

AS_ASKED = "as_asked"


class OtherWordsFirst(Objective):
    """Part "main" asks each item in words drawn from its pool, without weights; part "as_asked" as it was asked, with
    weights where there are any.

    Args:
        wordings: as for :class:`adjusters.exchanged_wordings.ExchangedWordings`.
    """

    parts = ("main", AS_ASKED)
    asking: Tensor

    def __init__(self, scorer: Scorer, wordings: Mapping[str, Mapping[str, int]]) -> None:
        super().__init__(scorer)
        self.words = ExchangedWordings(wordings)
        self.register_buffer("asking", torch.zeros((), dtype=torch.bool))

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        self.asking.fill_(AS_ASKED in stage.trains)

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        if part == "main":
            per_item = negative_log_likelihood(self.scorer(self.words.drawn(batch)), batch)
            return LossTerms(per_item.mean(), per_item.detach())
        per_item = negative_log_likelihood(self.scorer(batch), batch)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        """First of the items in other words, the same for a row at every call: as they are, they would reward the
        shortcut. Then as they were asked: weights, if there are any, take that reward away."""
        return negative_log_likelihood(self(batch if self.asking else self.words.fixed(batch)), batch)
