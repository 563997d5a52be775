"""Independence of a biased partner: what the model says must not depend on what a model of the question alone says.

Bahng et al. 2020 (ReBias). Beside the model f learns a partner g that is held back by what it can see: here it is never
shown an ECG (in the paper it has a small receptive field). In turn

    g:  min  L(g) - strength * D(f, g)          g follows f as far as the question goes
    f:  min  L(f) + strength * D(f, g)          f sheds what the question alone could have said

with L the negative log-likelihood and D a dependence of their features on some rows of the batch
(:mod:`adjusters.shortcut_model.hsic`). What an unconditional D takes away is all that the question says, and so what
is right in it too. Within answers, D vanishes for a model of the ECG where ECG and wording are independent given the
answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import (
    Adjuster,
    Batch,
    Card,
    ContractError,
    HasFeatures,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    Stage,
    negative_log_likelihood,
    scores_and_features,
    weighted_mean,
)
from adjusters.shortcut_model.hsic import FEWEST, Measure, dependence

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

Given = Literal["nothing", "answer", "answer_and_topic"]
Layer = Literal["scores", "fused"]
#: Column: position of the row's question among those of training, -1 for another.
QUESTION = "question_code"


class ReBias(Adjuster):
    """Independence of a partner that sees the question alone.

    Args:
        strength: weight of the dependence in both losses, above 0. The paper's 1 has hardly an effect
            where one row in a hundred breaks the shortcut.
        dependence: "hsic" (the paper), or "cka", which is HSIC relative to how much either varies.
        given: within what the dependence is measured: "nothing" (the paper), "answer", "answer_and_topic".
        layer: what is to be independent: "scores" over the candidates, which works with any scorer, or the "fused"
            features (the paper); where those are not learned, their dependence cannot change.
        rows: how many rows of a batch a dependence is measured on, at least 4. Its cost is their square.

    The partner is asked by the column ``question_code`` with the training question of that code, and a row of another
    question with its own. Learned: ``questions_``, the distinct training questions.
    """

    card = Card(
        summary="ReBias: scores independent of those of a partner that sees the question alone.",
        uses=("objective",),
        bias_view="question",
        extra_passes=(3, 0),
        consistent_when="ECG and wording are independent given what is conditioned on",
        fails_when=(
            "few rows break the shortcut: the dependence that is left to be measured within answers falls with the "
            "square of their share, and a batch may hold none of them; where the topic settles answers, ECG and words "
            "depend on each other even given both, and what the ECG tells is shed as well (R3); given the answer "
            "alone, or nothing, the topic's true effect too"
        ),
        source="Bahng, Chun, Yun, Choo & Oh 2020; HSIC_1 of Song et al. 2012; conditioning is ours",
    )

    questions_: list[str]

    def __init__(
        self,
        strength: float = 100.0,
        dependence: Measure = "cka",
        given: Given = "answer_and_topic",
        layer: Layer = "scores",
        rows: int = 128,
    ) -> None:
        if not 0 < strength < float("inf"):
            raise ContractError(f"rebias's strength must be a number above 0, not {strength}")
        for option, value, choices in (
            ("dependence", dependence, ("hsic", "cka")),
            ("given", given, ("nothing", "answer", "answer_and_topic")),
            ("layer", layer, ("scores", "fused")),
        ):
            if value not in choices:
                raise ContractError(
                    f"rebias's {option} must be {', '.join(choices[:-1])} or {choices[-1]}, not {value}"
                )
        if not isinstance(rows, int) or rows < FEWEST:
            raise ContractError(f"rebias's rows must be a whole number, at least {FEWEST}, not {rows}")
        self.strength = strength
        self.dependence = dependence
        self.given = given
        self.layer = layer
        self.rows = rows

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        if "question" not in table.columns:
            raise ContractError("rebias needs the column 'question', which the table lacks")
        self.questions_ = sorted({str(question) for question in table["question"]})
        return self

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        place = {question: code for code, question in enumerate(self.questions_)}
        return {QUESTION: np.array([place.get(str(question), -1) for question in table["question"]], dtype=np.int64)}

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("main", trains=("g", "f")),)

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> ReBiasObjective:
        if self.layer == "fused" and not isinstance(scorer, HasFeatures):
            raise ContractError(f"rebias's layer 'fused' needs features, which {type(scorer).__name__} lacks")
        return ReBiasObjective(
            scorer,
            new_scorer("same"),
            self.questions_,
            strength=self.strength,
            measure=self.dependence,
            given=self.given,
            layer=self.layer,
            rows=self.rows,
        )


class ReBiasObjective(Objective):
    """Parts "g" (the partner) and "f" (the model), in this order. It predicts with f.

    Args:
        partner: another scorer; a module. It is never shown an ECG.
        questions: texts by the codes of the column ``question_code``.
        strength, measure, given, layer, rows: as of :class:`ReBias`.
    """

    parts = ("g", "f")
    per_item = False
    drawn: Tensor

    def __init__(
        self,
        scorer: Scorer,
        partner: Scorer,
        questions: Sequence[str],
        *,
        strength: float,
        measure: Measure,
        given: Given,
        layer: Layer,
        rows: int,
    ) -> None:
        super().__init__(scorer)
        self.partner, self.questions = partner, tuple(questions)
        self.strength, self.measure, self.given, self.layer, self.rows = strength, measure, given, layer, rows
        #: How many rows dependences were measured on so far: a loss that is always seeded alike must not always draw
        #: the same rows.
        self.register_buffer("drawn", torch.zeros((), dtype=torch.long))

    def parameters_of(self, part: str) -> Iterator[nn.Parameter]:
        super().parameters_of(part)
        return cast(nn.Module, self.partner if part == "g" else self.scorer).parameters()

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        at = self._some_rows(len(batch))
        with torch.set_grad_enabled(part == "f"):
            scores, f = self._seen(self.scorer, batch)
        with torch.set_grad_enabled(part == "g"):
            partner_scores, g = self._seen(self.partner, self._asked(batch))
        found = dependence(f[at], g[at], self._classes(batch, at), self.measure)
        sign, learning = (-1.0, partner_scores) if part == "g" else (1.0, scores)
        per_item = negative_log_likelihood(learning, batch)
        return LossTerms(weighted_mean(per_item, batch) + sign * self.strength * found, per_item.detach())

    def after_step(self, batch: Batch, terms: Mapping[str, LossTerms]) -> None:
        self.drawn += self.rows

    def validation_loss(self, batch: Batch) -> Tensor:
        """f's own loss, dependence included: each row's likelihood, and what the batch's first rows depend alike."""
        scores, f = self._seen(self.scorer, batch)
        _, g = self._seen(self.partner, self._asked(batch))
        at = torch.arange(min(len(batch), self.rows), device=batch.rows.device)
        found = dependence(f[at], g[at], self._classes(batch, at), self.measure)
        return negative_log_likelihood(scores, batch) + self.strength * found

    def _asked(self, batch: Batch) -> Batch:
        """The batch as the partner sees it: no ECG, no metadata, the question of the column's code."""
        codes = batch.columns[QUESTION].tolist()
        asked = [self.questions[c] if c >= 0 else own for c, own in zip(codes, batch.question, strict=True)]
        return batch.without_ecg().replace(question=tuple(asked), metadata=())

    def _seen(self, scorer: Scorer, batch: Batch) -> tuple[Tensor, Tensor]:
        """(batch, candidates) scores and (batch, dim) features of one model."""
        if self.layer == "scores":
            scores = scorer(batch)
            return scores, score_features(scores, batch)
        return scores_and_features(scorer, batch, "fused")

    def _some_rows(self, n: int) -> Tensor:
        """(rows,) positions: the next ones of a random order of the batch, from torch's global generator."""
        order = torch.randperm(n).to(self.drawn.device)
        return order[(self.drawn + torch.arange(min(n, self.rows), device=self.drawn.device)) % n]

    def _classes(self, batch: Batch, at: Tensor) -> Tensor:
        """(rows,) int64 code of what the dependence is measured within, of the rows at these positions."""
        if self.given == "nothing":
            return torch.zeros_like(at)
        where, names, _ = by_answer(batch)
        true = torch.zeros(len(at), names + 1, dtype=torch.long, device=at.device)
        true.scatter_(1, where[at], batch.answer[at].long())
        true[:, names] = 0
        if self.given == "answer_and_topic" and batch.topic:
            place: dict[str, int] = {}
            topics = [place.setdefault(batch.topic[i], len(place)) for i in at.tolist()]
            true[:, names] = torch.tensor(topics, device=at.device)
        return true.unique(dim=0, return_inverse=True)[1]


def score_features(scores: Tensor, batch: Batch) -> Tensor:
    """(batch, answers) scores under the answers that occur in the batch; zero for those that are not candidates.

    "one": less the mean of the item's candidates, as its scores need not be normalised. "set": the log-odds.
    """
    rows, names, there = by_answer(batch)
    known = scores.masked_fill(batch.padding, 0.0)
    if batch.kind == "one":
        known = (known - known.sum(1, keepdim=True) / there.sum(1, keepdim=True)).masked_fill(batch.padding, 0.0)
    return scores.new_zeros(len(batch), names + 1).scatter(1, rows, known)[:, :names]


def by_answer(batch: Batch) -> tuple[Tensor, int, Tensor]:
    """(batch, candidates) position of each candidate among the batch's answers, how many answers there are (which is
    the position of padding), and (batch, candidates) bool whether there is a candidate."""
    there = ~batch.padding
    ids, position = batch.candidate_ids.unique(return_inverse=True)
    padded = int((ids < 0).sum())
    names = len(ids) - padded
    return torch.where(there, position - padded, names), names, there
