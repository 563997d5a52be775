"""Confidence penalty (Pereyra et al. 2017, equation 2): the mean entropy of the answers is rewarded."""

import torch

from adjusters.contract import (
    Adjuster,
    Card,
    ContractError,
    LossTerms,
    Objective,
    log_probabilities,
    negative_log_likelihood,
    weighted_mean,
)


class ConfidencePenalty(Adjuster):
    card = Card(
        summary="Confidence penalty: a model that is less sure of its answers.",
        uses=("objective",),
        fails_when="everywhere the wording is confounded: the shortcut is followed as before, only less surely",
        source="Pereyra et al. 2017, equation 2",
    )

    def __init__(self, strength: float = 0.1) -> None:
        if not strength > 0:
            raise ContractError(f"confidence_penalty's strength must be positive, not {strength}")
        self.strength = strength

    def attach(self, scorer, *, new_scorer, rng):
        return ConfidencePenaltyObjective(scorer, self.strength)


class ConfidencePenaltyObjective(Objective):
    def __init__(self, scorer, strength):
        super().__init__(scorer)
        self.strength = strength

    def loss(self, batch, part, *, progress):
        scores = self.scorer(batch)
        log_p = log_probabilities(scores, batch).masked_fill(batch.padding, 0.0)
        entropy = -(log_p.exp() * log_p).masked_fill(batch.padding, 0.0)
        if batch.kind == "set":  # candidates are apart: the entropy of "not this one" counts as well
            no = torch.nn.functional.logsigmoid(-scores.masked_fill(batch.padding, 0.0))
            entropy = entropy - (no.exp() * no).masked_fill(batch.padding, 0.0)
        per_item = negative_log_likelihood(scores, batch) - self.strength * entropy.sum(1)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())
