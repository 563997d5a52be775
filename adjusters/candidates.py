"""Scores of an item's candidate answers: where each stands in a table, and what is added to them."""

from __future__ import annotations

import torch
from torch import Tensor

from adjusters.contract import Batch, log_probabilities


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
