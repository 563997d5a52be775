"""What strategies have in common that train beside a prior P(answer | view of the question)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from adjusters.contract import (
    Batch,
    ContractError,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    Stage,
    negative_log_likelihood,
    weighted_mean,
)
from adjusters.shortcut_model.answer_prior import AnswerPrior, QuestionPrior
from adjusters.shortcut_model.bias_view import CODE, BiasView
from adjusters.shortcut_model.view_counts import ViewCounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from torch import nn

    from structural_models.estimand import Estimand


class PriorBased(ViewCounts):
    """Trains beside P(answer | view); a subclass says how.

    Args:
        prior: "counts" of answers per view, or "model", a scorer that is shown the question alone, trained in a stage
            of its own; ``None`` = a model for the whole question, counts for the rest. The model's stage is a pass of
            the text for each distinct question in a batch, the main stage one for each distinct question in all.

    Learned: ``views_`` ([kind, topic, view], a code each), ``answers_`` and ``counts_``.
    """

    bias_view: BiasView

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        if self.from_model and self.folds not in (None, 1):
            raise ContractError(
                f"{self.called}'s folds={self.folds} are of counts, but its prior is a model's, which is fitted on all "
                "rows; leave folds out, or use prior=counts"
            )
        self.count(table)
        return self

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        return {CODE: self.codes.of(table, self.view_columns(table))}

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("prior", trains=("prior",)), Stage("main")) if self.from_model else (Stage("main"),)

    def priors(self, new_scorer: NewScorer) -> tuple[AnswerPrior | QuestionPrior, AnswerPrior]:
        """P(answer | view) and P(answer | topic)."""
        given_view, given_topic = self.counts().tables(self.smoothing)
        of_topic = AnswerPrior(given_topic, self.answers_)
        if self.from_model:
            scorer = new_scorer("question_only")
            return QuestionPrior(scorer, self.codes.texts, given_topic, self.answers_), of_topic
        return AnswerPrior(given_view, self.answers_), of_topic


class PriorObjective(Objective):
    """Part "main" minimises :meth:`beside_prior`; part "prior", where the prior is a model's, trains that model first.

    Predicts with the scorer alone. Judged on validation rows, which are biased like the training rows, by what is
    minimised: the prediction leaves out, on purpose, what would serve there.
    """

    learning_prior: Tensor

    def __init__(self, scorer: Scorer, given_view: AnswerPrior | QuestionPrior, given_topic: AnswerPrior) -> None:
        super().__init__(scorer)
        self.given_view = given_view
        self.given_topic = given_topic
        if isinstance(given_view, QuestionPrior):
            self.parts = ("prior", "main")
        self.register_buffer("learning_prior", torch.zeros((), dtype=torch.bool))

    def beside_prior(self, batch: Batch) -> Tensor:
        """(batch,) loss of the scorer beside the prior."""
        raise NotImplementedError

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        self.learning_prior.fill_(stage.name == "prior")
        if isinstance(self.given_view, QuestionPrior):
            self.given_view.forget()

    def parameters_of(self, part: str) -> Iterator[nn.Parameter]:
        every = super().parameters_of(part)
        if not isinstance(self.given_view, QuestionPrior):
            return every
        if part == "prior":
            return self.given_view.parameters()
        own = set(map(id, self.given_view.parameters()))
        return (parameter for parameter in every if id(parameter) not in own)

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        per_item = self._of_prior(batch) if part == "prior" else self.beside_prior(batch)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        return self._of_prior(batch) if self.learning_prior else self.beside_prior(batch)

    def _of_prior(self, batch: Batch) -> Tensor:
        assert isinstance(self.given_view, QuestionPrior)
        return negative_log_likelihood(self.given_view.scores(batch), batch)
