"""Wordings exchanged within a question first, then stratified training: weighted batches dealt out by stratum.

Drawing rows so that severity and style are independent (stratified resampling) works for a table and fails for a
neural network: under strong confounding the few rows that break the tie are repeated until they are memorised. What is
done instead has two stages.

1. ``exchange``: every item is asked in the words of a training item drawn at random among those with the same canonical
   question. Within a question, style is then independent of everything else, and the encoder learns to read the ECG
   from all rows, none of them repeated. What it cannot learn is an effect that the style truly has on the answer. Where
   a question has one style throughout there is nothing to exchange, and the stage is left out.
2. ``weigh``: the rows as they were asked, with weights under which severity and style are independent, in batches that
   hold every (severity, style) cell in proportion, for up to ``epochs`` passes. Whatever the style truly does to the
   answer comes back here. The epoch with the lowest weighted loss on validation patients is kept, where that is clearly
   better than the state before the first: the heavy rows are soon memorised, and then the light ones pull the model
   back to the shortcut. Where the weights leave fewer than ``min_ess`` rows effective, a few rows would decide, in
   training as in validation; the stage is then left out, which presumes that the style has no effect of its own. What
   is left is :mod:`adjusters.severity_based.question_randomised`: the severity is not used at all.

``plain=True`` is stratified training by itself, from the start and on the rows as they were asked: within a stratum
the weights make every style as frequent as it is among all. What is minimised is the loss of inverse probability
weighting by counts; every batch holds each cell in proportion, which makes its gradient steadier. Where a batch is the
whole table the two are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np

from adjusters.batching import dealt_batches
from adjusters.contract import (
    Adjuster,
    Card,
    ContractError,
    NewScorer,
    Scorer,
    Stage,
)
from adjusters.exchanged_wordings import Exchange, several_styles, wordings_of
from adjusters.severity_based.cells import (
    Columns,
    cell_weights,
    look_up,
    overlap_report,
    pooled_balance,
    require_overlap,
)
from adjusters.severity_based.other_words_first import AS_ASKED, OtherWordsFirst
from structural_models.tabulation import distinct_rows

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand


class Stratified(Adjuster):
    """Exchange of wordings, then weighted, stratified batches; or the latter alone.

    Args:
        epochs: passes of the second stage, the best of which is kept; 0 leaves it out, which presumes that the style
            has no effect of its own.
        min_ess: effective sample size (Kish) of the weights on the training rows below which the second stage is left
            out as well, provided that there is a first.
        clip: weights above it are set to it; below one, the quantile to clip at.
        exchange: what a wording is exchanged for in the first stage: any of its canonical question's, or, as a placebo
            is, those of the same style only, which leaves the tie between style and answer as it was.
        treatment: column of the treatment; by default the estimand's.
        by: role or column within which weights are formed; ``None`` = across all items.
        plain: stratified training alone, for as many epochs as the run says, without any exchange of wordings;
            ``epochs``, ``min_ess`` and ``exchange`` are of no consequence then.

    The table must have the columns ``question`` and ``question_id``, unless plain. Learned: ``cells_`` and
    ``overlap_`` as for ipw; ``wordings_``: per canonical question its training texts and how often each was asked;
    ``exchanges_``: whether there is a first stage, as there is where any canonical question was asked in several
    styles; ``weighs_``: whether there is a second, so that the severity is used at all.
    """

    card = Card(
        summary="Wordings exchanged within a question, then, where weights leave rows enough, weighted batches by "
        "severity stratum; with plain=true the latter alone, which is stratified training as it is known.",
        needs=("severity", "treatment"),
        uses=("weights", "batches", "objective"),
        estimands=("P(A | E, do(Q))", "P(A | do(Q))"),
        consistent_when="with plain=true, or where the second stage is done: severity is measured without error, "
        "suffices, and every style occurs at every severity; where it is left out (fewer than min_ess effective rows, "
        "as of 4,000 at rho = .99 with a severity without error), severity is not used, and it must be that the style "
        "has no effect of its own",
        fails_when="severity recorded with error (R4), where the second stage undoes the first; no overlap (R5, "
        "refused); causes besides severity, or an effect of the style itself where the second stage is left out (R9); "
        "with plain=true, as ipw: at rho = .99 a few heavy rows decide (R1, R6)",
        source="after Rosenbaum & Rubin 1984 (subclassification)",
        placebo={"exchange": "style"},
    )

    cells_: dict[str, Any]
    overlap_: dict[str, Any]
    wordings_: dict[str, dict[str, int]]
    exchanges_: bool
    weighs_: bool

    def __init__(
        self,
        epochs: int = 3,
        min_ess: float = 200.0,
        clip: float | None = None,
        exchange: Exchange = "question",
        treatment: str | None = None,
        by: str | None = "topic",
        plain: bool = False,
    ) -> None:
        if not isinstance(plain, bool):
            raise ContractError(f"stratified's plain is true or false, not {plain}")
        if exchange not in get_args(Exchange):
            raise ContractError(f"stratified's exchange is question or style, not '{exchange}'")
        if not isinstance(epochs, int) or epochs < 0:
            raise ContractError(f"stratified's epochs must be a whole number, at least 0, not {epochs}")
        if not min_ess >= 0:
            raise ContractError(f"stratified's min_ess must be a number of rows, at least 0, not {min_ess}")
        if clip is not None and not clip > 0:
            raise ContractError(f"stratified's clip must be a positive weight, or a quantile below one, not {clip}")
        self.epochs = epochs
        self.min_ess = min_ess
        self.clip = clip
        self.exchange = exchange
        self.treatment = treatment
        self.by = by
        self.plain = plain

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        columns = self._columns(table)
        self.wordings_ = {}
        if not self.plain:
            self.wordings_ = wordings_of("stratified", table, columns.treatment, self.exchange)
        require_overlap("stratified", table, columns)
        self.cells_ = cell_weights(table, columns, "stabilised", self.clip)
        self.overlap_ = overlap_report(table, columns, self.weights(table))
        self.exchanges_ = not self.plain and several_styles(table, columns.treatment)
        if not self.exchanges_ and not self.epochs and not self.plain:
            raise ContractError(
                f"stratified has nothing to do: epochs is 0, and no question was asked with several values of "
                f"'{columns.treatment}'"
            )
        self.weighs_ = not self.exchanges_ or (self.epochs > 0 and self.overlap_["ess"] >= self.min_ess)
        return self

    def weights(self, table: pd.DataFrame) -> np.ndarray:
        return look_up(self.cells_, table, "stratified")

    def batches(self, table: pd.DataFrame, size: int, *, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """Rows dealt out like cards, cell by cell: every batch holds each cell in proportion, every row comes once."""
        _, cell = distinct_rows(table, self.cells_["columns"])
        return dealt_batches(table, cell, size, np.random.default_rng([seed, epoch]))

    def stages(self) -> tuple[Stage, ...]:
        exchange = Stage("exchange", weighted=False)
        if not self.exchanges_:
            # Plain, there is no earlier state worth keeping: a few heavy validation rows would seldom tell clearly.
            return (Stage("weigh", trains=(AS_ASKED,), keep_best=not self.plain),)
        if not self.weighs_:
            return (exchange,)
        return (
            exchange,
            Stage("weigh", trains=(AS_ASKED,), epochs=self.epochs, reset_optimizer=True, keep_best=True),
        )

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> OtherWordsFirst:
        return OtherWordsFirst(scorer, self.wordings_)

    def balance(self, table: pd.DataFrame) -> pd.DataFrame:
        """Standardised mean differences of the strata between styles, within topics, before and after weighting."""
        return pooled_balance(table, self._columns(table), self.weights(table), overlap=False)

    def _columns(self, table: pd.DataFrame) -> Columns:
        assert self.estimand_ is not None
        return Columns.of("stratified", table, self.estimand_, self.treatment, self.by)
