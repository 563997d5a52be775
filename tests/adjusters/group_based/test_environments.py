"""IRMv1 and V-REx."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adjusters.contract import ContractError, Stage, negative_log_likelihood
from adjusters.group_based import irm, vrex
from adjusters.group_based.environments import CODE
from adjusters.group_based.irm import InvariantRisk, InvariantRiskObjective, scale_derivative
from adjusters.group_based.vrex import RiskExtrapolation, RiskExtrapolationObjective
from adjusters.toy import ESTIMAND, toy_cohort

ENVIRONMENTS = torch.tensor([0, 1, 1, 2, 0, 1, 2, 2, 1, 1, 0, 2] * 2)
ROWS = [6, 10, 8]


def loss_of(objective, fixed_items, kind: str):
    batch = fixed_items(kind, columns={CODE: ENVIRONMENTS})
    objective.begin(Stage("main"), None, {}, {})
    scores = objective.scorer(batch)
    alone = [(z[~p], y[~p]) for z, y, p in zip(scores, batch.answer, batch.padding, strict=True)]
    return batch, objective.loss(batch, "main", progress=0.0).total, alone


def check_irm(fixed_items, fixed_scores, equations, kind: str, halves: bool) -> None:
    """Value and gradient; the oracle takes a gradient of a gradient."""
    objective = InvariantRiskObjective(fixed_scores(24, 3), ROWS, 3.0, 10_000 if halves else 0).double()
    _, found, alone = loss_of(objective, fixed_items, kind)
    wanted = equations.total(alone, kind, ENVIRONMENTS.tolist(), 3.0, halves)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-6)
    ours, theirs = (torch.autograd.grad(total, objective.scorer.numbers)[0] for total in (found, wanted))
    assert torch.allclose(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("kind", ["one", "set"])
def test_irm_is_the_published_penalty(
    kind: str, halves: bool, fixed_items, fixed_scores, equation, monkeypatch
) -> None:
    check_irm(fixed_items, fixed_scores, equation("irm"), kind, halves)
    monkeypatch.setattr(irm, "scale_derivative", lambda scores, batch: scale_derivative(scores.detach(), batch))
    with pytest.raises(AssertionError):
        check_irm(fixed_items, fixed_scores, equation("irm"), kind, halves)


def check_vrex(fixed_items, fixed_scores, equations, kind: str) -> None:
    objective = RiskExtrapolationObjective(fixed_scores(24, 3), ROWS, 7.0).double()
    batch, found, _ = loss_of(objective, fixed_items, kind)
    losses = list(negative_log_likelihood(objective.scorer(batch), batch))
    wanted = equations.total(losses, ENVIRONMENTS.tolist(), 7.0)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-6)
    ours, theirs = (torch.autograd.grad(total, objective.scorer.numbers)[0] for total in (found, wanted))
    assert torch.allclose(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["one", "set"])
def test_vrex_is_the_published_penalty(kind: str, fixed_items, fixed_scores, equation, monkeypatch) -> None:
    check_vrex(fixed_items, fixed_scores, equation("vrex"), kind)
    risks = vrex.risks_of
    monkeypatch.setattr(vrex, "risks_of", lambda values, members: risks(values.detach(), members))
    with pytest.raises(AssertionError):
        check_vrex(fixed_items, fixed_scores, equation("vrex"), kind)


@pytest.mark.parametrize("kind", ["one", "set"])
def test_an_environment_that_a_batch_lacks_does_not_count(kind: str, fixed_items, fixed_scores) -> None:
    here = torch.where(ENVIRONMENTS == 2, -1, ENVIRONMENTS)
    for objective in (
        InvariantRiskObjective(fixed_scores(24, 3), ROWS, 3.0, 0).double(),
        RiskExtrapolationObjective(fixed_scores(24, 3), ROWS, 3.0).double(),
    ):
        whole = fixed_items(kind, columns={CODE: here})
        part = whole.select(torch.nonzero(here >= 0).squeeze(1))
        losses = [objective.loss(batch, "main", progress=0.0).total for batch in (whole, part)]
        assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-9)
        alone = whole.select(torch.nonzero(here == 1).squeeze(1)[:1])
        assert torch.isfinite(objective.loss(alone, "main", progress=0.0).total)
        assert not objective.validation_loss(whole.replace(columns={CODE: torch.full((24,), -1)})).any()


@pytest.mark.parametrize("make", [InvariantRisk, RiskExtrapolation])
def test_validation_is_judged_by_the_training_loss(make, fixed_items, fixed_scores) -> None:
    """On rows of the training shares the mean of the validation losses is the loss itself."""
    adjuster = make(strength=5.0)
    adjuster.environments_ = {"rows": torch.bincount(ENVIRONMENTS).tolist()}
    objective = adjuster.attach(fixed_scores(24, 3), new_scorer=None, rng=None).double()
    batch = fixed_items("one", columns={CODE: ENVIRONMENTS})
    with torch.no_grad():
        wanted = float(objective.loss(batch, "main", progress=0.0).total)
        assert float(objective.validation_loss(batch).mean()) == pytest.approx(wanted, abs=1e-9)


def test_the_penalty_is_light_in_the_first_stage_and_the_optimiser_starts_afresh_after_it(fixed_scores) -> None:
    adjuster = InvariantRisk(strength=50.0, anneal=2)
    warm, main = adjuster.stages()
    assert (warm.epochs, main.epochs, main.reset_optimizer) == (2, None, True)
    objective = InvariantRiskObjective(fixed_scores(4, 3), ROWS, 50.0, 0)
    for stage, weight in ((warm, 1.0), (main, 50.0)):
        objective.begin(stage, None, {}, {})
        assert float(objective.weight) == weight
    assert [stage.name for stage in InvariantRisk(anneal=0).stages()] == ["main"]


def test_environments_are_the_cohorts_or_those_named() -> None:
    rows = toy_cohort(train=200, valid=10, test=10).split("train")
    rng = np.random.default_rng(0)
    assert RiskExtrapolation().fit(rows, ESTIMAND, rng=rng).environments_["keys"] == [["site 0"], ["site 1"]]
    named = RiskExtrapolation(environment="severity").fit(rows, ESTIMAND, rng=rng)
    assert named.columns(rows)[CODE].tolist() == rows["severity_simulated"].tolist()
    for without in (rows.drop(columns="environment"), rows.assign(environment="site 0")):
        with pytest.raises(ContractError, match="irm needs environments.*such as environment=severity"):
            InvariantRisk().fit(without, ESTIMAND, rng=rng)


@pytest.mark.slow
def test_sites_that_differ_in_the_shortcut_are_worth_something() -> None:
    """Two sites ask with P(F = S) of .999 and .9. Unadjusted accuracy on a redrawn style is exceeded by either penalty
    by more than four standard errors, and with the sites dealt to other rows by neither."""
    from causalecg.benchmark.law import Law
    from causalecg.benchmark.leaderboard.evidence import declared_estimand
    from causalecg.benchmark.t0.arms import EvidenceArm
    from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
    from causalecg.benchmark.t0.training import train

    law = Law(p=0.995, q=(0.999, 0.9))
    world = patients_to_test(law, 10_000)
    right = {}
    for arm in ("none", "irm", "vrex", "placebo:vrex"):
        trained = train(law, EvidenceArm.parse(arm), seed=0, estimand=declared_estimand(), items=2000)
        right[arm] = measured(reader_of(trained.yes), world)["correct_unbiased"].to_numpy()
    for arm, better in (("irm", True), ("vrex", True), ("placebo:vrex", False)):
        gain = right[arm].astype(float) - right["none"]
        assert (gain.mean() > 4 * gain.std() / np.sqrt(len(gain))) == better, (arm, gain.mean())


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (InvariantRisk, {"strength": -1.0}, "irm's strength must be a number"),
        (InvariantRisk, {"anneal": -1}, "irm's anneal is a whole number"),
        (InvariantRisk, {"whole_from": -1}, "irm's whole_from is a number of rows"),
        (RiskExtrapolation, {"strength": float("inf")}, "vrex's strength must be a number"),
    ],
)
def test_refused_options(make, options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        make(**options)
