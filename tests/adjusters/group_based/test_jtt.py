from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.contract import Batch, ContractError, Stage
from adjusters.group_based import jtt
from adjusters.group_based.jtt import JustTrainTwice, JustTrainTwiceObjective, error_weights
from adjusters.reference_loop import drive
from adjusters.registry import adjuster
from adjusters.toy import ToyScorer, toy_cohort
from causalecg.benchmark import regimes
from causalecg.benchmark.leaderboard.evidence import declared_estimand
from causalecg.benchmark.t0.arms import EvidenceArm
from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
from causalecg.benchmark.t0.training import train

sys.path.insert(0, str(Path(__file__).parents[2] / "oracle" / "adjusters"))
import jtt_equation

WIDTHS = [3, 2, 3, 2, 2, 3, 3, 2, 2, 3, 2, 2]


class Fixed(nn.Module):
    """(rows, 3) numbers; an item's scores are those of its row."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        numbers = np.random.default_rng(seed).standard_normal((len(WIDTHS), 3)) * 2
        self.numbers = nn.Parameter(torch.from_numpy(numbers))

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.numbers[batch.rows].masked_fill(batch.padding, float("-inf"))


def items(kind: str) -> Batch:
    draw = np.random.default_rng(4)
    n, width = len(WIDTHS), np.array(WIDTHS)
    ids = np.where(np.arange(3) < width[:, None], np.arange(3), -1)
    answer = np.arange(3) == draw.integers(0, width)[:, None]
    if kind == "set":  # the first model is right about the whole set in half of the rows
        answer = (Fixed(1).numbers.detach().numpy() > 0) ^ (answer & (np.arange(n) % 2 == 0)[:, None])
    return Batch(
        rows=torch.arange(n), ecg=torch.zeros(n, 2, 1, 4), ecg_present=torch.ones(n, 2, dtype=torch.bool),
        question=("?",) * n, candidates=tuple(tuple("abc"[:w]) for w in width), candidate_ids=torch.from_numpy(ids),
        answer=torch.from_numpy(answer & (ids >= 0)), kind=kind, columns={"item": torch.arange(n)},
    )  # fmt: skip


def listed(values: torch.Tensor) -> list:
    return [row[:width] for row, width in zip(values.tolist(), WIDTHS, strict=True)]


def begun(objective: JustTrainTwiceObjective, batch: Batch) -> JustTrainTwiceObjective:
    with torch.no_grad():
        objective.begin(Stage("train"), None, {"wrong": objective.wanted(batch, "features:wrong")}, {})
    return objective


def check_parity(kind: str) -> None:
    batch = items(kind)
    objective = begun(JustTrainTwiceObjective(Fixed(1), Fixed(2), len(WIDTHS), 5.0).double(), batch)
    wanted = jtt_equation.mean_over_repeated(
        listed(objective.first.numbers), listed(objective.scorer.numbers), listed(batch.answer), kind, 5
    )
    assert 0 < (objective.row_weight > 1).sum() < len(WIDTHS)
    assert objective.loss(batch, "main", progress=0.0).total.item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", ["one", "set"])
def test_the_loss_is_that_of_the_set_with_its_errors_repeated(kind: str, monkeypatch) -> None:
    check_parity(kind)
    monkeypatch.setattr(jtt, "error_weights", lambda errors, upweight: error_weights(errors, upweight + 1))
    with pytest.raises(AssertionError):
        check_parity(kind)


def test_balance_gives_errors_half_of_the_weight_but_never_less_than_one_each() -> None:
    errors = torch.arange(20) < 2
    weight = error_weights(errors, None)
    assert weight[errors].sum().item() == pytest.approx(weight[~errors].sum().item(), rel=1e-6)
    assert weight.mean().item() == pytest.approx(1.0, abs=1e-6)
    for degenerate in (torch.ones(5, dtype=torch.bool), torch.zeros(5, dtype=torch.bool), torch.arange(5) < 4):
        assert torch.equal(error_weights(degenerate, None), torch.ones(5))


def test_a_placebo_weighs_the_rows_it_is_dealt() -> None:
    batch = items("one")
    objective = begun(JustTrainTwiceObjective(Fixed(1), Fixed(2), len(WIDTHS), 5.0).double(), batch)
    order = torch.randperm(len(WIDTHS), generator=torch.Generator().manual_seed(0))
    dealt = batch.replace(columns={"item": order})
    per_item = objective.loss(batch, "main", progress=0.0).per_item
    wanted = (objective.row_weight[order] * per_item).mean()
    assert objective.loss(dealt, "main", progress=0.0).total.item() == pytest.approx(wanted.item(), abs=1e-6)


def test_a_model_of_the_question_errs_on_just_the_rows_that_break_the_shortcut() -> None:
    """With 5 % against the wording, every wording's majority answer is that of its style in all but a chance of 1e-90."""
    toy = toy_cohort(rho=0.95, train=1000, valid=200, test=10, seed=1)
    learn, valid = toy.split("train"), toy.split("valid")
    found = drive(
        JustTrainTwice(first_epochs=3, bias_view="question"), learn, valid, toy.batch, ToyScorer,
        estimand=None, epochs=1,
    ).objective  # fmt: skip
    for table, weight in ((learn, found.row_weight), (valid, found.validation_weight)):
        against = ((table["style"] == "urgent") != (table["answer"].str[0] == "yes")).to_numpy()
        assert np.array_equal((weight > 1).numpy(), against)
        assert weight[torch.from_numpy(against)].sum().item() == pytest.approx(len(table) / 2, rel=1e-4)


def test_validation_is_judged_by_the_weights_once_they_are_known() -> None:
    batch = items("one")
    objective = JustTrainTwiceObjective(Fixed(1), Fixed(2), len(WIDTHS), 5.0).double()
    with torch.no_grad():
        first = objective.validation_loss(batch)
        objective.begin(Stage("v", split="validation"), None, {"wrong": objective.wanted(batch, "features:wrong")}, {})
        assert torch.equal(first, objective.validation_loss(batch)), "the first model is still to be judged"
        begun(objective, batch)
        then = objective.validation_loss(batch)
    assert then.mean().item() == pytest.approx(objective.loss(batch, "main", progress=1.0).total.item(), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"first_epochs": 0}, "first_epochs must be a whole number, at least 1, not 0"),
        ({"first_epochs": 1.5}, "whole number"),
        ({"upweight": 0.5}, "upweight must be a number, at least 1"),
        ({"upweight": float("nan")}, "upweight must be a number"),
        ({"bias_view": "style"}, "bias_view must be 'question' or none"),
    ],
)
def test_refusals(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("jtt", **options)


def at_t0(regime: str, arm: str) -> float:
    """Accuracy on 5,000 patients with the style re-drawn."""
    law = regimes.regime(regime).law()
    trained = train(law, EvidenceArm.parse(arm), seed=0, estimand=declared_estimand())
    return float(measured(reader_of(trained.yes), patients_to_test(law, 5000))["correct_unbiased"].mean())


@pytest.mark.slow
def test_at_t0_errors_of_the_question_help_and_errors_of_the_model_are_noise() -> None:
    """Accuracy on 5,000 patients has a standard error below .007; three of a difference are .03."""
    none, question, model = (at_t0("R1", arm) for arm in ("none", "jtt?bias_view=question", "jtt"))
    assert question > model + 0.03 > none + 0.06
    none, question, model = (at_t0("R8", arm) for arm in ("none", "jtt?bias_view=question", "jtt"))
    assert abs(question - none) < 0.03 and model < none - 0.03
