from __future__ import annotations

import numpy as np
import pytest
import torch

from adjusters.contract import Batch
from causalecg.models.composite import EncoderProjectorLLM
from causalecg.models.config import ModelConfig
from causalecg.models.pretrained import build_model

TEXTS = ["Does this ECG show atrial fibrillation?", "Is it normal?", " yes", " no", " not sure", "Severity: low."]


@pytest.fixture
def model() -> EncoderProjectorLLM:
    return build_model(ModelConfig(), texts=TEXTS, leads=12, seed=0).eval()


@pytest.fixture
def batch() -> Batch:
    """Five items: one ECG, two ECGs, none; a withheld question; two and three candidates."""
    rng = np.random.default_rng(0)
    present = torch.tensor([[True, False], [True, True], [False, False], [True, False], [True, True]])
    ecg = torch.from_numpy(rng.standard_normal((5, 2, 12, 200)).astype(np.float32) * 0.3)
    ecg[~present] = 0
    two, three = ("yes", "no"), ("yes", "no", "not sure")
    return Batch(
        rows=torch.arange(5),
        ecg=ecg,
        ecg_present=present,
        question=("Is it normal?", "Does this ECG show atrial fibrillation?", "Is it normal?", None, "Is it normal?"),
        candidates=(two, three, two, two, three),
        candidate_ids=torch.tensor([[0, 1, -1], [0, 1, 2], [0, 1, -1], [0, 1, -1], [0, 1, 2]]),
        answer=torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.bool),
        kind="one",
        columns={"ecg_row": torch.tensor([[0, -1], [1, 2], [-1, -1], [3, -1], [4, 5]])},
    )
