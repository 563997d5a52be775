"""Plain stratified training: its weights, its law, its loss, and at tier T0 the results of weighting by counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from adjusters.contract import ContractError
from adjusters.reference_loop import weighted
from adjusters.registry import adjuster
from adjusters.severity_based import stratified
from adjusters.toy import ESTIMAND, SEVERITY, ToyScorer, toy_cohort
from causalecg.benchmark.leaderboard.evidence import declared_estimand
from causalecg.benchmark.regimes import regime
from causalecg.benchmark.t0.arms import EvidenceArm
from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
from causalecg.benchmark.t0.training import train


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def check_parity(table: pd.DataFrame, equation) -> None:
    ours = adjuster("stratified", plain=True).fit(table, ESTIMAND, rng=rng())
    severity, topic, style = (table[name].tolist() for name in (SEVERITY, "topic", "style"))
    wanted = equation("ipw").cell_weights(severity, topic, style, "stabilised")
    np.testing.assert_allclose(ours.weights(table), wanted, atol=1e-6)


def test_its_weights_are_those_of_the_equation(table: pd.DataFrame, equation) -> None:
    check_parity(table, equation)


def test_the_parity_check_sees_a_mutation(table: pd.DataFrame, equation, monkeypatch) -> None:
    own = stratified.cell_weights
    monkeypatch.setattr(stratified, "cell_weights", lambda t, columns, scheme, clip: own(t, columns, "overlap", clip))
    with pytest.raises(AssertionError):
        check_parity(table, equation)


def test_it_needs_no_questions_and_has_one_weighted_stage_of_the_runs_epochs(table: pd.DataFrame) -> None:
    bare = table.drop(columns=["question", "question_id"])
    ours = adjuster("stratified", plain=True, epochs=0).fit(bare, ESTIMAND, rng=rng())
    (stage,) = ours.stages()
    assert (stage.name, stage.trains, stage.epochs, stage.weighted, stage.keep_best) == (
        "weigh", ("as_asked",), None, True, False,
    )  # fmt: skip
    with pytest.raises(ContractError, match="plain is true or false"):
        adjuster("stratified", plain="yes")


def test_the_weighted_law_is_that_under_intervention() -> None:
    """A table with every (severity, style, answer) as often as its law says, the style's own effect included: weighted,
    P(yes | style) is the mean over severity of P(yes | style, severity)."""
    cells = [(s, f, a) for s in (0, 1) for f in (0, 1) for a in (0, 1)]
    shares = {(s, f): (0.9 if s == f else 0.1) * 0.5 for s in (0, 1) for f in (0, 1)}
    yes = {(s, f): 0.2 + 0.5 * s + 0.2 * f for s in (0, 1) for f in (0, 1)}
    rows = [c for c in cells for _ in range(round(1000 * shares[c[:2]] * (yes[c[:2]] if c[2] else 1 - yes[c[:2]])))]
    table = pd.DataFrame(rows, columns=[SEVERITY, "style", "a"]).assign(topic="t")
    weight = adjuster("stratified", plain=True).fit(table, ESTIMAND, rng=rng()).weights(table)
    for f in (0, 1):
        at = (table["style"] == f).to_numpy()
        wanted = 0.5 * (yes[0, f] + yes[1, f])
        assert np.average(table["a"][at], weights=weight[at]) == pytest.approx(wanted, abs=1e-9)


def test_its_loss_is_the_weighted_mean_of_the_items_as_they_were_asked() -> None:
    toy = toy_cohort(rho=0.9, train=200, valid=2, test=2)
    ours = adjuster("stratified", plain=True).fit(toy.split("train"), ESTIMAND, rng=rng())
    table = weighted(ours, toy.split("train"))
    objective = ours.attach(ToyScorer(), new_scorer=None, rng=rng())
    objective.begin(ours.stages()[0], None, {}, {})
    batch = toy.batch(table, np.arange(200), ("weight",))
    scores = objective.scorer(batch).detach().double().numpy()
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    wanted = np.mean(ours.weights(toy.split("train")) * -np.log(p[batch.answer.numpy()]))
    assert float(objective.loss(batch, "as_asked", progress=0.0).total.detach()) == pytest.approx(wanted, abs=1e-6)


def test_at_tier_t0_it_is_weighting_by_counts_and_not_the_exchange_of_wordings() -> None:
    """On the same rows the same optimum, to the tolerance of its derivative."""
    law, found = regime("R1").law(0.95), {}
    for arm in ("stratified?plain=true", "ipw", "stratified"):
        trained = train(law, EvidenceArm.parse(arm), seed=0, estimand=declared_estimand(), items=1000, fit="linear")
        found[arm] = measured(reader_of(trained.yes), patients_to_test(law, 2000))
    plain, ipw, default = found.values()
    np.testing.assert_allclose(plain["style_signed"], ipw["style_signed"], atol=1e-3)
    assert abs(plain["style_signed"].mean() - default["style_signed"].mean()) > 0.01
