"""log P(answer | view of the question) for the candidates of a batch, out of a table that is kept.

Where the prior is a model's, that is filled once per question: a prior never changes while the scorer learns beside it,
so the scorer's training needs no further pass of a language model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.candidates import candidate_places, normalised
from adjusters.contract import Batch, Scorer
from adjusters.shortcut_model.bias_view import CODE


class AnswerPrior(nn.Module):
    """A table of log-probabilities ("one") or log-odds ("set").

    Args:
        table: (codes, answers + 1); the last column is for candidates that are none of ``answers``.
        answers: the texts that the other columns stand for.
    """

    table: Tensor

    def __init__(self, table: np.ndarray, answers: Sequence[str]) -> None:
        super().__init__()
        self.place = {name: i for i, name in enumerate(answers)}
        self.register_buffer("table", torch.as_tensor(table, dtype=torch.float32), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """(batch, candidates) log-probabilities over the item's candidates ("one") or log-odds ("set"), by the batch's
        column of codes; zero at padding, so that it can be added to scores."""
        found = self.table[batch.columns[CODE].unsqueeze(1), self.positions(batch)]
        return normalised(found, batch)

    def positions(self, batch: Batch) -> Tensor:
        """(batch, candidates) int64 column of each candidate; that of strangers at padding."""
        return candidate_places(batch, self.place)


class ViewOffset(nn.Module):
    """What a view tells of the answer: log P(answer | view, topic), less log P(answer | topic) where that is given."""

    def __init__(self, given_view: AnswerPrior, given_topic: AnswerPrior | None) -> None:
        super().__init__()
        self.given_view = given_view
        self.given_topic = given_topic

    def forward(self, batch: Batch) -> Tensor:
        """(batch, candidates) differences of log-probabilities ("one") or log-odds ("set"); zero at padding."""
        found = self.given_view(batch)
        return found if self.given_topic is None else found - self.given_topic(batch)


class QuestionPrior(nn.Module):
    """What a scorer says that is shown the question alone: not the ECG, nor what stands before the question.

    The question is that of the batch's code; questions and candidates that a batch has several times are scored once.

    Args:
        scorer: a "question_only" one.
        texts: (codes,) the question behind each code, ``None`` = not known.
        fallback: (codes, answers + 1) what is said where the question is not known.
        answers: see :class:`AnswerPrior`.
    """

    cached: Tensor
    known: Tensor

    def __init__(
        self, scorer: Scorer, texts: Sequence[str | None], fallback: np.ndarray, answers: Sequence[str]
    ) -> None:
        super().__init__()
        self.scorer = scorer
        self.texts = tuple(texts)
        self.place = {name: i for i, name in enumerate(answers)}
        self.register_buffer("cached", torch.as_tensor(fallback, dtype=torch.float32))
        self.register_buffer("known", torch.zeros(fallback.shape, dtype=torch.bool))
        self.forget()

    def forget(self) -> None:
        """To be called when the scorer has changed: all but the fallback is to be scored again."""
        unknown = torch.tensor([text is None for text in self.texts], device=self.known.device)
        self.known.copy_(unknown.unsqueeze(1).expand_as(self.known))

    def scores(self, batch: Batch) -> Tensor:
        """(batch, candidates) the scorer's scores, differentiable."""
        return scored_once(self.scorer, as_dealt(batch, self.texts))

    def forward(self, batch: Batch) -> Tensor:
        """As :meth:`AnswerPrior.forward`; without gradient. Scores what has not been scored yet, and keeps it."""
        code, at = batch.columns[CODE].unsqueeze(1), candidate_places(batch, self.place)
        new = (~self.known[code, at] & ~batch.padding).any(1)
        found = self.cached[code, at]
        if new.any():
            found = found.clone()
            rows = torch.nonzero(new).squeeze(1)
            part = batch.select(rows)
            scores = self._without_learning(part).to(found.dtype)
            found[rows] = scores
            there = ~part.padding & (at[rows] < len(self.place))
            codes = code[rows].expand_as(scores)
            self.cached[codes[there], at[rows][there]] = scores[there]
            self.known[codes[there], at[rows][there]] = True
        return normalised(found, batch)

    def _without_learning(self, batch: Batch) -> Tensor:
        scorer, learning = self.scorer, self.training
        if isinstance(scorer, nn.Module):
            scorer.eval()
        with torch.no_grad():
            found = self.scores(batch)
        if isinstance(scorer, nn.Module):
            scorer.train(learning)
        return found


def as_dealt(batch: Batch, texts: Sequence[str | None]) -> Batch:
    """The batch asked the questions behind its codes, with nothing before them."""
    asked = tuple(texts[code] for code in batch.columns[CODE].tolist())
    return batch.replace(question=asked, metadata=(), topic=())


def scored_once(scorer: Scorer, batch: Batch) -> Tensor:
    """(batch, candidates) scores by a scorer that is shown the question alone, to whom items of the same question and
    candidates are the same: each is scored once."""
    place: dict[tuple[str | None, tuple[str, ...]], int] = {}
    first: list[int] = []
    at = []
    for row, key in enumerate(zip(batch.question, batch.candidates, strict=True)):
        if key not in place:
            place[key] = len(first)
            first.append(row)
        at.append(place[key])
    found = scorer(batch.select(first))
    return found[torch.tensor(at, device=found.device)]
