"""Just train twice: what a first model gets wrong weighs more in the training of a second.

Liu et al. 2021. A first model is trained for a few epochs; its errors on the training rows are meant to be the rows
that break the shortcut. The model itself is then trained from its start with those rows at ``upweight`` times the
weight of the others. No group is ever named.

What the errors are decides everything. A first model that sees the ECG as well is wrong about rows that break the
shortcut and about rows whose ECG is unclear, the more of the latter the more it has learned; weighing those teaches the
noise. A first model that sees the question alone (``bias_view="question"``) can be wrong about nothing but rows
that its wording does not foretell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import (
    Adjuster,
    Batch,
    Card,
    ContractError,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    Stage,
    negative_log_likelihood,
)

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

#: Column of the rows' own numbers, under which the errors of the first model are looked up.
ITEM = "item"


class JustTrainTwice(Adjuster):
    """Errors of a first model weigh more.

    Args:
        first_epochs: epochs of the first model, at least 1.
        upweight: weight of a row that the first model got wrong, relative to one it got right, at least 1; ``None``
            gives the errors together the weight of all other rows together, or one each where most rows are errors.
        bias_view: "question" = the first model is not shown the ECG; ``None`` = it is one like the model itself.

    Learned: ``rows_``, how many training rows there are.
    """

    card = Card(
        summary="Just train twice: rows that a first, briefly trained model gets wrong weigh more in a second.",
        uses=("objective",),
        bias_view="nothing withheld by default; question",
        extra_passes=(1, 0),
        consistent_when="the first model errs on just those rows that break the shortcut",
        fails_when=(
            "the first model errs for another reason than the shortcut, which does harm even where nothing is "
            "confounded (R8): because the ECG is unclear, so that noise is learned; or, with the question alone as "
            "first model, because there is no shortcut, so that it errs by chance on half of the rows, and of an "
            "upweight of 100 they are all that is learned from. With the question alone the true effect of the topic "
            "is inflated too, as by any weights that depend on the answer (R3)"
        ),
        source="Liu et al. 2021, algorithm 1; the question as first model is ours",
    )

    rows_: int

    def __init__(
        self,
        first_epochs: int = 1,
        upweight: float | None = None,
        bias_view: Literal["question"] | None = None,
    ) -> None:
        if not isinstance(first_epochs, int) or first_epochs < 1:
            raise ContractError(f"jtt's first_epochs must be a whole number, at least 1, not {first_epochs}")
        if upweight is not None and not 1 <= upweight < float("inf"):
            raise ContractError(f"jtt's upweight must be a number, at least 1, or none for balance, not {upweight}")
        if bias_view not in (None, "question"):
            raise ContractError(f"jtt's bias_view must be 'question' or none, not '{bias_view}'")
        self.first_epochs = first_epochs
        self.upweight = upweight
        self.bias_view = bias_view

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        self.rows_ = len(table)
        return self

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        return {ITEM: np.arange(len(table), dtype=np.int64)}

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("identify", trains=("first",), epochs=self.first_epochs),
            Stage("identify validation rows", trains=(), split="validation", epochs=0, wants=("features:wrong",)),
            Stage("train", trains=("main",), wants=("features:wrong",)),
        )

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> JustTrainTwiceObjective:
        first = new_scorer("same" if self.bias_view is None else "question_only")
        return JustTrainTwiceObjective(scorer, first, self.rows_, self.upweight)


class JustTrainTwiceObjective(Objective):
    """Part "first": the first model, plainly. Part "main": the model, with weights. It predicts with the model.

    The first model is one of its own and not the model itself before a restart, so that its errors on validation rows
    are known as well: early stopping is judged by the weighted loss there. Judged plainly, the shortcut would win.

    Args:
        first: another scorer; a module.
        rows: of the training table.
        upweight: as of :class:`JustTrainTwice`.
    """

    parts = ("first", "main")
    row_weight: Tensor
    validation_weight: Tensor
    identified: Tensor

    def __init__(self, scorer: Scorer, first: Scorer, rows: int, upweight: float | None) -> None:
        super().__init__(scorer)
        self.first, self.upweight = first, upweight
        self.register_buffer("row_weight", torch.ones(rows))
        self.register_buffer("validation_weight", torch.ones(0))
        self.register_buffer("identified", torch.zeros((), dtype=torch.bool))

    def parameters_of(self, part: str) -> Iterator[nn.Parameter]:
        super().parameters_of(part)
        return cast(nn.Module, self.first if part == "first" else self.scorer).parameters()

    def wanted(self, batch: Batch, name: str) -> Tensor:
        """ "features:wrong": (batch, 1), 1 where the first model gives another answer than the true one, else 0."""
        if name == "features:wrong":
            return wrong(self.first(batch), batch).to(self.row_weight.dtype)[:, None]
        return super().wanted(batch, name)

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        if "wrong" not in features:
            return
        weight = error_weights(features["wrong"][:, 0] > 0, self.upweight).to(self.row_weight)
        if stage.split == "validation":
            self.validation_weight = weight
        else:
            self.row_weight = weight
            self.identified.fill_(True)

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        if part == "first":
            per_item = negative_log_likelihood(self.first(batch), batch)
            return LossTerms(per_item.mean(), per_item.detach())
        per_item = negative_log_likelihood(self.scorer(batch), batch)
        weight = self.row_weight[batch.columns[ITEM]].to(per_item.dtype)
        return LossTerms((weight * per_item).mean(), per_item.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        """First that of the first model; then the weighted one of the model."""
        if not self.identified:
            return negative_log_likelihood(self.first(batch), batch)
        per_item = negative_log_likelihood(self.scorer(batch), batch)
        return self.validation_weight[batch.columns[ITEM]].to(per_item.dtype) * per_item


def wrong(scores: Tensor, batch: Batch) -> Tensor:
    """(batch,) bool: the most likely candidate is not true ("one"); any candidate is on the wrong side ("set")."""
    if batch.kind == "one":
        given = scores.masked_fill(batch.padding, float("-inf")).argmax(1, keepdim=True)
        return ~batch.answer.gather(1, given)[:, 0]
    return (((scores > 0) != batch.answer) & ~batch.padding).any(1)


def error_weights(errors: Tensor, upweight: float | None) -> Tensor:
    """(rows,) weights of mean one: ``upweight`` for an error, one for any other row, divided by their mean.

    Args:
        errors: (rows,) bool.
        upweight: ``None`` = (right rows) / (wrong rows), at least one.
    """
    share = float(errors.double().mean()) if len(errors) else 0.0
    if upweight is None:
        upweight = max(1.0, (1 - share) / share) if share else 1.0
    weight = torch.where(errors, upweight, 1.0)
    return weight / weight.mean()
