"""What ReBias trains: a model that is penalised for its dependence on something biased; see :mod:`.rebias`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from adjusters.contract import (
    Batch,
    LossTerms,
    Objective,
    Scorer,
    negative_log_likelihood,
    scores_and_features,
    weighted_mean,
)
from adjusters.shortcut_model.bias_view import CODE
from adjusters.shortcut_model.hsic import Measure, dependence

Given = Literal["nothing", "answer", "answer_and_topic"]
Layer = Literal["scores", "fused"]
#: Column: position of the row's question among those of training, -1 for another.
QUESTION = "question_code"


@dataclass(frozen=True)
class Penalty:
    """Options of :class:`~.rebias.ReBias`; ``measure`` is its ``dependence``."""

    strength: float
    measure: Measure
    given: Given
    layer: Layer
    rows: int


class IndependenceObjective(Objective):
    """Part "f": the model, penalised for its dependence on what a subclass says is biased. It predicts with f."""

    parts: tuple[str, ...] = ("f",)
    per_item = False
    drawn: Tensor

    def __init__(self, scorer: Scorer, how: Penalty) -> None:
        super().__init__(scorer)
        self.strength, self.measure, self.given = how.strength, how.measure, how.given
        self.layer, self.rows = how.layer, how.rows
        #: How many rows dependences were measured on so far: a loss that is always seeded alike must not always draw
        #: the same rows.
        self.register_buffer("drawn", torch.zeros((), dtype=torch.long))

    def biased(self, batch: Batch) -> Tensor:
        """(batch, dim) features that the model's are to be independent of."""
        raise NotImplementedError

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        at = self._some_rows(len(batch))
        scores, f = self._seen(self.scorer, batch)
        with torch.no_grad():
            g = self.biased(batch)
        return self._terms(scores, 1.0, f, g, batch, at)

    def after_step(self, batch: Batch, terms: Mapping[str, LossTerms]) -> None:
        self.drawn += self.rows

    def validation_loss(self, batch: Batch) -> Tensor:
        """f's own loss, dependence included: each row's likelihood, and what the batch's first rows depend alike."""
        scores, f = self._seen(self.scorer, batch)
        g = self.biased(batch)
        at = torch.arange(min(len(batch), self.rows), device=batch.rows.device)
        return negative_log_likelihood(scores, batch) + self.strength * self._dependence(f, g, batch, at)

    def _terms(self, scores: Tensor, sign: float, f: Tensor, g: Tensor, batch: Batch, at: Tensor) -> LossTerms:
        """The loss of scores, and ``sign`` times the penalty for the dependence of f and g."""
        found = self._dependence(f, g, batch, at)
        per_item = negative_log_likelihood(scores, batch)
        return LossTerms(weighted_mean(per_item, batch) + sign * self.strength * found, per_item.detach())

    def _dependence(self, f: Tensor, g: Tensor, batch: Batch, at: Tensor) -> Tensor:
        """() of the rows at these positions."""
        return dependence(f[at], g[at].to(f.dtype), self._classes(batch, at), self.measure)

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


class ReBiasObjective(IndependenceObjective):
    """Parts "g" (a partner) and "f" (the model), in this order.

    Args:
        partner: another scorer; a module. It is never shown an ECG.
        questions: texts by the codes of the column ``question_code``.
    """

    parts = ("g", "f")

    def __init__(self, scorer: Scorer, partner: Scorer, questions: Sequence[str], how: Penalty) -> None:
        super().__init__(scorer, how)
        self.partner, self.questions = partner, tuple(questions)

    def parameters_of(self, part: str) -> Iterator[nn.Parameter]:
        super().parameters_of(part)
        return cast(nn.Module, self.partner if part == "g" else self.scorer).parameters()

    def biased(self, batch: Batch) -> Tensor:
        return self._seen(self.partner, self._asked(batch))[1]

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        if part == "f":
            return super().loss(batch, part, progress=progress)
        at = self._some_rows(len(batch))
        with torch.no_grad():
            _, f = self._seen(self.scorer, batch)
        scores, g = self._seen(self.partner, self._asked(batch))
        return self._terms(scores, -1.0, f, g, batch, at)

    def _asked(self, batch: Batch) -> Batch:
        """The batch as the partner sees it: no ECG, no metadata, the question of the column's code."""
        codes = batch.columns[QUESTION].tolist()
        asked = [self.questions[c] if c >= 0 else own for c, own in zip(codes, batch.question, strict=True)]
        return batch.without_ecg().replace(question=tuple(asked), metadata=())


class ViewReBiasObjective(IndependenceObjective):
    """Part "f" alone: the biased features are the one-hot code of a view. ``places``: how many codes there are."""

    def __init__(self, scorer: Scorer, places: int, how: Penalty) -> None:
        super().__init__(scorer, how)
        self.places = places

    def biased(self, batch: Batch) -> Tensor:
        return nn.functional.one_hot(batch.columns[CODE], self.places).float()


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
