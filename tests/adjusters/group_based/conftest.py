"""What the tests of group-based strategies share: equations of tests/oracle by name, and items with fixed scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.contract import Batch


class FixedScores(nn.Module):
    """(rows, candidates) float64 numbers; an item's are those of its row."""

    def __init__(self, rows: int, candidates: int, seed: int = 0) -> None:
        super().__init__()
        numbers = np.random.default_rng(seed).standard_normal((rows, candidates)) * 2
        self.numbers = nn.Parameter(torch.from_numpy(numbers))

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.numbers[batch.rows].masked_fill(batch.padding, float("-inf"))


def items(kind: str, n: int = 24, columns: dict[str, torch.Tensor] | None = None, seed: int = 1) -> Batch:
    """Items with two or three of the answers a, b, c (the rest is padding), one of them true, or in sets any."""
    draw = np.random.default_rng(seed)
    width = draw.integers(2, 4, n)
    ids = np.where(np.arange(3) < width[:, None], np.arange(3), -1)
    answer = draw.random((n, 3)) < 0.5 if kind == "set" else np.arange(3) == draw.integers(0, width)[:, None]
    return Batch(
        rows=torch.arange(n), ecg=torch.zeros(n, 2, 1, 4), ecg_present=torch.ones(n, 2, dtype=torch.bool),
        question=("?",) * n, candidates=tuple(tuple("abc"[:w]) for w in width), candidate_ids=torch.from_numpy(ids),
        answer=torch.from_numpy(answer & (ids >= 0)), kind=kind, columns=columns or {},
    )  # fmt: skip


@pytest.fixture
def fixed_items() -> Callable[..., Batch]:
    return items


@pytest.fixture
def fixed_scores() -> type[FixedScores]:
    return FixedScores
