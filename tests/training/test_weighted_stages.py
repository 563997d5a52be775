"""A stage is judged with the rows' weights exactly where it is trained with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from adjusters.reference_loop import drive
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, ToyScorer, toy_cohort
from causalecg.training.run import train


def test_an_exchange_of_wordings_is_judged_without_weights() -> None:
    """As it is where there are no weights, and no second stage; stage one is trained the same."""
    cohort = toy_cohort(rho=0.9, train=400, valid=200, test=2)

    def losses(**options: object) -> list[float]:
        torch.manual_seed(0)
        found = drive(
            adjuster("question_randomised", **options), cohort.split("train"), cohort.split("valid"), cohort.batch,
            ToyScorer, estimand=ESTIMAND, epochs=4, patience=1,
        )  # fmt: skip
        return found.validation["randomised"]

    assert losses(fine_tuning="weighted") == losses()


def test_the_trainer_does_the_same(cohort, config, tmp_path: Path) -> None:
    config = config.model_copy(update={"patience": 1})

    def first(arm: str) -> list[float]:
        run = train(cohort, arm, config, seed=0, out=tmp_path / arm.replace("?", "-"), progress=False)
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        return [line["validation_loss"] for line in lines if line["stage"] == "randomised"]

    assert first("question_randomised?fine_tuning=weighted") == first("question_randomised")


def test_which_stages_are_weighted() -> None:
    table = toy_cohort(rho=0.9, train=400, valid=2, test=2).split("train")
    for ours in (adjuster("stratified", min_ess=0.0), adjuster("question_randomised", fine_tuning="weighted")):
        ours.fit(table, ESTIMAND, rng=np.random.default_rng(0))
        assert [stage.weighted for stage in ours.stages()] == [False, True]
