from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.contract import Batch, ContractError, Stage, negative_log_likelihood
from adjusters.group_based.group_dro import GroupDRO, GroupDROObjective
from adjusters.group_based.groups import GROUP
from adjusters.reference_loop import drive, step
from adjusters.toy import ESTIMAND, ToyScorer, accuracy, toy_cohort

ROWS = [12, 40, 3]
GROUPS = torch.tensor([0, 1, 2, 1, 1, 0, -1, 2] * 3)


def batches(fixed_items, kind: str) -> list[Batch]:
    """The third of them lacks a group."""
    whole = fixed_items(kind, columns={GROUP: GROUPS})
    return [whole.select(range(8)), whole.select(range(8, 16)), whole.select([16, 17, 19, 20, 21])]


def check_parity(fixed_items, fixed_scores, equations, kind: str, memory: float) -> None:
    objective = GroupDROObjective(fixed_scores(24, 3), ROWS, 0.7, 1.3, memory).double()
    given = batches(fixed_items, kind)
    losses = [negative_log_likelihood(objective.scorer(batch), batch).tolist() for batch in given]
    wanted = equations.train(losses, [b.columns[GROUP].tolist() for b in given], ROWS, 0.7, 1.3, memory)
    for batch, (total, q) in zip(given, wanted, strict=True):
        terms = objective.loss(batch, "main", progress=0.0)
        objective.after_step(batch, {"main": terms})
        assert terms.total.item() == pytest.approx(total, abs=1e-6)
        assert objective.q.tolist() == pytest.approx(q, abs=1e-6)
        assert terms.per_item.tolist() == pytest.approx(losses.pop(0), abs=1e-6), "the losses as they are"


@pytest.mark.parametrize("memory", [0.0, 0.6])
@pytest.mark.parametrize("kind", ["one", "set"])
def test_weights_and_loss_are_those_of_the_algorithm(
    kind: str, memory: float, fixed_items, fixed_scores, equation, monkeypatch
) -> None:
    check_parity(fixed_items, fixed_scores, equation("group_dro"), kind, memory)
    climbed = GroupDROObjective.climbed
    monkeypatch.setattr(GroupDROObjective, "climbed", lambda self, means, present: climbed(self, -means, present))
    with pytest.raises(AssertionError):
        check_parity(fixed_items, fixed_scores, equation("group_dro"), kind, memory)


class OneNumber(nn.Module):
    """Says "yes" with the same log-odds to everyone."""

    def __init__(self) -> None:
        super().__init__()
        self.log_odds = nn.Parameter(torch.tensor(3.0))

    def forward(self, batch: Batch) -> torch.Tensor:
        return torch.stack([self.log_odds / 2, -self.log_odds / 2]).expand(len(batch), 2)


def test_the_groups_risks_become_equal_however_many_rows_they_have() -> None:
    """Ninety rows are all "yes", ten all "no": the likelihood is greatest at log 9, the worst group's risk least at 0.

    Near the saddle, with step a, the log-odds obey x'' + a/4 x' + a eta/4 x = 0: for a = 1, eta = .05 both roots are
    below -.06, and 300 steps leave less than e^-18 of the start.
    """
    n = 100
    no = torch.arange(n) >= 90
    batch = Batch(
        rows=torch.arange(n), ecg=torch.zeros(n, 2, 1, 1), ecg_present=torch.ones(n, 2, dtype=torch.bool),
        question=("?",) * n, candidates=(("yes", "no"),) * n, candidate_ids=torch.tensor([[0, 1]] * n),
        answer=torch.stack([~no, no], 1), kind="one", columns={GROUP: no.long()},
    )  # fmt: skip
    objective = GroupDROObjective(OneNumber(), [90, 10], 0.05, 0.0, 0.0).double()
    optimizers = {"main": torch.optim.SGD(objective.parameters(), lr=1.0)}
    for _ in range(300):
        step(objective, batch, Stage("main"), optimizers, progress=0.0)
    assert abs(objective.scorer.log_odds.item()) < 1e-6
    means, _ = objective.group_losses(negative_log_likelihood(objective(batch), batch), batch)
    assert means.tolist() == pytest.approx([math.log(2)] * 2, abs=1e-6)


def test_validation_counts_every_group_the_same(fixed_items, fixed_scores) -> None:
    """On rows of the training shares the mean is that of the groups' means, and rows in no group do not count."""
    rows = [4, 16, 2]
    group = torch.tensor([0] * 4 + [1] * 16 + [2] * 2)
    batch = fixed_items("one", n=22, columns={GROUP: group})
    objective = GroupDROObjective(fixed_scores(22, 3), rows, 0.1, 0.0, 0.0).double()
    with torch.no_grad():
        losses = negative_log_likelihood(objective(batch), batch)
        wanted = torch.stack([losses[group == g].mean() for g in range(3)]).mean()
        assert objective.validation_loss(batch).mean() == pytest.approx(float(wanted), abs=1e-9)
        nowhere = batch.replace(columns={GROUP: torch.full((22,), -1)})
        assert not objective.validation_loss(nowhere).any()


def test_batches_go_by_the_column_of_the_table_where_it_has_one() -> None:
    """Or else a placebo, whose column is dealt to other rows, would draw by the true groups all the same."""
    rows = toy_cohort(rho=0.95, train=400, valid=10, test=10).split("train")
    adjuster = GroupDRO().fit(rows, ESTIMAND, rng=np.random.default_rng(0))
    codes = adjuster.columns(rows)[GROUP]
    dealt = np.random.default_rng(1).permutation(codes)
    for column, table in ((codes, rows), (dealt, rows.assign(**{GROUP: dealt}))):
        drawn = np.concatenate(list(adjuster.batches(table, 50, seed=0, epoch=0)))
        share = np.bincount(column[drawn], minlength=4) / len(drawn)
        assert share == pytest.approx([0.25] * 4, abs=4 * np.sqrt(0.1875 / 400))


@pytest.mark.slow
def test_it_recovers_what_the_shortcut_costs() -> None:
    """E is independent of the style given the answer, so that the worst group's optimum reads the ECG."""
    toy = toy_cohort(rho=0.9, train=1500, valid=400, test=4000, seed=1)
    arms = {}
    for name, groups in (("dealt", "environment"), ("groups", "answer-style")):
        done = drive(
            GroupDRO(groups=groups, rate=0.05), toy.split("train"), toy.split("valid"), toy.batch, ToyScorer,
            estimand=ESTIMAND, epochs=8,
        )  # fmt: skip
        arms[name] = accuracy(done.objective, toy, "test_unbiased")
    assert arms["groups"] > arms["dealt"] + 3 * np.sqrt(0.5 / 4000), arms


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 0.0}, "rate must be a positive number"),
        ({"adjustment": -1.0}, "adjustment must be a number, at least 0"),
        ({"memory": 1.0}, "memory must be a share"),
        ({"smallest": 2.5}, "smallest is a number of rows"),
    ],
)
def test_refused_options(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        GroupDRO(**options)
