"""Learned mixin with entropy penalty (LMH): a product of experts in which each item says how far to trust the prior."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.candidates import added, normalised
from adjusters.contract import (
    Batch,
    Card,
    ContractError,
    HasFeatureDim,
    HasFeatures,
    NewScorer,
    Scorer,
    log_probabilities,
    negative_log_likelihood,
    scores_and_features,
)
from adjusters.shortcut_model.answer_prior import AnswerPrior, QuestionPrior
from adjusters.shortcut_model.bias_view import BiasView
from adjusters.shortcut_model.prior_based import PriorBased, PriorObjective
from adjusters.shortcut_model.view_counts import PriorFrom


class LearnedMixin(PriorBased):
    """Trains with a scaled offset and a penalty, and predicts without them.

        loss         -log softmax(z + g(h) log P(A | view, T) - log P(A | T)) at the true answer
                     + entropy * H(softmax(g(h) log P(A | view, T)))
        g(h)         softplus(w . h + c), h the fused features of the same pass; starts at one, as a product of experts
        prediction   softmax(z)

    With ``restore_prior=False``, as published, the term P(A | T) is left out. In items of kind "set" log-odds stand for
    log-probabilities, and the entropy is the sum of the candidates' own.

    Args:
        entropy: weight of the penalty, >= 0, which keeps g from shrinking the prior away. See :class:`PriorBased` for
            the other options.
    """

    called = "learned_mixin"
    card = Card(
        summary="Learned mixin: a product of experts whose trust in the prior is learned, with an entropy penalty.",
        uses=("objective",),
        bias_view="style, template, type or question",
        consistent_when="as the product of experts, where g is one; otherwise no guarantee",
        fails_when="nothing fixes g: the scorer sees the view too and can make up for any g in training, so the "
        "penalty drives g up without bound, and the prediction turns the shortcut round, even where there is none",
        source="Clark, Yatskar & Zettlemoyer 2019 (learned mixin + H)",
    )

    def __init__(
        self,
        bias_view: BiasView = "style",
        prior: PriorFrom | None = None,
        by: str | None = "topic",
        restore_prior: bool = True,
        entropy: float = 0.36,
        smoothing: float = 1.0,
        folds: int | None = None,
    ) -> None:
        if not entropy >= 0:
            raise ContractError(f"learned_mixin's entropy must be a weight, at least 0, not {entropy}")
        self.bias_view = bias_view
        self.prior = prior
        self.by = by
        self.restore_prior = restore_prior
        self.entropy = entropy
        self.smoothing = smoothing
        self.folds = folds
        self.check_options()

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> LearnedMixinObjective:
        if not (isinstance(scorer, HasFeatures) and isinstance(scorer, HasFeatureDim)):
            raise ContractError(
                f"learned_mixin needs a scorer with features and feature_dim, which {type(scorer).__name__} lacks; use "
                "product_of_experts"
            )
        gate = Gate(scorer.feature_dim("fused"))
        return LearnedMixinObjective(
            scorer, *self.priors(new_scorer), gate, entropy=self.entropy, restore_prior=self.restore_prior
        )


class Gate(nn.Module):
    """softplus(w . h + c), one at the start. ``weight``: (dim,); ``shift``: ()."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.shift = nn.Parameter(torch.tensor(math.log(math.e - 1)))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, dim) -> (batch,) > 0."""
        return nn.functional.softplus(features.to(self.weight.dtype) @ self.weight + self.shift)


class LearnedMixinObjective(PriorObjective):
    """See :class:`LearnedMixin`."""

    def __init__(
        self,
        scorer: Scorer,
        given_view: AnswerPrior | QuestionPrior,
        given_topic: AnswerPrior,
        gate: Gate,
        *,
        entropy: float,
        restore_prior: bool,
    ) -> None:
        super().__init__(scorer, given_view, given_topic)
        self.gate = gate
        self.entropy = entropy
        self.restore_prior = restore_prior

    def beside_prior(self, batch: Batch) -> Tensor:
        scores, features = scores_and_features(self.scorer, batch, "fused")
        scaled = self.gate(features).unsqueeze(1) * self.given_view(batch)
        offset = scaled - self.given_topic(batch) if self.restore_prior else scaled
        loss = negative_log_likelihood(added(scores, offset, batch), batch)
        return loss + self.entropy * entropy(scaled, batch).to(loss.dtype)


def entropy(scores: Tensor, batch: Batch) -> Tensor:
    """(batch,) entropy, nats, of softmax(scores) over the item's candidates ("one"), or the sum of the candidates'
    own ("set")."""
    if batch.kind == "one":
        log_p = normalised(scores, batch)
        share = log_probabilities(scores, batch).exp()
        return -(share * log_p).sum(1)
    p = torch.sigmoid(scores)
    each = -(p * nn.functional.logsigmoid(scores) + (1 - p) * nn.functional.logsigmoid(-scores))
    return each.masked_fill(batch.padding, 0.0).sum(1)
