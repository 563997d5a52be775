"""What is asked of the user's function from a seed to a scorer, and what is made of it."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from causalecg.errors import InputError
from causalecg.training.config import RunConfig
from causalecg.training.prepared import prepare
from causalecg.training.run import train


class Theirs(nn.Module):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(12, width)

    def forward(self, batch):
        return self.layer(batch.ecg[:, 0].mean(-1)).masked_fill(batch.padding, float("-inf"))


class Seeded(Theirs):
    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        super().__init__()


def states(cohort, tmp_path, arm: str, build, seed: int) -> list[dict[str, torch.Tensor]]:
    """Of a run and of what is prepared, from wherever torch's generator is."""
    torch.manual_seed(random.randrange(2**32))
    before = torch.random.get_rng_state()
    out = tmp_path / str(random.random())
    run = train(cohort, arm, RunConfig(epochs=1), seed=seed, out=out, scorer=build, progress=False)
    ready = prepare(cohort, arm, build, seed=seed)
    assert torch.equal(torch.random.get_rng_state(), before)
    return [run.scorer(build).objective.state_dict(), ready.objective.state_dict()]


@pytest.mark.parametrize("arm", ["none", "effect_subtraction", "product_of_experts?prior=model&bias_view=question"])
def test_a_build_that_pays_its_seed_no_heed_gives_the_same_weights_again(cohort, tmp_path, arm: str) -> None:
    first, second, other = (states(cohort, tmp_path, arm, lambda seed: Theirs(), seed) for seed in (3, 3, 4))
    for place in range(2):
        assert first[place].keys() == second[place].keys()
        assert all(torch.equal(value, second[place][name]) for name, value in first[place].items())
        assert any(not torch.equal(value, other[place][name]) for name, value in first[place].items())


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (Theirs(), r"scorer is a Theirs, .* write lambda seed: Theirs\(\) in its place"),
        (Theirs, r"scorer is the class Theirs, whose first argument is no seed .* write lambda seed: Theirs\(\)"),
        ("Theirs", "scorer is a str, and not a function from a seed to a module"),
        (lambda seed: None, "returned a NoneType, and not a torch module"),
    ],
)
def test_what_builds_no_scorer_is_said_so(cohort, tmp_path, build, says: str) -> None:
    run = train(cohort, "none", RunConfig(epochs=1), seed=0, out=tmp_path / "r", scorer=Seeded, progress=False)
    attempts = [
        lambda: train(cohort, "none", RunConfig(epochs=1), seed=0, out=tmp_path / "x", scorer=build, progress=False),
        lambda: run.scorer(build),
    ]
    if not isinstance(build, nn.Module):  # a model that is there is what prepare is for
        attempts.append(lambda: prepare(cohort, "none", build))
    for attempt in attempts:
        with pytest.raises(InputError, match=says):
            attempt()
    assert not (tmp_path / "x").exists()


def test_a_configuration_of_the_composite_is_none_of_another_scorer(cohort, tmp_path) -> None:
    config = RunConfig(epochs=1, model={"encoder": "patch_transformer", "start": "some run"})
    with pytest.raises(InputError, match=r"\[model\] is of the composite, .* leave out model.encoder, model.start, or"):
        train(cohort, "none", config, seed=0, out=tmp_path / "x", scorer=lambda seed: Theirs(), progress=False)
    assert not (tmp_path / "x").exists()
