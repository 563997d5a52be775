"""An arm that was trained to abstain does so in an answer where it does in a score set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.data_side.modality_dropout import ABSTAIN
from causalecg import answer
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.scoring import score
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.schema import Cohort
from causalecg.training.config import RunConfig
from causalecg.training.run import train

QUESTION, NAMES = "Is it normal?", ["yes", "no"]


class Careful(nn.Module):
    """Abstains, where that is a candidate, without an ECG and nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.sure = nn.Parameter(torch.tensor(5.0))

    def forward(self, batch):
        declines = torch.tensor([[name == ABSTAIN for name in (*names, "")] for names in batch.candidates])
        blind = ~batch.ecg_present.any(1, keepdim=True)
        return torch.where(declines[:, :-1], self.sure * torch.where(blind, 1.0, -1.0), batch.candidate_ids * 0.1)


def build(seed: int) -> nn.Module:
    return Careful()


def test_an_answer_says_that_the_arm_would_rather_give_none(tmp_path) -> None:
    cohort = Cohort.open(
        simulate_cohort(tmp_path / "c", items=120, test_items=24, rho=0.9, rate_hz=50, seconds=2, progress=False)
    )
    out = tmp_path / "r"
    run = train(cohort, "modality_dropout", RunConfig(epochs=1), seed=0, out=out, scorer=build, progress=False)
    model, ecg = run.scorer(build), np.zeros((12, 100))
    blind, seen = (answer(model, shown, QUESTION, candidates=NAMES) for shown in (None, ecg))
    assert (blind.abstained, blind.given, blind.text) == (True, (), "")
    assert blind.probabilities.keys() == set(NAMES) and sum(blind.probabilities.values()) == pytest.approx(1)
    assert (seen.abstained, seen.given, seen.text) == (False, ("no",), "no")
    assert answer(Careful(), None, QUESTION, candidates=NAMES).abstained is False  # it was not asked to
    several = answer(model.objective, None, QUESTION, candidates=NAMES, several=True)
    assert (several.abstained, several.given) == (True, ())

    score(model, cohort, split="test", run_id="m", out=tmp_path / "s", interventions=("intact", "no_ecg"))
    found = ScoreSet.open(tmp_path / "s").scores.groupby("intervention")["status"].unique()
    assert list(found["no_ecg"]) == ["abstained"] and list(found["intact"]) == ["answered"]
