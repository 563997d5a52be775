"""A scorer that gives anything but one number per candidate is told at its first batch, in every loop."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from adjusters.contract import ContractError, Stage, negative_log_likelihood
from adjusters.reference_loop import drive
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, ToyScorer, toy_cohort
from causalecg.training.config import RunConfig
from causalecg.training.prepared import Prepared, prepare
from causalecg.training.run import train

#: What is made of right scores, and what is said of it.
WRONG = {
    "one": (lambda x: x[:, :1], r"scores of shape \(\d+, 1\)"),
    "wide": (lambda x: torch.cat([x, x], 1), r"scores of shape \(\d+, 4\)"),
    "short": (lambda x: x[:-1], r"scores of shape \(\d+, 2\)"),
    "flat": (lambda x: x.flatten(), r"scores of shape \(\d+,\)"),
    "turned": (lambda x: x.T, r"scores of shape \(2, \d+\)"),
    "tuple": (lambda x: (x,), "a tuple"),
    "dict": (lambda x: {"logits": x}, "a dict"),
    "array": (lambda x: x.detach().numpy(), "a ndarray"),
    "codes": (lambda x: (10 * x).long(), "scores of type int64"),
}
SAYS = r"gave {}, for \d+ items with up to 2 candidates; let it give a torch tensor of real numbers of shape \(\d+, 2\)"
BACKDOOR = "backdoor?prior=marginal"  # Two outputs cannot name a severity.


def first_loss(ready: Prepared, stage: Stage) -> torch.Tensor:
    ready.begin(stage)
    progress, batch = next(ready.batches(stage, 16))
    return ready.objective.loss(batch, stage.trains[0], progress=progress).total


class Wrong(nn.Module):
    """Scores of yes and no, and what became of them."""

    def __init__(self, change) -> None:
        super().__init__()
        self.layer, self.change = nn.Linear(12, 2), change

    def forward(self, batch):
        return self.change(self.layer(batch.ecg[:, 0].mean(-1)))


@pytest.mark.parametrize("how", WRONG)
def test_it_is_told_in_a_run(cohort, tmp_path, how: str) -> None:
    change, found = WRONG[how]
    for arm in ("none", BACKDOOR, "effect_subtraction", "jtt", "lff", "stratified"):
        with pytest.raises(ContractError, match=SAYS.format(found)):
            train(
                cohort, arm, RunConfig(epochs=1), seed=0, out=tmp_path / "r", scorer=lambda _: Wrong(change),
                progress=False,
            )  # fmt: skip
        assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("arm", ["none", BACKDOOR, "jtt", "lff", "stratified"])
def test_scores_that_lead_back_to_no_weight_are_told(cohort, tmp_path, arm: str) -> None:
    with pytest.raises(ContractError, match=r"Wrong gave scores that lead back to none of its weights, .* leave out"):
        train(
            cohort, arm, RunConfig(epochs=1), seed=0, out=tmp_path / "r", scorer=lambda _: Wrong(torch.Tensor.detach),
            progress=False,
        )  # fmt: skip
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("how", WRONG)
def test_it_is_told_in_a_loop_of_ones_own(cohort, how: str) -> None:
    change, found = WRONG[how]
    for arm in ("none", BACKDOOR, "effect_subtraction", "lff"):
        ready = prepare(cohort, arm, Wrong(change))
        stage = ready.stages[0]
        with pytest.raises(ContractError, match=SAYS.format(found)):
            first_loss(ready, stage)


@pytest.mark.parametrize("how", WRONG)
def test_it_is_told_in_the_reference_loop(how: str) -> None:
    change, found = WRONG[how]
    toy = toy_cohort(seed=0)

    class WrongToy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.right = ToyScorer()

        def forward(self, batch):
            return change(self.right(batch))

    for name in ("none", "backdoor", "group_dro"):
        with pytest.raises(ContractError, match=SAYS.format(found)):
            drive(
                adjuster(name), toy.split("train"), toy.split("valid"), toy.batch, WrongToy,
                estimand=ESTIMAND, epochs=1,
            )  # fmt: skip
    batch = toy.batch(toy.split("train"), range(5))
    with pytest.raises(ContractError, match=SAYS.format(found)):
        negative_log_likelihood(change(ToyScorer()(batch)), batch)


def test_right_scores_are_looked_at_once(cohort) -> None:
    model = Wrong(torch.neg)
    ready = prepare(cohort, "none", model)
    copied = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    batch = ready.batch(ready.stages[0], range(16))
    for scores in (model(batch), model(batch).double(), model(batch).half()):
        assert scores.shape == (*negative_log_likelihood(scores, batch).shape, 2)
    for one in copied:
        one(batch)
    assert not any(one._forward_hooks for one in (model, *copied))
