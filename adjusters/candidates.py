"""An item's candidate answers: how often each was true, where each stands in a table, and what is added to scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from adjusters.contract import Batch, log_probabilities

if TYPE_CHECKING:
    import pandas as pd


def count_candidates(table: pd.DataFrame, codes: np.ndarray, answers: Sequence[str]) -> np.ndarray:
    """(cells, k + 3) int64, sorted: the k codes of a cell, an answer, rows in which it was true, rows in which it was a
    candidate.

    Args:
        table: with the columns ``candidates`` and ``answer``.
        codes: (rows, k) int64, the cell of each row.
        answers: the texts that the codes of answers stand for.
    """
    place = {name: i for i, name in enumerate(answers)}
    true: Counter[tuple[int, ...]] = Counter()
    asked: Counter[tuple[int, ...]] = Counter()
    for cell, names, answer in zip(codes.tolist(), table["candidates"], table["answer"], strict=True):
        asked.update((*cell, place[name]) for name in names)
        true.update((*cell, place[name]) for name in names if name in set(answer))
    found = [(*cell, true[cell], asked[cell]) for cell in sorted(asked)]
    return np.array(found, dtype=np.int64).reshape(-1, codes.shape[1] + 3)


def candidate_places(batch: Batch, place: dict[str, int]) -> Tensor:
    """(batch, candidates) int64 place of each candidate's text, ``len(place)`` where it has none and at padding."""
    width, other = batch.candidate_ids.shape[1], len(place)
    row = {
        names: [place.get(name, other) for name in names] + [other] * (width - len(names))
        for names in set(batch.candidates)
    }
    return torch.tensor([row[names] for names in batch.candidates], device=batch.candidate_ids.device)


def normalised(scores: Tensor, batch: Batch) -> Tensor:
    """Scores as log-probabilities over the item's candidates ("one"); as they are ("set"). Zero at padding."""
    found = log_probabilities(scores, batch) if batch.kind == "one" else scores
    return found.masked_fill(batch.padding, 0.0)


def centred(scores: Tensor, batch: Batch) -> Tensor:
    """Scores less their mean over the item's candidates ("one"), or as they are ("set"). Zero at padding."""
    filled = scores.masked_fill(batch.padding, 0.0)
    if batch.kind == "set":
        return filled
    count = (~batch.padding).sum(1, keepdim=True)
    return (filled - filled.sum(1, keepdim=True) / count).masked_fill(batch.padding, 0.0)


def added(scores: Tensor, offset: Tensor, batch: Batch) -> Tensor:
    """Scores plus an offset; -inf at padding."""
    filled = scores.masked_fill(batch.padding, 0.0) + offset.to(scores.dtype)
    return filled.masked_fill(batch.padding, float("-inf"))
