"""Counts of the answers under each view of the training questions, and the prior P(answer | view) that they give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from adjusters.contract import Adjuster, ContractError
from adjusters.shortcut_model.answer_counts import AnswerCounts
from adjusters.shortcut_model.answer_prior import AnswerPrior, ViewOffset
from adjusters.shortcut_model.bias_view import BiasView, Codes, ViewColumns, checked_view
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

PriorFrom = Literal["counts", "model"]
#: Folds of patients, where a prior is of counts and no other number is asked for.
FOLDS = 10


class ViewCounts(Adjuster):
    """Has a prior P(answer | view), by counts or by a model; a subclass says what is done with it.

    Args:
        bias_view: what the prior may see: the question's style (the estimand's treatment), its template, its type, or
            the whole question. The strategy takes out of the model all that this view tells of the answer.
        prior: "counts" of answers per view, or "model", which is shown the whole question; ``None`` = a model for the
            whole question, counts for the rest.
        by: role or column within which a view is looked at, and given which ``restore_prior`` restores the answers'
            frequencies; ``None`` = across all items.
        restore_prior: take out what the view tells *beyond* ``by``, so that P(answer | topic) stays.
        smoothing: pseudo-rows added to the counts of each view, answered as the topic's rows are; > 0.
        folds: of patients; the counts of a row are those of the other folds, so that a row's own answer is not part of
            its prior. 1 = counts of all rows, ``None`` = 10. Counts only: a model's prior is fitted on all training
            rows, each row's own among them.

    Learned, where the prior is of counts: ``views_`` ([kind, topic, view], a code each), ``answers_`` and ``counts_``.
    """

    #: Name in the registry, and of the option that is ``smoothing`` here.
    called: ClassVar[str]
    rows_option: ClassVar[str] = "smoothing"
    views_: list[list[str]]
    answers_: list[Any]
    counts_: np.ndarray

    bias_view: BiasView | None
    prior: PriorFrom | None
    by: str | None
    restore_prior: bool
    smoothing: float
    folds: int | None

    def check_options(self) -> None:
        """Raises ContractError for an option out of its range."""
        if self.bias_view is not None:
            checked_view(self.called, self.bias_view)
        if self.prior not in (None, *get_args(PriorFrom)):
            raise ContractError(f"{self.called}'s prior is counts, model or none, not '{self.prior}'")
        if self.prior == "model" and self.bias_view != "question":
            raise ContractError(
                f"{self.called}'s prior=model is shown the whole question, which is more than the {self.bias_view}; "
                "use prior=counts, or bias_view=question"
            )
        if not self.pseudo_rows > 0:
            raise ContractError(
                f"{self.called}'s {self.rows_option} must be a positive number of rows, not {self.pseudo_rows}"
            )
        if self.folds is not None and (not isinstance(self.folds, int) or self.folds < 1):
            raise ContractError(f"{self.called}'s folds must be a whole number, at least 1, not {self.folds}")

    @property
    def from_model(self) -> bool:
        """Whether the prior is a model's."""
        return self.prior == "model" or (self.prior is None and self.bias_view == "question")

    @property
    def pseudo_rows(self) -> float:
        return float(getattr(self, self.rows_option))

    @property
    def codes(self) -> Codes:
        return Codes(self.views_, self.fold_count)

    @property
    def fold_count(self) -> int:
        if self.from_model:
            return 1
        return FOLDS if self.folds is None else self.folds

    def count(self, table: pd.DataFrame) -> None:
        """Learns the counts. Raises ContractError for a missing column, and for a view that tells nothing apart."""
        require_columns(self.called, table, ("kind", "candidates", "answer"))
        columns = self.view_columns(table)
        codes = Codes.seen_in(table, columns, self.fold_count)
        if len(codes.views) == len(codes.topics) and (self.restore_prior or len(codes.views) == 1):
            of_each = "" if columns.within is None else f" in each {columns.within}"
            raise ContractError(
                f"{self.called}: '{columns.view}' has a single value{of_each}, so there is nothing that a bias model "
                "could go by; choose another bias_view"
            )
        self.keep(AnswerCounts.of(table, columns, codes))

    def keep(self, counts: AnswerCounts) -> None:
        """Makes them learned attributes."""
        self.views_, self.answers_, self.counts_ = list(map(list, counts.codes.views)), counts.answers, counts.entries

    def counts(self) -> AnswerCounts:
        """Out of the learned attributes."""
        return AnswerCounts(self.codes, self.answers_, self.counts_)

    def counted(self) -> ViewOffset:
        """What the view tells of the answer by counts, beyond the topic where ``restore_prior`` is set."""
        counts = self.counts()
        given_view, given_topic = counts.tables(self.pseudo_rows)
        of_topic = AnswerPrior(given_topic, counts.answers) if self.restore_prior else None
        return ViewOffset(AnswerPrior(given_view, counts.answers), of_topic)

    def view_columns(self, table: pd.DataFrame) -> ViewColumns:
        """Raises ContractError where one is missing, or patients are and there are folds."""
        assert self.bias_view is not None
        require_columns(self.called, table, ("kind", *(("patient_ids",) if self.fold_count > 1 else ())))
        return ViewColumns.of(self.called, table, self.estimand_, self.bias_view, self.by)

    def refuse(self, why: str, **neutral: object) -> None:
        """Raises ContractError, one sentence, for an option that has no role here.

        Args:
            why: a clause.
            neutral: option -> the value at which nothing is asked of it.
        """
        for option, value in neutral.items():
            if getattr(self, option) != value:
                raise ContractError(
                    f"{self.called}'s {option} has no role with bias_view={self.bias_view or 'none'}, where {why}; "
                    "leave it out"
                )

    def refuse_counts(self, why: str) -> None:
        """As :meth:`refuse`, for all options of a prior by counts."""
        neutral: dict[str, object] = {"by": "topic", "restore_prior": True, self.rows_option: 1.0, "folds": None}
        self.refuse(why, **neutral)
