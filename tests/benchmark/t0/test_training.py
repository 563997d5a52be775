"""Training at T0: converged, the contract kept, nothing seen that must not be seen."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from adjusters.contract import Adjuster, Card, ContractError, LossTerms, Objective, Stage
from adjusters.registry import _registered, register
from causalecg.benchmark import exact
from causalecg.benchmark.regimes import regime
from causalecg.benchmark.t0.arms import EvidenceArm
from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
from causalecg.benchmark.t0.tables import SEVERITY, EvidenceBatches, asked
from causalecg.benchmark.t0.training import RIDGE, NoRows, Trained, train, training_tables, training_world
from causalecg.errors import InputError
from structural_models.estimand import Estimand

LAW = regime("R1").law(0.9)


def _trained(arm: str, estimand: Estimand, *, items: int = 600, seed: int = 0, law: object = LAW) -> Trained:
    return train(law, EvidenceArm.parse(arm), seed=seed, estimand=estimand, items=items, valid=200)  # type: ignore[arg-type]


@pytest.mark.parametrize("arm", ["none", "ipw", "backdoor", "backdoor?prior=marginal", "oracle", "question_only"])
def test_every_stage_converges_and_the_same_seed_gives_the_same_bytes(arm: str, estimand: Estimand) -> None:
    once, again = (_trained(arm, estimand) for _ in range(2))
    assert all(stage.converged for stage in once.stages) and once.rows == 600
    state = again.objective.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in once.objective.state_dict().items())


def test_the_minimum_is_the_one_of_newton(estimand: Estimand) -> None:
    """The plain model's weights against Newton's method on the scorer's own features, in numpy."""
    found = _trained("none", estimand)
    world = training_world(LAW, 600, 200, 0)
    batch = asked(world.evidence[:600], world.topic[:600], world.styles[:600])
    scorer = found.objective.scorer
    x = scorer.features(batch, "fused").detach().numpy()  # type: ignore[attr-defined]
    theta = _newton(x, world.answer[:600], np.ones(600))
    # A derivative of at most 1e-5 of the mean loss is 1e-2 of the summed one, whose curvature is at least RIDGE.
    assert np.abs(found.yes(batch) - 1 / (1 + np.exp(-x @ theta))).max() < 0.01


def test_a_loss_averaged_over_draws_has_the_minimum_of_all_draws_together(estimand: Estimand) -> None:
    """Three exchanges of wordings: each row three times, in other words, with a third of the weight."""
    law = regime("R3").law(None)
    found = train(
        law, EvidenceArm.parse("question_randomised"), seed=4, estimand=estimand, items=600, valid=200, draws=3
    )
    world = training_world(law, 600, 200, 4)
    batch = asked(world.evidence[:600], world.topic[:600], world.styles[:600])
    features = found.objective.scorer.features  # type: ignore[attr-defined]
    x, seeds = [], (4, *(int(np.random.SeedSequence([4, draw]).generate_state(1)[0]) for draw in (1, 2)))
    with torch.random.fork_rng():
        for seed in seeds:
            torch.manual_seed(seed)
            x.append(features(found.objective.words.drawn(batch), "fused").detach().numpy())  # type: ignore[attr-defined]
    assert not np.array_equal(x[0], x[1]) and not np.array_equal(x[1], x[2])
    theta = _newton(np.concatenate(x), np.tile(world.answer[:600], 3), np.full(1800, 1 / 3))
    own = features(batch, "fused").detach().numpy()
    assert np.abs(found.yes(batch) - 1 / (1 + np.exp(-own @ theta))).max() < 0.01
    # One exchange alone has another.
    alone = _newton(x[0], world.answer[:600], np.ones(600))
    assert np.abs(found.yes(batch) - 1 / (1 + np.exp(-own @ alone))).max() > 0.02


def _newton(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    theta = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ theta))
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(len(theta))
        theta -= np.linalg.solve(hessian, x.T @ (weight * (p - y)) + RIDGE * theta)
    return theta


def test_tables_hold_the_recorded_severity_and_no_other_truth() -> None:
    law = regime("R4").law(0.9)
    world = training_world(law, 300, 100, 0)
    table, valid = training_tables(law, EvidenceArm.parse("ipw"), world, 300)
    assert set(table["split"]) == {"train"} and set(valid["split"]) == {"valid"}
    assert (table[SEVERITY].to_numpy() == world.severity_observed[:300]).all()
    assert (world.severity_observed != world.severity).any()
    for hidden in (world.finding, world.severity):
        numbers = table.select_dtypes("number")
        assert not any((numbers[name].to_numpy() == hidden[:300]).all() for name in numbers)
    assert not {"finding", "evidence"} & set(table.columns)


def test_the_oracle_keeps_ecgs_and_answers_and_the_matched_one_as_many_rows_as_weights_leave() -> None:
    law = regime("R1").law(0.99)
    world = training_world(law, 1000, 200, 0)
    plain, _ = training_tables(law, EvidenceArm.parse("none"), world, 1000)
    oracle, _ = training_tables(law, EvidenceArm.parse("oracle"), world, 1000)
    assert (oracle["ecg_ids"].str[0] == plain["ecg_ids"].str[0]).all()
    assert (oracle["answer"].str[0] == plain["answer"].str[0]).all()
    assert abs(np.mean(oracle["style"] == plain["style"]) - 0.5) < 4 * 0.5 / 1000**0.5
    matched, _ = training_tables(law, EvidenceArm.parse("oracle_ess"), world, 1000)
    assert len(matched) == round(1000 * exact.weighting_share(law)) == 20
    with pytest.raises(NoRows):
        training_tables(regime("R5").law(), EvidenceArm.parse("oracle_ess"), world, 1000)


def test_without_overlap_adjusters_of_severity_refuse(estimand: Estimand) -> None:
    law = regime("R5").law()
    for arm in ("backdoor", "ipw", "stratified"):
        with pytest.raises(ContractError, match="no adjustment can part the two"):
            _trained(arm, estimand, law=law)


def test_an_ecg_of_the_test_is_refused() -> None:
    world = training_world(LAW, 100, 50, 0)
    table, _ = training_tables(LAW, EvidenceArm.parse("none"), world, 100)
    table.at[3, "ecg_ids"] = ["e000150"]
    with pytest.raises(InputError, match="train-000003 holds ECG e000150, which is of the test"):
        EvidenceBatches(world.evidence)(table, np.arange(100))


class _Strange(Adjuster):
    """Two stages, two parts, wants, a restart, and rows of its own."""

    card = Card(summary="For this test.", uses=("objective", "rewrite"))
    split: ClassVar[str] = "train"
    seen: ClassVar[list[object]] = []

    def rewrite(self, table: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
        return table.assign(split=self.split)

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("first", trains=("one", "two"), epochs=2),
            Stage("second", trains=("one",), init="restart", epochs=3, wants=("predictions", "features:ecg")),
        )

    def attach(self, scorer, *, new_scorer, rng):  # type: ignore[no-untyped-def]
        return _StrangeObjective(scorer, new_scorer("question_only"))


class _StrangeObjective(Objective):
    parts = ("one", "two")

    def __init__(self, scorer, other) -> None:  # type: ignore[no-untyped-def]
        super().__init__(scorer)
        self.other = other

    def parameters_of(self, part: str):  # type: ignore[no-untyped-def]
        return (self.scorer if part == "one" else self.other).parameters()  # type: ignore[union-attr]

    def loss(self, batch, part, *, progress):  # type: ignore[no-untyped-def]
        scorer = self.scorer if part == "one" else self.other
        per_item = -torch.log_softmax(scorer(batch), 1)[batch.answer]
        return LossTerms(per_item.mean(), per_item.detach())

    def begin(self, stage, predictions, features, columns) -> None:  # type: ignore[no-untyped-def]
        start = float(self.scorer.head.weight.detach().abs().max())  # type: ignore[union-attr]
        _Strange.seen.append((stage.name, None if predictions is None else predictions.shape, set(features), start))


@pytest.fixture
def strange():  # type: ignore[no-untyped-def]
    register("strange")(_Strange)
    _Strange.seen.clear()
    yield
    _Strange.split = "train"
    _registered.pop("strange", None)


@pytest.mark.usefixtures("strange")
def test_a_strangers_stages_parts_and_wants_are_honoured(estimand: Estimand) -> None:
    found = _trained("strange", estimand, items=300)
    assert [(s.name, s.method, s.rounds) for s in found.stages] == [("first", "Adam", 2), ("second", "L-BFGS", 3)]
    first, second = _Strange.seen
    assert first == ("first", None, set(), 0.0)
    # What it wants is of the state before the restart; what it starts from is zero again.
    assert second[1:] == ((300, 2), {"ecg"}, 0.0)  # type: ignore[index]


@pytest.mark.usefixtures("strange")
def test_rewritten_test_rows_are_refused(estimand: Estimand) -> None:
    _Strange.split = "test"
    with pytest.raises(InputError, match="300 of 300 rows to learn from are test rows"):
        _trained("strange", estimand, items=300)


def test_a_reader_that_is_the_law_measures_the_laws_truth() -> None:
    """The exact P(A = 1 | E, do(F, T)) put through the measures gives what the law says, within sampling error."""
    law = regime("R3").law(0.95)
    world = patients_to_test(law, 20_000)

    def read(evidence: np.ndarray, topic: np.ndarray, styles: np.ndarray) -> np.ndarray:
        return exact.interventional(law, evidence, styles[:, 0], topic)

    found = measured(read, world)
    error = found.std() / found.count() ** 0.5
    for column, truth in (
        ("correct_unbiased", exact.accuracy(law, "oracle", "unbiased")),
        ("correct_biased", exact.accuracy(law, "oracle", "biased")),
        ("correct_anti", exact.accuracy(law, "oracle", "anti")),
        ("topic_decision", exact.topic_decision_effect(law)),
        ("follow", exact.follow_rate(law, "oracle")),
        (
            "random_drop",
            exact.accuracy(law, "oracle", "unbiased") - exact.random_swap_accuracy(law, "oracle", "unbiased"),
        ),
    ):
        assert abs(found[column].mean() - truth) < 4 * error[column], column
    assert np.allclose(found["topic_effect"], 0.4) and np.allclose(found["style_effect"], 0)
    assert found["target_error"].max() == 0


def test_a_shortcut_reader_measures_the_shortcuts_truth() -> None:
    law = regime("R2").law(0.95)
    found = measured(lambda e, t, f: exact.observational(law, e, f[:, 0], t), patients_to_test(law, 20_000))
    error = found.std() / found.count() ** 0.5
    for column, truth in (
        ("correct_unbiased", exact.accuracy(law, "shortcut", "unbiased")),
        ("correct_biased", exact.accuracy(law, "shortcut", "biased")),
        ("follow", exact.follow_rate(law, "shortcut")),
    ):
        assert abs(found[column].mean() - truth) < 4 * error[column], column


def test_twins_are_right_as_often_as_the_closed_form() -> None:
    law = regime("R1").law(0.9)
    found = measured(lambda e, t, f: exact.interventional(law, e, f[:, 0], t), patients_to_test(law, 20_000))
    truth = 2 * exact.accuracy(law, "oracle", "unbiased") - 1
    assert abs(found["twin_right"].mean() - truth) < 4 * (truth * (1 - truth) / 20_000) ** 0.5


def test_an_arm_is_measured_from_what_it_is_shown(estimand: Estimand) -> None:
    blind = measured(reader_of(_trained("question_only", estimand).yes), patients_to_test(LAW, 2000))
    assert (blind["random_drop"] == 0).all() and (blind["style_effect"] > 0.1).all()
    deaf = measured(reader_of(_trained("ecg_only", estimand).yes), patients_to_test(LAW, 2000))
    assert (deaf["style_effect"] == 0).all() and (deaf["topic_effect"] == 0).all()
