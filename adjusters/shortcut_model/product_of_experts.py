"""Product of experts: the scorer learns what a prior given the shortcut does not say already."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from adjusters.candidates import added
from adjusters.contract import Batch, Card, NewScorer, Scorer, negative_log_likelihood
from adjusters.shortcut_model.answer_prior import AnswerPrior, QuestionPrior
from adjusters.shortcut_model.bias_view import BiasView
from adjusters.shortcut_model.prior_based import PriorBased, PriorObjective
from adjusters.shortcut_model.view_counts import PriorFrom


class ProductOfExperts(PriorBased):
    """Trains with an offset, and predicts without it.

        loss         -log softmax(z + log P(A | view, T) - log P(A | T)) at the true answer
        prediction   softmax(z)

    With ``restore_prior=False``, the published form, the last term is left out, and the prediction has lost P(A | T):
    it is that of a world in which all answers are equally frequent. In items of kind "set" log-odds stand for
    log-probabilities, candidate by candidate.

    See :class:`PriorBased` for the options.
    """

    called = "product_of_experts"
    card = Card(
        summary="Product of experts: trained beside a fixed prior given the shortcut, which is left out at prediction.",
        uses=("objective",),
        bias_view="style, template, type or question",
        consistent_when="the ECG is independent of the view given answer and topic, and the view causes no answer",
        fails_when="the ECG depends on the view even given answer and topic: severity shows in the ECG by itself "
        "(R2), or the topic settles answers (R3); the view truly has an effect (it is erased); with "
        "restore_prior=false, what the topic tells is erased as well",
        source="Hinton 2002; Clark, Yatskar & Zettlemoyer 2019 (bias product); with the answers' frequencies restored",
    )

    def __init__(
        self,
        bias_view: BiasView = "style",
        prior: PriorFrom | None = None,
        by: str | None = "topic",
        restore_prior: bool = True,
        smoothing: float = 1.0,
        folds: int | None = None,
    ) -> None:
        self.bias_view = bias_view
        self.prior = prior
        self.by = by
        self.restore_prior = restore_prior
        self.smoothing = smoothing
        self.folds = folds
        self.check_options()

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> ProductOfExpertsObjective:
        return ProductOfExpertsObjective(scorer, *self.priors(new_scorer), restore_prior=self.restore_prior)


class ProductOfExpertsObjective(PriorObjective):
    """See :class:`ProductOfExperts`."""

    def __init__(
        self,
        scorer: Scorer,
        given_view: AnswerPrior | QuestionPrior,
        given_topic: AnswerPrior,
        *,
        restore_prior: bool,
    ) -> None:
        super().__init__(scorer, given_view, given_topic)
        self.restore_prior = restore_prior

    def beside_prior(self, batch: Batch) -> Tensor:
        offset = self.given_view(batch)
        if self.restore_prior:
            offset = offset - self.given_topic(batch)
        return negative_log_likelihood(added(self.scorer(batch), offset, batch), batch)
