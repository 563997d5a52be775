"""log P(answer | severity, topic) by counts: what a severity that is told says of the answer by itself.

A scorer's scores are added to it, so that P(answer | ECG, question, severity) begins where the severity has had its
say. A scorer that is told the severity in words alone has to learn first what they mean, and a wording that nearly
always goes with the severity is as good to it. Where the words are hard to learn from, as for a language model that is
not trained, it learns the wording, and the severity changes next to nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.batch import KINDS
from adjusters.candidates import candidate_places
from adjusters.contract import Batch

if TYPE_CHECKING:
    import pandas as pd


def count_answers(table: pd.DataFrame, level: np.ndarray, topic: np.ndarray, answers: Sequence[str]) -> np.ndarray:
    """(cells, 6) int64: kind, topic, level, answer, rows in which it was true, rows in which it was a candidate.

    Args:
        table: with the columns kind, candidates and answer.
        level, topic: (rows,) int64 codes.
        answers: the texts that the codes of answers stand for.
    """
    place = {name: i for i, name in enumerate(answers)}
    true: Counter[tuple[int, ...]] = Counter()
    asked: Counter[tuple[int, ...]] = Counter()
    rows = zip(table["kind"], topic.tolist(), level.tolist(), table["candidates"], table["answer"], strict=True)
    for kind, t, s, candidates, answer in rows:
        cell = (KINDS.index(kind), t, s)
        asked.update((*cell, place[name]) for name in candidates)
        true.update((*cell, place[name]) for name in set(answer))
    return np.array([(*cell, true[cell], asked[cell]) for cell in sorted(asked)], dtype=np.int64).reshape(-1, 6)


def answer_scores(counts: np.ndarray, topics: int, levels: int, answers: int) -> np.ndarray:
    """(kinds, topics + 1, levels, answers + 1) float64 log-shares less their mean ("one"), or log-odds ("set").

    With n the rows in which a is a candidate and t those in which it is true:

        P(a | T)    = (t + 1/2) / (n + 1)            over all levels
        P(a | s, T) = (t + P(a | T)) / (n + 1)

    The last topic is all topics together, for one that is unknown. The last answer, and one that a topic lacks, have
    zero: the mean of "one", and no opinion of "set".
    """
    true, asked = np.zeros((2, len(KINDS), topics + 1, levels, answers + 1))
    kind, topic, level, answer, t, n = counts.T
    for of_topic in range(topics + 1):
        at = (topic == of_topic) | (of_topic == topics)
        np.add.at(true[:, of_topic], (kind[at], level[at], answer[at]), t[at])
        np.add.at(asked[:, of_topic], (kind[at], level[at], answer[at]), n[at])
    rows = asked.sum(2, keepdims=True)
    share = (true + (true.sum(2, keepdims=True) + 0.5) / (rows + 1)) / (asked + 1)
    there = np.broadcast_to(rows > 0, share.shape)
    log_share = np.log(share)
    mean = np.sum(log_share, axis=-1, keepdims=True, where=there) / np.maximum(there.sum(-1, keepdims=True), 1)
    one = (np.array(KINDS) == "one").reshape(-1, 1, 1, 1)
    found: np.ndarray = np.where(there, log_share - np.where(one, mean, np.log1p(-share)), 0.0)
    return found


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

    def forward(self, batch: Batch, topic: Tensor, level: Tensor) -> Tensor:
        """(batch, candidates), of (batch,) int64 topic and level; zero at padding."""
        at = candidate_places(batch, self.place)
        found = self.table[KINDS.index(batch.kind), topic.unsqueeze(1), level.unsqueeze(1), at]
        return found.masked_fill(batch.padding, 0.0)
