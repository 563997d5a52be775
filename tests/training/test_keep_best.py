"""A stage that keeps its best gives up the state it began with for a clearly better one only."""

from __future__ import annotations

import pytest
import torch

from adjusters.contract import Adjuster, Card, LossTerms, Objective, Stage, clearly_lower
from adjusters.registry import _registered, register
from causalecg.training.run import train


def test_two_standard_errors_of_the_paired_difference() -> None:
    torch.manual_seed(0)
    before = torch.rand(400, dtype=torch.float64)
    noise = torch.randn(400, dtype=torch.float64)
    noise = (noise - noise.mean()) / noise.std()
    assert clearly_lower(before, before - 0.11 - noise)  # the standard error of the difference is 1/20
    assert not clearly_lower(before, before - 0.09 - noise)
    assert not clearly_lower(before, before)


@pytest.mark.parametrize(("fall", "kept"), [(0.05, False), (0.5, True)])
def test_only_a_clear_fall_is_believed(cohort, config, tmp_path, fall: float, kept: bool) -> None:
    """200 validation rows, whose losses fall by ``fall`` on average with a standard deviation of 1: error .07."""

    class Falling(Objective):
        def __init__(self, scorer) -> None:
            super().__init__(scorer)
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
            self.register_buffer("stage", torch.zeros((), dtype=torch.int64))

        def begin(self, stage, predictions, features, columns) -> None:
            self.stage.fill_(stage.name == "second")

        def loss(self, batch, part, *, progress) -> LossTerms:
            return super().loss(batch, part, progress=progress)

        def after_step(self, batch, terms) -> None:
            self.steps += self.stage

        def validation_loss(self, batch):
            wave = 2**0.5 * torch.sin(2.399963 * batch.rows.double())
            return 3.0 - (fall + wave) * float(self.steps > 0)

    @register("falling")
    class TwoStages(Adjuster):
        card = Card(summary="Two stages.", uses=("objective",))

        def stages(self):
            return (Stage("first", epochs=1), Stage("second", epochs=1, keep_best=True))

        def attach(self, scorer, *, new_scorer, rng):
            return Falling(scorer)

    try:
        run = train(cohort, "falling", config, seed=0, out=tmp_path / "r", progress=False)
        assert (run.scorer().objective.steps > 0) == kept
    finally:
        _registered.pop("falling")
