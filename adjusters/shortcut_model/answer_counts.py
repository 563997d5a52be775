"""How often each answer was true under each view of the question, and the probabilities that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adjusters.candidates import count_candidates
from adjusters.shortcut_model.bias_view import Codes, ViewColumns

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AnswerCounts:
    """Counts of a training table.

    Attributes:
        codes: of the views.
        answers: every candidate of the table, sorted; a position in it stands for the text.
        entries: (cells, 5) int64: view, fold, position, rows in which that candidate was true, rows in which it was a
            candidate.
    """

    codes: Codes
    answers: list[str]
    entries: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame, columns: ViewColumns, codes: Codes) -> AnswerCounts:
        answers = sorted({name for names in table["candidates"] for name in names})
        cell = np.stack([codes.places_of(table, columns), codes.folds_of(table)], axis=1)
        return cls(codes, answers, count_candidates(table, cell, answers))

    def tables(self, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
        """Priors given the view, and given the topic alone: each (codes, answers + 1) float64.

        A row of kind "set" holds log-odds, of any other kind log-probabilities; the last column is that of a candidate
        which training lacked. With n the rows of other folds than the code's (of all, where there is one fold), a of
        them with the answer, and m the smoothing:

            P(a | topic) = (n_a + m / K) / (n + m)           K answers of the topic; for "set" K is 2
            P(a | view)  = (n_a + m P(a | topic)) / (n + m)

        where "set" counts in n only rows in which a is a candidate. A view that training lacked has its topic's prior.
        """
        views, topics, folds = self.codes.views, self.codes.topics, self.codes.folds
        true, asked = self._of_other_folds()
        topic_of = np.array([topics.index((kind, topic)) for kind, topic, _ in views])
        true_t, asked_t = np.zeros((2, len(topics), *true.shape[1:]))
        np.add.at(true_t, topic_of, true)
        np.add.at(asked_t, topic_of, asked)
        one_t = np.array([kind != "set" for kind, _ in topics])[:, None, None]
        one = one_t[topic_of]
        candidates = np.maximum((asked_t > 0).any(1, keepdims=True).sum(2, keepdims=True), 1)
        rows_t = np.where(one_t, true_t.sum(2, keepdims=True), asked_t)
        given_topic = (true_t + smoothing / np.where(one_t, candidates, 2)) / (rows_t + smoothing)
        rows = np.where(one, true.sum(2, keepdims=True), asked)
        given_view = (true + smoothing * given_topic[topic_of]) / (rows + smoothing)
        priors = []
        for of_views in (given_view, given_topic[topic_of]):
            share = np.concatenate([of_views, given_topic])
            with np.errstate(divide="ignore", invalid="ignore"):
                score = np.where(np.concatenate([one, one_t]), np.log(share), np.log(share) - np.log1p(-share))
            score = np.concatenate([score, np.zeros((1, *score.shape[1:]))])
            priors.append(score.reshape(self.codes.places * folds, -1))
        return priors[0], priors[1]

    def _of_other_folds(self) -> tuple[np.ndarray, np.ndarray]:
        """(views, folds, answers + 1) float64: rows in which the answer was true, and in which it was a candidate."""
        view, fold, position, true, asked = self.entries.T
        found = []
        for rows in (true, asked):
            counts = np.zeros((len(self.codes.views), self.codes.folds, len(self.answers) + 1))
            counts[view, fold, position] = rows
            found.append(counts.sum(1, keepdims=True) - counts if self.codes.folds > 1 else counts)
        return found[0], found[1]
