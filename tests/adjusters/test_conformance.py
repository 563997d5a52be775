from __future__ import annotations

import numpy as np
import pytest
import torch

from adjusters.contract import Adjuster, Card, LossTerms, Objective, Stage
from adjusters.registry import BUILT_IN
from adjusters.testing import NonConformance, check_adjuster

CASES = [
    *((name, {}) for name in BUILT_IN),
    ("backdoor", {"prior": "marginal"}),
    ("backdoor", {"severity_from": "question", "words": ["low", "high"]}),
    ("ipw", {"overlap": True}),
    ("ipw", {"stabilised": False, "clip": 0.95, "by": None}),
    ("stratified", {"epochs": 0}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value))
def test_built_in_adjusters_conform(name: str, options: dict) -> None:
    check_adjuster(name, **options)


class Base(Adjuster):
    card = Card(summary="For a test.")


class NoSummary(Adjuster):
    card = Card(summary=" ")


class Unsaid(Base):
    def weights(self, table):
        return np.ones(len(table))


class MeanTwo(Base):
    card = Card(summary="x", uses=("weights",))

    def weights(self, table):
        return np.full(len(table), 2.0)


class ByPosition(Base):
    card = Card(summary="x", uses=("weights",))

    def weights(self, table):
        found = np.arange(len(table)) + 1.0
        return found / found.mean()


class Mutates(Base):
    def fit(self, table, estimand=None, *, rng):
        table["mine"] = 1
        return super().fit(table, estimand, rng=rng)


class Swallows(Base):
    def __init__(self, **anything) -> None:
        pass


class Forgets(Base):
    card = Card(summary="x", uses=("weights",))

    def fit(self, table, estimand=None, *, rng):
        self._share = 0.5
        return super().fit(table, estimand, rng=rng)

    def weights(self, table):
        return np.ones(len(table))


class Outside(Base):
    card = Card(summary="x", uses=("batches",))

    def batches(self, table, size, *, seed, epoch):
        yield np.array([0, len(table)])


class NotFromSeed(Base):
    card = Card(summary="x", uses=("batches",))
    calls = 0

    def batches(self, table, size, *, seed, epoch):
        NotFromSeed.calls += 1
        yield np.random.default_rng(NotFromSeed.calls).permutation(len(table))


class NeedsButDoesNotMiss(Base):
    card = Card(summary="x", needs=("severity",))

    def require(self, table, estimand) -> None:
        pass


class Careless(Base):
    card = Card(summary="x", estimands=("P(A | do(Q))",))

    def require(self, table, estimand) -> None:
        pass


class TwiceTheSame(Base):
    def stages(self):
        return (Stage("main"), Stage("main"))


class HiddenState(Objective):
    def __init__(self, scorer) -> None:
        super().__init__(scorer)
        self.steps = 0

    def loss(self, batch, part, *, progress):
        terms = super().loss(batch, part, progress=progress)
        return LossTerms(terms.total * (1 + self.steps), terms.per_item)

    def after_step(self, batch, terms) -> None:
        self.steps += 1


class KeepsACounter(Base):
    card = Card(summary="x", uses=("objective",))

    def attach(self, scorer, *, new_scorer, rng):
        return HiddenState(scorer)


class Peeks(Objective):
    def forward(self, batch):
        return super().forward(batch) + batch.columns["severity_simulated"][:, None]


class NeedsSeverityToPredict(Base):
    card = Card(summary="x", uses=("objective", "predict"))
    batch_columns = ("severity_simulated",)

    def attach(self, scorer, *, new_scorer, rng):
        return Peeks(scorer)


class SeesTheBatch(Objective):
    def forward(self, batch):
        scores = super().forward(batch)
        return scores - scores.mean() * torch.arange(2)


class DependsOnTheBatch(Base):
    card = Card(summary="x", uses=("objective", "predict"))

    def attach(self, scorer, *, new_scorer, rng):
        return SeesTheBatch(scorer)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (NoSummary, "no summary"), (Unsaid, "changes weights, which its card does not say"),
        (MeanTwo, "mean 2, not one"), (ByPosition, "depend on the row order"), (Mutates, "given to Mutates"),
        (Swallows, "swallows unknown options"), (Forgets, "without a trailing underscore: _share"),
        (Outside, "leave the table"), (NotFromSeed, "two calls with the same seed"),
        (NeedsButDoesNotMiss, "does not miss the column"), (Careless, "accepts an estimand"),
        (TwiceTheSame, "not uniquely named"), (KeepsACounter, "state outside its state_dict"),
        (NeedsSeverityToPredict, "cannot predict without"), (DependsOnTheBatch, "depends on its batch"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_broken_adjusters_are_caught(broken, says: str) -> None:
    with pytest.raises(AssertionError, match=says) as caught:
        check_adjuster(broken)
    assert isinstance(caught.value, NonConformance) or broken is Mutates
