"""What the tests of data-side strategies share: equations of tests/oracle by name, and a scorer of fixed numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.contract import Batch


class FixedScores(nn.Module):
    """(ecgs + 1, candidates) float64 numbers, the last row for no ECG; an item's are those of its ECG."""

    def __init__(self, ecgs: int, candidates: int, seed: int = 0) -> None:
        super().__init__()
        numbers = np.random.default_rng(seed).standard_normal((ecgs + 1, candidates)) * 2
        self.numbers = nn.Parameter(torch.from_numpy(numbers))

    def forward(self, batch: Batch) -> torch.Tensor:
        scores = self.numbers[batch.columns["ecg_row"][:, 0]][:, : batch.candidate_ids.shape[1]]
        return scores.masked_fill(batch.padding, float("-inf"))


@pytest.fixture
def fixed_scores() -> type[FixedScores]:
    return FixedScores
