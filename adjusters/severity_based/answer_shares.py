"""log P(answer | severity, topic) by counts: what a severity that is told says of the answer by itself.

A scorer's scores are added to it, so that P(answer | ECG, question, severity) begins where the severity has had its
say. A scorer that is told the severity in words alone has to learn first what they mean, and a wording that nearly
always goes with the severity is as good to it. Where the words are hard to learn from, as for a language model that is
not trained, it learns the wording, and the severity changes next to nothing.

Topics may be many and their rows few. So the shares of a severity within a topic are drawn towards what severity and
topic say apart from one another, as hard as predicts other patients best (empirical Bayes), and while the scorer
learns, a row's are those of other patients than its own (cross-fitting; of two ECGs, than the first's): its own answer
among the counts would tell it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor, nn

from adjusters.batch import KINDS
from adjusters.candidates import candidate_places
from adjusters.contract import Batch

#: How many rows a prior may be worth.
PSEUDO_ROWS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


def answer_scores(counts: np.ndarray, topics: int, levels: int, folds: int, answers: int) -> np.ndarray:
    """(kinds, topics + 1, levels, folds + 1, answers + 1) float64: log-shares less their mean over the topic's answers
    ("one"), or log-odds ("set").

    ``counts`` are by kind, topic, level and fold, see :func:`adjusters.candidates.count_candidates`. With n rows in
    which a is a candidate and t in which it is true, all of other folds than the given one:

        P(a)        = (t + 1/2) / (n + 1)                                of all rows
        P(a | s)    = (t + P(a)) / (n + 1)                               of the rows of severity s
        P(a | T)    = (t + m P(a)) / (n + m)                             of the rows of topic T
        prior       : logit P(a | T) + logit P(a | s) - logit P(a)
        P(a | s, T) = (t + m prior) / (n + m)                            of the rows of both

    where the last two are at least 1 / (2 n + 2) away from 0 and 1, with n of all rows. m is that of
    :data:`PSEUDO_ROWS` under which the left-out folds are likeliest. The last topic is for one that is unknown, and has
    P(a | s); the last fold leaves none out. The last answer, and one that the topic lacks, have zero: the mean of
    "one", and no opinion of "set".
    """
    true, asked = np.zeros((2, len(KINDS), max(topics, 1), levels, folds, answers + 1))
    kind, topic, level, fold, answer, t, n = counts.T
    np.add.at(true, (kind, topic, level, fold, answer), t)
    np.add.at(asked, (kind, topic, level, fold, answer), n)
    rest_true, rest_asked = (
        np.concatenate([c.sum(3, keepdims=True) - c, c.sum(3, keepdims=True)], axis=3) for c in (true, asked)
    )

    def likelihood(m: float) -> float:
        share = _shares(rest_true, rest_asked, m)[1][:, :, :, :folds]
        return float(np.sum(true * np.log(share) + (asked - true) * np.log1p(-share)))

    # Without topics a severity's own share is all there is.
    of_level, of_both = _shares(rest_true, rest_asked, max(PSEUDO_ROWS, key=likelihood) if topics else 1.0)
    share = np.concatenate([of_both[:, :topics], of_level], axis=1)
    rows = asked.sum((2, 3), keepdims=True)
    there = np.broadcast_to(np.concatenate([rows[:, :topics], rows.sum(1, keepdims=True)], axis=1) > 0, share.shape)
    log_share = np.log(share)
    mean = np.sum(log_share, axis=-1, keepdims=True, where=there) / np.maximum(there.sum(-1, keepdims=True), 1)
    one = (np.array(KINDS) == "one").reshape(-1, 1, 1, 1, 1)
    found: np.ndarray = np.where(there, log_share - np.where(one, mean, np.log1p(-share)), 0.0)
    return found


def _shares(true: np.ndarray, asked: np.ndarray, m: float) -> tuple[np.ndarray, np.ndarray]:
    """P(a | s), (kinds, 1, levels, folds + 1, answers + 1), and P(a | s, T), of counts (kinds, topics, levels, ...)."""
    of_all = (true.sum((1, 2), keepdims=True) + 0.5) / (asked.sum((1, 2), keepdims=True) + 1)
    of_level = (true.sum(1, keepdims=True) + of_all) / (asked.sum(1, keepdims=True) + 1)
    of_topic = (true.sum(2, keepdims=True) + m * of_all) / (asked.sum(2, keepdims=True) + m)
    # The same rows, thrice, must not make a certainty that all rows together would not.
    least = 0.5 / (asked.sum((1, 2), keepdims=True) + 1)
    prior = np.clip(expit(logit(of_topic) + logit(of_level) - logit(of_all)), least, 1 - least)
    return of_level, np.clip((true + m * prior) / (asked + m), least, 1 - least)


class AnswerShares(nn.Module):
    """What is added to a scorer's scores where a severity is told.

    Args:
        scores: as :func:`answer_scores` gives them.
        answers: the texts that all but the last place of its last axis stand for.
    """

    table: Tensor

    def __init__(self, scores: np.ndarray, answers: Sequence[str]) -> None:
        super().__init__()
        self.place = {name: i for i, name in enumerate(answers)}
        self.register_buffer("table", torch.as_tensor(scores, dtype=torch.float32), persistent=False)

    def forward(self, batch: Batch, topic: Tensor, level: Tensor, fold: Tensor | None = None) -> Tensor:
        """(batch, candidates), of (batch,) int64 topic, level and fold to leave out (``None`` = none); zero at
        padding."""
        at = candidate_places(batch, self.place)
        left_out = torch.full_like(level, -1) if fold is None else fold
        kind = KINDS.index(batch.kind)
        found = self.table[kind, topic.unsqueeze(1), level.unsqueeze(1), left_out.unsqueeze(1), at]
        return found.masked_fill(batch.padding, 0.0)
