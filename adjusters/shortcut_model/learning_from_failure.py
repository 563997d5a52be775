"""Learning from failure: rows that a deliberately biased partner gets wrong weigh more, all along the training.

Nam et al. 2020. Two models are trained side by side. The biased one, f_B, learns by generalised cross-entropy
(1 - p^q) / q, whose gradient is p^q times that of cross-entropy: it trusts what it gets right soon, and so keeps to
what is easy, the shortcut. The debiased one, f_D, learns by cross-entropy weighted with

    W = l_B / (l_B + l_D)

where l_B and l_D are the two models' cross-entropies on the row, smoothed over its visits (l <- a l + (1 - a) new, from
zero) and divided by the largest among the rows of the same answer, as in the authors' released code; the paper's
equation has neither the smoothing nor the division.

The biased model may also be no model at all, but the prior of a view of the question, by counts: it fails on rows whose
answer that view does not foretell, and on no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import (
    Batch,
    Card,
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
from adjusters.shortcut_model.answer_prior import ViewOffset
from adjusters.shortcut_model.bias_view import CODE, BiasView
from adjusters.shortcut_model.view_counts import PriorFrom, ViewCounts
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

#: Columns: the rows' own numbers, under which a row's weight is looked up, and a code of its answer.
ITEM, ANSWER = "item", "answer_code"


class LearningFromFailure(ViewCounts):
    """Weights from the failures of a biased partner.

    Args:
        q: of the generalised cross-entropy, in (0, 1]; the nearer to 0, the more like cross-entropy.
        smoothing: share a of the past in the smoothed losses, in [0, 1).
        bias_view: "question" = the partner is not shown the ECG; "style" (the estimand's treatment), "template" or
            "type" = it is the prior P(answer | view) by counts; ``None`` = it is one like the model itself.
        prior: of the whole question: "model", a partner that learns, or "counts" of answers; ``None`` = the former.
        prior_smoothing: pseudo-rows added to the counts of each view, answered as the topic's rows are; > 0.

    With counts the partner says softmax(log P(A | view, T) - log P(A | T)), what the view tells beyond the topic, or
    P(A | view, T) with ``restore_prior=False``; it is not trained, and all else is the same.

    A row's losses are those of the visits before: on its first visit its weight is a half. (The released code counts
    the present visit as well, which needs the partner's scores once more.)

    Learned: ``answers_``, the training rows' answers (a set is one answer), and ``answer_code_``, (rows,) int64 the
    position of each row's among them; with counts, ``views_``, ``counts_``
    and ``prior_answers_``, the candidates that they are of.
    """

    called = "lff"
    rows_option = "prior_smoothing"
    card = Card(
        summary="Learning from failure: rows that a biased partner gets wrong weigh more.",
        uses=("objective",),
        bias_view="nothing withheld by default; style, template, type or question",
        extra_passes=(1, 0),
        consistent_when="the shortcut is learned sooner than the ECG, and rows that break it are not merely noise",
        fails_when=(
            "the partner learns the ECG as soon as the shortcut: its failures are then unclear ECGs; the debiased "
            "model learns them, finds all others hard and is given ever less of them, until it answers the opposite "
            "(R8); with the question alone as partner, a true effect of the topic is taken for bias (R3); with a view "
            "as partner, a true effect of the view"
        ),
        source="Nam, Cha, Ahn, Lee & Shin 2020, algorithm 1, with the smoothing and scaling of the released code",
    )

    answers_: list[list[str]]
    answer_code_: np.ndarray
    prior_answers_: list[str]

    def __init__(
        self,
        q: float = 0.7,
        smoothing: float = 0.7,
        bias_view: BiasView | None = None,
        prior: PriorFrom | None = None,
        by: str | None = "topic",
        restore_prior: bool = True,
        prior_smoothing: float = 1.0,
        folds: int | None = None,
    ) -> None:
        if not 0 < q <= 1:
            raise ContractError(f"lff's q must be above 0 and at most 1, not {q}")
        if not 0 <= smoothing < 1:
            raise ContractError(f"lff's smoothing must be at least 0 and below 1, not {smoothing}")
        self.q = q
        self.smoothing = smoothing
        self.bias_view = bias_view
        self.prior = prior
        self.by = by
        self.restore_prior = restore_prior
        self.prior_smoothing = prior_smoothing
        self.folds = folds
        if bias_view is None:
            self.refuse("the partner is one like the model itself", prior=None)
        self.check_options()
        if self.from_counts:
            self.refuse("the partner is a prior by counts and does not learn", q=0.7)
        else:
            self.refuse_counts("the partner is a model and nothing is counted")

    @property
    def from_counts(self) -> bool:
        """Whether the partner is a prior by counts."""
        return self.bias_view is not None and not self.from_model

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        require_columns("lff", table, ("answer",))
        if self.from_counts:
            self.count(table)
        self.answers_ = [list(names) for names in sorted({tuple(sorted(names)) for names in table["answer"]})]
        self.answer_code_ = self._answer_codes(table)
        return self

    def keep(self, counts: AnswerCounts) -> None:
        self.views_ = list(map(list, counts.codes.views))
        self.prior_answers_, self.counts_ = counts.answers, counts.entries

    def counts(self) -> AnswerCounts:
        return AnswerCounts(self.codes, self.prior_answers_, self.counts_)

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        found = {ITEM: np.arange(len(table), dtype=np.int64), ANSWER: self._answer_codes(table)}
        return {**found, CODE: self.codes.of(table, self.view_columns(table))} if self.from_counts else found

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("main", trains=("debiased",) if self.from_counts else ("biased", "debiased")),)

    def attach(
        self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator
    ) -> LearningFromFailureObjective:
        biased: Scorer
        if self.from_counts:
            biased = self.counted()
        else:
            biased = new_scorer("same" if self.bias_view is None else "question_only")
        return LearningFromFailureObjective(
            scorer, biased, torch.from_numpy(self.answer_code_), len(self.answers_), self.q, self.smoothing
        )

    def _answer_codes(self, table: pd.DataFrame) -> np.ndarray:
        """(rows,) int64; an answer that training lacked is -1."""
        place = {tuple(names): code for code, names in enumerate(self.answers_)}
        return np.array([place.get(tuple(sorted(names)), -1) for names in table["answer"]], dtype=np.int64)


class LearningFromFailureObjective(Objective):
    """Parts "biased" and "debiased", each stepped once per batch; the latter alone where the biased model is a prior by
    counts. It predicts with the debiased model.

    Args:
        biased: another scorer, a module; or the prior.
        answer_code: (rows,) int64 code of each training row's answer, in [0, answers).
        answers: how many there are.
        q, smoothing: as of :class:`LearningFromFailure`.
    """

    parts: tuple[str, ...] = ("biased", "debiased")
    answer_code: Tensor
    biased_loss: Tensor
    debiased_loss: Tensor

    def __init__(
        self, scorer: Scorer, biased: Scorer, answer_code: Tensor, answers: int, q: float, smoothing: float
    ) -> None:
        super().__init__(scorer)
        self.biased, self.answers, self.q, self.smoothing = biased, answers, q, smoothing
        if isinstance(biased, ViewOffset):
            self.parts = ("debiased",)
        self.register_buffer("answer_code", answer_code)
        self.register_buffer("biased_loss", torch.zeros(len(answer_code)))
        self.register_buffer("debiased_loss", torch.zeros(len(answer_code)))

    def parameters_of(self, part: str) -> Iterator[nn.Parameter]:
        super().parameters_of(part)
        return cast(nn.Module, self.biased if part == "biased" else self.scorer).parameters()

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        """``per_item`` is the cross-entropy of either part, from which :meth:`after_step` learns."""
        if part == "biased":
            scores = self.biased(batch)
            trusted = generalised_cross_entropy(scores, batch, self.q)
            return LossTerms(weighted_mean(trusted, batch), negative_log_likelihood(scores, batch).detach())
        per_item = negative_log_likelihood(self.scorer(batch), batch)
        weight = self.weights()[batch.columns[ITEM]].to(per_item.dtype)
        return LossTerms(weighted_mean(weight * per_item, batch), per_item.detach())

    def weights(self) -> Tensor:
        """(rows,) W of the training rows in [0, 1], from the smoothed losses as they are."""
        b, d = (losses / self._largest(losses)[self.answer_code] for losses in (self.biased_loss, self.debiased_loss))
        return relative_difficulty(b, d)

    def after_step(self, batch: Batch, terms: Mapping[str, LossTerms]) -> None:
        """Rows are written where they are and read by their column, so that a placebo's weights are other rows'."""
        by_counts = "biased" not in terms
        biased = negative_log_likelihood(self.biased(batch), batch) if by_counts else terms["biased"].per_item
        for losses, now in ((self.biased_loss, biased), (self.debiased_loss, terms["debiased"].per_item)):
            new = now.to(losses.dtype)
            losses[batch.rows] = self.smoothing * losses[batch.rows] + (1 - self.smoothing) * new

    def validation_loss(self, batch: Batch) -> Tensor:
        """The debiased model's loss times W of the two losses now, scaled as in training: plainly averaged, it would be
        lowest for a model of the shortcut. An answer that training lacked is not scaled."""
        losses = (negative_log_likelihood(self.biased(batch), batch), negative_log_likelihood(self(batch), batch))
        code = batch.columns[ANSWER]
        scaled = []
        for now, smoothed in zip(losses, (self.biased_loss, self.debiased_loss), strict=True):
            largest = self._largest(smoothed).to(now.dtype)[code.clamp(min=0)]
            scaled.append(now / torch.where(code >= 0, largest, 1.0))
        return relative_difficulty(scaled[0], scaled[1]) * losses[1]

    def _largest(self, losses: Tensor) -> Tensor:
        """(answers,) largest of the rows' losses per answer; one where it is zero."""
        found = torch.zeros(self.answers, dtype=losses.dtype, device=losses.device)
        found = found.scatter_reduce(0, self.answer_code, losses, "amax")
        return torch.where(found > 0, found, 1.0)


def generalised_cross_entropy(scores: Tensor, batch: Batch, q: float) -> Tensor:
    """(batch,) (1 - p^q) / q of the probability p of the truth (Zhang & Sabuncu 2018).

    "one": of the true candidate. "set": of whether a candidate is true, summed over the item's candidates.
    """
    if batch.kind == "one":
        return -torch.expm1(-q * negative_log_likelihood(scores, batch)) / q
    sign = torch.where(batch.answer, 1.0, -1.0).to(scores.dtype)
    log_p = nn.functional.logsigmoid(sign * scores.masked_fill(batch.padding, 0.0))
    return (-torch.expm1(q * log_p) / q).masked_fill(batch.padding, 0.0).sum(-1)


def relative_difficulty(biased: Tensor, debiased: Tensor) -> Tensor:
    """b / (b + d); a half where both are zero (Nam et al. 2020)."""
    total = biased + debiased
    return torch.where(total > 0, biased / torch.where(total > 0, total, 1.0), 0.5)
