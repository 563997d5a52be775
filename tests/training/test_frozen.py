"""What is frozen says the same in every step, and what comes before a stage is drawn from the run's seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from adjusters.contract import Adjuster, Batch, Card, LossTerms, Objective, Stage
from adjusters.registry import _registered, register
from causalecg.cohort.batches import TableBatches
from causalecg.errors import InputError
from causalecg.training.loop import Loop
from causalecg.training.run import train


class Small(nn.Module):
    """Logits of yes and no from the mean signal, with dropout and running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm1d(12), nn.Dropout(0.5), nn.Linear(12, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, batch: Batch) -> torch.Tensor:
        hidden = torch.tanh(self.body(batch.ecg[:, 0].mean(-1)))
        return self.head(hidden).masked_fill(batch.padding, float("-inf"))


def small(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Small()


def half_frozen(seed: int) -> nn.Module:
    scorer = small(seed)
    scorer.body.requires_grad_(False)
    return scorer


def deeper(seed: int) -> nn.Module:
    scorer = small(seed)
    scorer.further = nn.Linear(2, 2)
    return scorer


def wider(seed: int) -> nn.Module:
    scorer = small(seed)
    scorer.head = nn.Linear(8, 3)
    return scorer


class Reference(Objective):
    """Keeps a frozen copy, and checks in every step that it answers as in evaluation."""

    def __init__(self, scorer, copied) -> None:
        super().__init__(scorer)
        self.copied = copied

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        assert self.scorer.training and self.training
        assert torch.equal(self.copied(batch), self.copied(batch))
        return super().loss(batch, part, progress=progress)


class KeepsCopy(Adjuster):
    card = Card(summary="Keeps a frozen copy.", uses=("objective",))

    def attach(self, scorer, *, new_scorer, rng) -> Objective:
        return Reference(scorer, new_scorer("frozen_copy"))


class Drawing(Objective):
    """Draws a number before each stage."""

    def __init__(self, scorer) -> None:
        super().__init__(scorer)
        self.register_buffer("drawn", torch.zeros(2))

    def begin(self, stage, predictions, features, columns) -> None:
        self.drawn[("first", "second").index(stage.name)] = torch.randn(())


class Draws(Adjuster):
    card = Card(summary="Draws before each stage.", uses=("objective",))

    def stages(self) -> tuple[Stage, ...]:
        return Stage("first"), Stage("second")

    def attach(self, scorer, *, new_scorer, rng) -> Objective:
        return Drawing(scorer)


@contextmanager
def known(name: str, adjuster: type[Adjuster]) -> Iterator[None]:
    register(name)(adjuster)
    try:
        yield
    finally:
        _registered.pop(name)


def test_a_frozen_copy_answers_as_in_evaluation(cohort, own_config, tmp_path) -> None:
    with known("keeps_copy_in_test", KeepsCopy):
        run = train(cohort, "keeps_copy_in_test", own_config, seed=0, out=tmp_path / "r", scorer=small, progress=False)
    state = load_file(run.path / "objective.safetensors")
    assert torch.equal(state["copied.body.0.running_mean"], torch.zeros(12))
    assert not torch.equal(state["scorer.body.0.running_mean"], torch.zeros(12))


def test_a_frozen_part_of_a_scorer_stays_as_it_was(cohort, own_config, tmp_path) -> None:
    run = train(cohort, "none", own_config, seed=0, out=tmp_path / "r", scorer=half_frozen, progress=False)
    state = load_file(run.path / "objective.safetensors")
    assert torch.equal(state["scorer.body.0.running_mean"], torch.zeros(12))
    assert float(state["scorer.body.0.num_batches_tracked"]) == 0


def test_what_precedes_a_stage_is_drawn_from_the_seed_of_the_run(cohort, own_config, tmp_path, monkeypatch) -> None:
    def drawn(folder: str, seed: int = 0) -> list[float]:
        train(cohort, "draws_in_test", own_config, seed=seed, out=tmp_path / folder, scorer=small, progress=False)
        found: list[float] = load_file(tmp_path / folder / "objective.safetensors")["drawn"].tolist()
        return found

    with known("draws_in_test", Draws):
        whole = drawn("whole")
        assert len({*whole, *drawn("other", seed=1)}) == 4
        begin = Loop._begin

        def dies(self, stage) -> None:
            if stage.name == "second":
                raise KeyboardInterrupt
            begin(self, stage)

        with monkeypatch.context() as patched:
            patched.setattr(Loop, "_begin", dies)
            with pytest.raises(KeyboardInterrupt):
                drawn("killed")
        torch.manual_seed(1234)
        assert drawn("killed") == whole


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (deeper, r"the saved state lacks scorer\.further\.bias"),
        (wider, r"the saved scorer\.head\.bias has shape \(2,\), the scorer's or adjuster's has \(3,\)"),
    ],
)
def test_a_scorer_that_is_not_what_was_trained_is_refused(cohort, own_config, tmp_path, now, says: str) -> None:
    run = train(cohort, "none", own_config, seed=0, out=tmp_path / "r", scorer=small, progress=False)
    with pytest.raises(InputError, match=says):
        run.scorer(now)
    with pytest.raises(InputError, match=r"has scorer\.further\..*, which the scorer or adjuster now lacks"):
        train(cohort, "none", own_config, seed=0, out=tmp_path / "d", scorer=deeper, progress=False).scorer(small)
    with torch.no_grad():
        assert run.scorer(small)(TableBatches(cohort, cohort.split("test"))(np.arange(5))).isfinite().all()
