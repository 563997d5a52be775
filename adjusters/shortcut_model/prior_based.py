"""What strategies have in common that train beside a prior P(answer | view of the question)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from adjusters.contract import (
    Adjuster,
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
from adjusters.shortcut_model.answer_counts import AnswerCounts
from adjusters.shortcut_model.answer_prior import AnswerPrior, QuestionPrior
from adjusters.shortcut_model.bias_view import CODE, BiasView, Codes, ViewColumns, checked_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from torch import nn

    from structural_models.estimand import Estimand

PriorFrom = Literal["counts", "model"]


class PriorBased(Adjuster):
    """Learns P(answer | view) from the training rows; a subclass says what is done with it.

    Args:
        bias_view: what the prior may see: the question's style (the estimand's treatment), its template, its type, or
            the whole question. The strategy takes out of the model all that this view tells of the answer.
        prior: "counts" of answers per view, or "model", a scorer that is shown the question alone, trained in a stage
            of its own; ``None`` = a model for the whole question, counts for the rest. The model's stage is a pass of
            the text for each distinct question in a batch, the main stage one for each distinct question in all.
        by: role or column within which a view is looked at, and given which ``restore_prior`` restores the answers'
            frequencies; ``None`` = across all items.
        restore_prior: take out what the view tells *beyond* ``by``, so that P(answer | topic) stays.
        smoothing: pseudo-rows added to the counts of each view, answered as the topic's rows are; > 0.
        folds: of patients; the counts of a row are those of the other folds, so that a row's own answer is not part of
            its prior. 1 = counts of all rows.

    Learned: ``views_`` ([kind, topic, view], a code each), ``answers_`` and ``counts_``.
    """

    views_: list[list[str]]
    answers_: list[str]
    counts_: np.ndarray

    bias_view: BiasView
    prior: PriorFrom | None
    by: str | None
    restore_prior: bool
    smoothing: float
    folds: int

    def check_options(self, name: str) -> None:
        """Raises ContractError for an option out of its range."""
        checked_view(name, self.bias_view)
        if self.prior not in (None, *get_args(PriorFrom)):
            raise ContractError(f"{name}'s prior is counts, model or none, not '{self.prior}'")
        if self.prior == "model" and self.bias_view != "question":
            raise ContractError(
                f"{name}'s prior=model is shown the whole question, which is more than the {self.bias_view}; use "
                "prior=counts, or bias_view=question"
            )
        if not self.smoothing > 0:
            raise ContractError(f"{name}'s smoothing must be a positive number of rows, not {self.smoothing}")
        if not isinstance(self.folds, int) or self.folds < 1:
            raise ContractError(f"{name}'s folds must be a whole number, at least 1, not {self.folds}")

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        columns = self._columns(table)
        codes = Codes.seen_in(table, columns, self._folds)
        if len(codes.views) == len(codes.topics) and (self.restore_prior or len(codes.views) == 1):
            of_each = "" if columns.within is None else f" in each {columns.within}"
            raise ContractError(
                f"{type(self).__name__}: '{columns.view}' has a single value{of_each}, so there is nothing that a bias "
                "model could go by; choose another bias_view"
            )
        counts = AnswerCounts.of(table, columns, codes)
        self.views_, self.answers_, self.counts_ = list(map(list, codes.views)), counts.answers, counts.entries
        return self

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        return {CODE: self.codes.of(table, self._columns(table))}

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("prior", trains=("prior",)), Stage("main")) if self.from_model else (Stage("main"),)

    @property
    def from_model(self) -> bool:
        return self.prior == "model" or (self.prior is None and self.bias_view == "question")

    @property
    def codes(self) -> Codes:
        return Codes(self.views_, self._folds)

    def counts(self) -> AnswerCounts:
        return AnswerCounts(self.codes, self.answers_, self.counts_)

    def priors(self, new_scorer: NewScorer) -> tuple[AnswerPrior | QuestionPrior, AnswerPrior]:
        """P(answer | view) and P(answer | topic)."""
        given_view, given_topic = self.counts().tables(self.smoothing)
        of_topic = AnswerPrior(given_topic, self.answers_)
        if self.from_model:
            scorer = new_scorer("question_only")
            return QuestionPrior(scorer, self.codes.texts, given_topic, self.answers_), of_topic
        return AnswerPrior(given_view, self.answers_), of_topic

    @property
    def _folds(self) -> int:
        return 1 if self.from_model else self.folds

    def _columns(self, table: pd.DataFrame) -> ViewColumns:
        return ViewColumns.of(type(self).__name__, table, self.estimand_, self.bias_view, self.by)


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
