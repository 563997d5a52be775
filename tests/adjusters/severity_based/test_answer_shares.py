"""What a told severity says of the answer by itself."""

from __future__ import annotations

import json

import answer_shares_equation
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import adjusters.severity_based.backdoor
from adjusters.candidates import count_candidates
from adjusters.contract import Batch, ContractError
from adjusters.reference_loop import drive, weighted
from adjusters.registry import adjuster
from adjusters.severity_based import answer_shares
from adjusters.severity_based.answer_shares import PSEUDO_ROWS, AnswerShares, answer_scores
from adjusters.severity_based.backdoor import FOLD_CODE, FOLDS, Backdoor
from adjusters.toy import ESTIMAND, SEVERITY, ToyCohort, ToyScorer, accuracy, toy_cohort
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.cohort.schema import Cohort
from causalecg.training.arms import Arm
from causalecg.training.config import RunConfig
from causalecg.training.fitted import fit_arm

TOPICS = ("fibrillation", "infarction")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort") / "c"
    simulate_cohort(folder, items=300, test_items=20, rho=0.7, rate_hz=50, seconds=2, progress=False)
    return Cohort.open(folder)


def several_kinds() -> ToyCohort:
    """Three levels, two topics, one of which lacks a level and an answer; half of the rows ask for a set."""
    toy = toy_cohort(rho=0.6, train=240, valid=60, test=60, topics=TOPICS, seed=5)
    draw = np.random.default_rng(0)
    items = toy.items.copy()
    first = (items["topic"] == TOPICS[0]).to_numpy()
    items[SEVERITY] = np.where(first, items[SEVERITY], draw.integers(0, 3, len(items)))
    items["kind"] = np.where(draw.random(len(items)) < 0.5, "one", "set")
    names = ["yes", "no", "not sure"]
    items["candidates"] = [names[:2] if f else names for f in first]
    items["answer"] = [
        [c[draw.integers(len(c))]] if kind == "one" else [a for a in c if draw.random() < 0.4]
        for kind, c in zip(items["kind"], items["candidates"], strict=True)
    ]
    return ToyCohort(items, toy.signals)


def rows_of(table: pd.DataFrame) -> list[tuple]:
    return answer_shares_equation.rows_of(table, SEVERITY)


def pseudo_rows(table: pd.DataFrame) -> float:
    folds = answer_shares_equation.folds_of(table, FOLDS)
    return answer_shares_equation.pseudo_rows(rows_of(table), folds, PSEUDO_ROWS)


def check(toy: ToyCohort, kind: str, topic: str | None) -> None:
    """What the objective predicts, against the equations; ``topic``: asked instead of the items' own."""
    train = toy.split("train")
    ours = Backdoor(severity_from="features").fit(train, ESTIMAND, rng=np.random.default_rng(0))
    objective = ours.attach(ToyScorer(), new_scorer=lambda variant: ToyScorer(), rng=np.random.default_rng(0))
    objective = objective.double().eval()
    table = toy.split("test")
    at = np.flatnonzero(table["kind"] == kind)[:20]
    batch = toy.batch(table, at)
    strange = tuple((*names[:-1], "never seen") if i == 0 else names for i, names in enumerate(batch.candidates))
    batch = batch.replace(ecg=batch.ecg.double(), candidates=strange)
    if topic is not None:
        batch = batch.replace(topic=(topic,) * len(batch))
    with torch.no_grad():
        found = objective(batch)
        told = [objective.scorer(batch.with_context(text)) for text in objective.contexts]
        weights = objective.log_severity(batch).exp()
    rows, m = rows_of(train), pseudo_rows(train)
    for i, names in enumerate(batch.candidates):
        offsets = [
            answer_shares_equation.told(rows, rows, kind, batch.topic[i], level, names, TOPICS, m) for level in range(3)
        ]
        scores = [z[i, : len(names)].tolist() for z in told]
        wanted = answer_shares_equation.adjusted(scores, offsets, weights[i].tolist(), kind)
        assert found[i, : len(names)].tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", ["one", "set"])
@pytest.mark.parametrize("topic", [None, "never seen"])
def test_the_prediction_is_the_equation(kind: str, topic: str | None, monkeypatch) -> None:
    toy = several_kinds()
    check(toy, kind, topic)
    wrong = lambda *given: answer_scores(*given)[:, :, ::-1].copy()  # noqa: E731 - the levels in the wrong order
    monkeypatch.setattr(adjusters.severity_based.backdoor, "answer_scores", wrong)
    with pytest.raises(AssertionError):
        check(toy, kind, topic)


@pytest.mark.parametrize("kind", ["one", "set"])
def test_the_loss_is_by_the_answers_of_other_patients(kind: str, monkeypatch) -> None:
    toy = several_kinds()
    train = toy.split("train")
    train["patient_ids"] = [[f"p{i % 60}"] for i in range(len(train))]
    ours = Backdoor(prior="marginal").fit(train, ESTIMAND, rng=np.random.default_rng(0))
    objective = ours.attach(ToyScorer(), new_scorer=lambda variant: ToyScorer(), rng=np.random.default_rng(0)).double()
    table = weighted(ours, train)
    batch = toy.batch(table, np.flatnonzero(table["kind"] == kind)[:20], tuple(ours.columns(table)))
    batch = batch.replace(ecg=batch.ecg.double())
    fold, m = answer_shares_equation.folds_of(train, FOLDS), pseudo_rows(train)

    def check_loss() -> None:
        with torch.no_grad():
            found = objective.validation_loss(batch).tolist()
        for i, row in enumerate(batch.rows.tolist()):
            counted = [r for r, f in zip(rows_of(train), fold, strict=True) if f != fold[row]]
            level, names = int(train[SEVERITY][row]), batch.candidates[i]
            told = batch.select([i]).with_context(f"Severity: level {level}.")
            with torch.no_grad():
                scores = objective.scorer(told)[0, : len(names)].tolist()
            offset = answer_shares_equation.told(counted, rows_of(train), kind, batch.topic[i], level, names, TOPICS, m)
            given = answer_shares_equation.adjusted([scores], [offset], [1.0], kind)
            true = [name in train["answer"][row] for name in names]
            if kind == "one":
                wanted = -given[true.index(True)]
            else:
                wanted = sum(np.log1p(np.exp(-z if t else z)) for z, t in zip(given, true, strict=True))
            assert found[i] == pytest.approx(wanted, abs=1e-6)

    check_loss()
    told = AnswerShares.forward
    monkeypatch.setattr(
        AnswerShares, "forward", lambda self, batch, topic, level, fold: told(self, batch, topic, level)
    )
    with pytest.raises(AssertionError):
        check_loss()


def test_the_prior_is_worth_as_many_rows_as_predicts_best() -> None:
    """Cells of few rows in which nothing depends on the topic are drawn together; where topics differ, they are not."""
    draw = np.random.default_rng(0)
    topic, level = np.repeat(np.arange(200), 6), np.tile(np.arange(2), 600)
    spread = {}
    for name, share in (("alike", np.full(200, 0.5)), ("different", draw.choice([0.05, 0.95], 200))):
        yes = draw.random(1200) < share[topic]
        answer = [["yes"] if y else ["no"] for y in yes]
        table = pd.DataFrame({"kind": "one", "candidates": [["yes", "no"]] * 1200, "answer": answer})
        cell = np.stack([np.zeros(1200, dtype=int), topic, level, np.arange(1200) % FOLDS], axis=1)
        counts = count_candidates(table, cell, ["no", "yes"])
        scores = answer_scores(counts, 200, 2, FOLDS, 2)[0, :200, :, -1]
        spread[name] = (scores[..., 1] - scores[..., 0]).std(0).max()
    assert spread["alike"] < 0.1
    assert spread["different"] > 1.0


class Deaf(nn.Module):
    """A scorer that cannot read the severity, as a language model that is not trained may be unable to."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ToyScorer()

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.inner(self._without(batch))

    def features(self, batch: Batch, view: str) -> torch.Tensor:
        return self.inner.features(self._without(batch), view)

    def feature_dim(self, view: str) -> int:
        return self.inner.feature_dim(view)

    @staticmethod
    def _without(batch: Batch) -> Batch:
        told = [q.removeprefix("Severity: level 0. ").removeprefix("Severity: level 1. ") for q in batch.question]
        return batch.replace(question=tuple(told))


@pytest.mark.slow
def test_a_scorer_that_cannot_read_the_severity_is_adjusted_all_the_same() -> None:
    """In the toy law log P(A | E, F, s) is a function of the ECG plus log P(A | s), so that nothing need be read.

    In words alone the severity changes nothing: what such a model learns is the unadjusted one. Gains are shares of the
    gap to a model that learned from re-drawn styles: at least the .8 that back-door adjustment is held to with a scorer
    that can read, and at most .2.
    """
    toy = toy_cohort(rho=0.99, seed=0)

    def unbiased(name: str, train: str = "train", **options) -> float:
        done = drive(
            adjuster(name, **options), toy.split(train), toy.split(train.replace("train", "valid")), toy.batch, Deaf,
            estimand=ESTIMAND, epochs=8,
        )  # fmt: skip
        return accuracy(done.objective, toy, "test_unbiased")

    low, high = unbiased("none"), unbiased("none", train="train_oracle")
    assert high - low > 0.1
    gain = {told: (unbiased("backdoor", answer_shares=told) - low) / (high - low) for told in (True, False)}
    assert gain[True] > 0.8
    assert gain[False] < 0.2


def test_an_answer_that_is_always_or_never_true_stays_finite() -> None:
    """Topic and severity say the same of it; together they must not say more than all rows could."""
    n = 40_000
    table = pd.DataFrame({"kind": "set", "candidates": [["always", "never"]] * n, "answer": [["always"]] * n})
    cell = np.stack([np.ones(n, dtype=int), np.arange(n) % 2, np.arange(n) // 2 % 2, np.arange(n) // 4 % FOLDS], axis=1)
    scores = answer_scores(count_candidates(table, cell, ["always", "never"]), 2, 2, FOLDS, 2)[1, :2]
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() < np.log(2 * n + 2)


def test_a_placebo_counts_nothing(cohort) -> None:
    """Its severities are dealt to other rows; counts of the true ones would be knowledge."""
    for name in ("backdoor", "hybrid"):
        found = fit_arm(cohort, Arm.parse(f"placebo:{name}"), RunConfig(), np.random.SeedSequence(0)).adjuster
        assert not found.answer_shares and not hasattr(found, "answer_counts_")
        assert fit_arm(cohort, Arm.parse(name), RunConfig(), np.random.SeedSequence(0)).adjuster.answer_shares


def test_one_that_was_saved_before_there_were_shares_tells_in_words_alone(tmp_path) -> None:
    train = toy_cohort(rho=0.6, train=200, valid=50, test=50).split("train")
    ours = Backdoor(answer_shares=False).fit(train, ESTIMAND, rng=np.random.default_rng(0))
    ours.save(tmp_path)
    record = json.loads((tmp_path / "adjuster.json").read_text())
    del record["options"]["answer_shares"]
    (tmp_path / "adjuster.json").write_text(json.dumps(record))
    again = Backdoor.load(tmp_path)
    assert again.answers_told() is None and FOLD_CODE not in again.columns(train)


@pytest.mark.slow
def test_no_harm_where_topics_are_many_and_their_rows_few(monkeypatch) -> None:
    """800 topics of five rows, no confounding. The bound is three standard errors of the paired difference; it is passed
    by the shares as they are, and missed by shares that are not drawn together and count a row's own answer."""
    toy = toy_cohort(rho=0.5, topics=tuple(f"finding {i}" for i in range(800)), seed=1)
    table = toy.split("test_unbiased")
    batch = toy.batch(table, np.arange(len(table)))

    def right(told: bool) -> np.ndarray:
        own, valid = adjuster("backdoor", exclusion=True, answer_shares=told), toy.split("valid")
        done = drive(own, toy.split("train"), valid, toy.batch, ToyScorer, estimand=ESTIMAND, epochs=6)
        with torch.no_grad():
            given = done.objective(batch).argmax(1)
        return batch.answer[torch.arange(len(batch)), given].double().numpy()

    words = right(told=False)
    lost = words - right(told=True)
    assert lost.mean() < 3 * lost.std(ddof=1) / np.sqrt(len(lost))
    monkeypatch.setattr(answer_shares, "PSEUDO_ROWS", (1.0,))
    told = AnswerShares.forward
    monkeypatch.setattr(
        AnswerShares, "forward", lambda self, batch, topic, level, fold: told(self, batch, topic, level)
    )
    lost = words - right(told=True)
    assert lost.mean() > 3 * lost.std(ddof=1) / np.sqrt(len(lost))


def test_a_table_without_answers_is_refused_in_a_sentence() -> None:
    train = toy_cohort(rho=0.6, train=200, valid=50, test=50).split("train").drop(columns="candidates")
    with pytest.raises(ContractError, match="with answer_shares=true needs the column 'candidates'"):
        adjuster("backdoor").fit(train, ESTIMAND, rng=np.random.default_rng(0))
    adjuster("backdoor", answer_shares=False).fit(train, ESTIMAND, rng=np.random.default_rng(0))
