"""What a told severity says of the answer by itself."""

from __future__ import annotations

import answer_shares_equation
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import adjusters.severity_based.backdoor
from adjusters.contract import Batch, ContractError
from adjusters.reference_loop import drive
from adjusters.registry import adjuster
from adjusters.severity_based.answer_shares import answer_scores, count_answers
from adjusters.severity_based.backdoor import Backdoor
from adjusters.toy import ESTIMAND, SEVERITY, ToyCohort, ToyScorer, accuracy, toy_cohort

TOPICS = ("fibrillation", "infarction")


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
    columns = (table[name] for name in ("kind", "topic", SEVERITY, "candidates", "answer"))
    return list(zip(*columns, strict=True))


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
    for i, names in enumerate(batch.candidates):
        offsets = [
            answer_shares_equation.told(rows_of(train), kind, batch.topic[i], level, names, TOPICS)
            for level in range(3)
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


def test_a_level_that_a_topic_lacks_has_what_its_topic_has() -> None:
    table = pd.DataFrame({"kind": "one", "candidates": [["a", "b"]] * 9, "answer": [["a"]] * 8 + [["b"]]})
    counts = count_answers(table, np.zeros(9, dtype=int), np.zeros(9, dtype=int), ["a", "b"])
    scores = answer_scores(counts, 1, 2, 2)[0, 0]
    share = np.exp(scores[1, :2]) / np.exp(scores[1, :2]).sum()
    assert share == pytest.approx([0.85, 0.15])  # (8 + 1/2) / (9 + 1)
    assert scores[1, 2] == 0.0


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


def test_a_table_without_answers_is_refused_in_a_sentence() -> None:
    train = toy_cohort(rho=0.6, train=200, valid=50, test=50).split("train").drop(columns="candidates")
    with pytest.raises(ContractError, match=r"lacks the column 'candidates'; use answer_shares=false"):
        adjuster("backdoor").fit(train, ESTIMAND, rng=np.random.default_rng(0))
    adjuster("backdoor", answer_shares=False).fit(train, ESTIMAND, rng=np.random.default_rng(0))
