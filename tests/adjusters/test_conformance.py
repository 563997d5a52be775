from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from adjusters.contract import Adjuster, Card, ContractError, LossTerms, Objective, Stage
from adjusters.registry import adjuster_class, available
from adjusters.table_columns import require_columns
from adjusters.testing import NonConformance, check_adjuster

CASES = [
    *((name, {}) for name in available()),
    ("backdoor", {"prior": "marginal"}),
    ("backdoor", {"severity_from": "question", "words": ["low", "high"]}),
    pytest.param("ipw", {"scheme": "overlap"}, marks=pytest.mark.slow),
    pytest.param("ipw", {"scheme": "entropy"}, marks=pytest.mark.slow),
    ("ipw", {"scheme": "unstabilised", "clip": 0.95, "by": None}),
    pytest.param("ipw", {"propensity": "multinomial", "scheme": "overlap", "folds": 3}, marks=pytest.mark.slow),
    pytest.param("ipw", {"propensity": "embedding", "clip": 5.0}, marks=pytest.mark.slow),
    pytest.param("ipw", {"treatment": "wording_id"}, marks=pytest.mark.slow),
    pytest.param("ipw", {"folds": 3}, marks=pytest.mark.slow),
    pytest.param("matched", {"replace": False, "ratio": 2, "by": None}, marks=pytest.mark.slow),
    pytest.param("question_randomised", {"fine_tuning": "frozen"}, marks=pytest.mark.slow),
    pytest.param("question_randomised", {"fine_tuning": "weighted"}, marks=pytest.mark.slow),
    ("stratified", {"epochs": 0}),
    ("stratified", {"plain": True}),
    pytest.param("stratified", {"exchange": "style"}, marks=pytest.mark.slow),
    pytest.param("group_dro", {"balanced": False, "memory": 0.9, "adjustment": 1.0}, marks=pytest.mark.slow),
    pytest.param("group_weights", {"groups": "answer-style-topic", "scheme": "independent"}, marks=pytest.mark.slow),
    pytest.param("irm", {"environment": "severity", "anneal": 0, "whole_from": 0}, marks=pytest.mark.slow),
    pytest.param("last_layer_refit", {"balanced_by": "draws"}, marks=pytest.mark.slow),
    pytest.param("last_layer_refit", {"refit": "answer_head", "balanced_by": "weights"}, marks=pytest.mark.slow),
    pytest.param("ecg_swap", {"answer": "any"}, marks=pytest.mark.slow),
    pytest.param("ecg_swap", {"answer": "other"}, marks=pytest.mark.slow),
    pytest.param("ecg_swap", {"answer": "same", "copies": 2, "within": "severity"}, marks=pytest.mark.slow),
    pytest.param("twins", {"twin": "copy", "unpaired": True}, marks=pytest.mark.slow),
    pytest.param("modality_dropout", {"drop": "nothing"}, marks=pytest.mark.slow),
    pytest.param("canonical_text", {"per": "style", "threshold": 1.0}, marks=pytest.mark.slow),
    pytest.param("product_of_experts", {"bias_view": "question"}, marks=pytest.mark.slow),
    pytest.param("learned_mixin", {"bias_view": "question", "restore_prior": False}, marks=pytest.mark.slow),
    pytest.param("inverse_answer", {"restore_prior": False, "clip": 0.95}, marks=pytest.mark.slow),
    pytest.param("effect_subtraction", {"reference": "constant", "fusion": "hm"}, marks=pytest.mark.slow),
    pytest.param("effect_subtraction", {"reference": "noise", "plausibility": 0.1}, marks=pytest.mark.slow),
    pytest.param("effect_subtraction", {"reference": "mean", "told": "nothing"}, marks=pytest.mark.slow),
    pytest.param("rubi", {"bias_view": "style", "folds": 3}, marks=pytest.mark.slow),
    pytest.param("rubi", {"centred": False}, marks=pytest.mark.slow),
    pytest.param("effect_subtraction", {"bias_view": "style", "weight": 0.5}, marks=pytest.mark.slow),
    pytest.param("effect_subtraction", {"prior": "counts", "restore_prior": False}, marks=pytest.mark.slow),
    pytest.param("lff", {"bias_view": "style", "restore_prior": False}, marks=pytest.mark.slow),
    pytest.param("rebias", {"bias_view": "style", "given": "answer"}, marks=pytest.mark.slow),
    pytest.param("jtt", {"bias_view": "question", "upweight": 20.0}, marks=pytest.mark.slow),
    pytest.param("lff", {"bias_view": "question", "smoothing": 0.0}, marks=pytest.mark.slow),
    pytest.param("rebias", {"layer": "fused", "dependence": "hsic", "given": "nothing"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value))
def test_available_adjusters_conform(name: str, options: dict) -> None:
    check_adjuster(name, **options)


def test_a_class_is_checked_like_a_name() -> None:
    check_adjuster(adjuster_class("ipw"), clip=3.0)


class Base(Adjuster):
    card = Card(summary="For a test.")


class NoSummary(Adjuster):
    card = Card(summary=" ")


class Unsaid(Base):
    def weights(self, table):
        return np.ones(len(table))


class PlaceboOfNothing(Base):
    card = Card(summary="x", placebo={"shuffled": True})


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
        yield np.random.default_rng(NotFromSeed.calls).permutation(np.flatnonzero(table["kind"] == "one"))


class EveryEpochTheSame(Base):
    card = Card(summary="x", uses=("batches",))

    def batches(self, table, size, *, seed, epoch):
        yield np.flatnonzero(table["kind"] == "one")


class MixesKinds(Base):
    card = Card(summary="x", uses=("batches",))

    def batches(self, table, size, *, seed, epoch):
        yield np.random.default_rng([seed, epoch]).permutation(len(table))


class NeedsButDoesNotMiss(Base):
    card = Card(summary="x", needs=("severity",))

    def require(self, table, estimand) -> None:
        pass


class KnowsOneCohort(Base):
    card = Card(summary="x", uses=("weights",))

    def weights(self, table):
        require_columns("KnowsOneCohort", table, ("severity_simulated",))
        found = table["severity_simulated"].to_numpy() + 1.0
        return found / found.mean()


class KnowsOneCohortQuietly(Base):
    card = Card(summary="x", uses=("weights",))

    def weights(self, table):
        if "severity_simulated" not in table.columns:
            return np.ones(len(table))
        found = table["severity_simulated"].to_numpy() + 1.0
        return found / found.mean()


class TakesAnEstimandForGranted(Base):
    def fit(self, table, estimand=None, *, rng):
        self.topic_ = estimand.roles["topic"]
        return super().fit(table, estimand, rng=rng)


class ReadsWhatItDoesNotName(Base):
    card = Card(summary="x", uses=("rewrite",))

    def rewrite(self, table, *, rng):
        return table.assign(wording_id=table["wording_id"].str.upper())


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


class Rounds(Base):
    def __init__(self, strength: float = 1.0) -> None:
        self.strength = float(round(strength))


class Renames(Base):
    def __init__(self, strength: float = 1.0) -> None:
        self.power = strength


class LearnsWhenMade(Base):
    def __init__(self, strength: float = 1.0) -> None:
        self.strength, self.share_ = strength, 0.5


class NoSelf(Base):
    def fit(self, table, estimand=None, *, rng):
        super().fit(table, estimand, rng=rng)


class ChangesAnOption(Base):
    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    def fit(self, table, estimand=None, *, rng):
        self.strength = 2.0
        return super().fit(table, estimand, rng=rng)


class WeightsByName(Base):
    """Weights of what ``given`` returns; a card that says so."""

    card = Card(summary="x", uses=("weights",))

    def weights(self, table):
        return self.given(len(table))


class Short(WeightsByName):
    def given(self, n):
        return np.ones(n - 1)


class Negative(WeightsByName):
    def given(self, n):
        return np.where(np.arange(n) % 2, -1.0, 3.0)


class NotFinite(WeightsByName):
    def given(self, n):
        return np.where(np.arange(n) % 2, np.nan, 1.0)


class AList(WeightsByName):
    def given(self, n):
        return [1.0] * n


class FirstRowDecides(Base):
    """Its weights are of the cell of the first row that it was fitted to."""

    card = Card(summary="x", uses=("weights",))

    def fit(self, table, estimand=None, *, rng):
        self.topic_ = table["ecg_ids"].iloc[0][0][-1]
        return super().fit(table, estimand, rng=rng)

    def weights(self, table):
        found = np.where(table["ecg_ids"].str[0].str[-1] == self.topic_, 2.0, 1.0)
        return found / found.mean()


class MeetsTheMissingColumnLate(Base):
    card = Card(summary="x", needs=("severity",))

    def require(self, table, estimand) -> None:
        if estimand is not None:
            table[estimand.roles["severity"]].isna()


class NotJson(Base):
    def fit(self, table, estimand=None, *, rng):
        self.topics_ = set(table["topic"])
        return super().fit(table, estimand, rng=rng)


class SavesNothing(Base):
    card = Card(summary="x", uses=("weights",))

    def fit(self, table, estimand=None, *, rng):
        self.one_ = 1.0
        return super().fit(table, estimand, rng=rng)

    def state(self):
        return {}

    def weights(self, table):
        return np.full(len(table), self.one_)


class TrainsNoPart(Base):
    def stages(self):
        return (Stage("main", trains=("head",)),)


class HasAHead(Objective):
    def __init__(self, scorer) -> None:
        super().__init__(scorer)
        self.head = nn.Linear(2, 2)

    def forward(self, batch):
        return self.head(self.scorer(batch))


class DrawsElsewhere(Base):
    card = Card(summary="x", uses=("objective", "predict"))

    def attach(self, scorer, *, new_scorer, rng):
        return HasAHead(scorer)


class Scaled(Objective):
    scale = 1.0

    def begin(self, stage, predictions, features, columns) -> None:
        self.scale = 2.0

    def forward(self, batch):
        return self.scale * self.scorer(batch)


class LearnsANumber(Base):
    """What its objective learns before the stage is a plain attribute, which a checkpoint loses."""

    card = Card(summary="x", uses=("objective", "predict"))

    def attach(self, scorer, *, new_scorer, rng):
        return Scaled(scorer)


class Difference(Objective):
    def forward(self, batch):
        scores = self.scorer(batch)
        return scores - 0.5 * scores


class NanAtPadding(Base):
    card = Card(summary="x", uses=("objective", "predict"))

    def attach(self, scorer, *, new_scorer, rng):
        return Difference(scorer)


class Reads(Objective):
    def loss(self, batch, part, *, progress):
        terms = super().loss(batch, part, progress=progress)
        return LossTerms(terms.total + self.scorer.features(batch, "ecg").square().mean(), terms.per_item)


class TakesFeaturesForGranted(Base):
    card = Card(summary="x", uses=("objective",))

    def attach(self, scorer, *, new_scorer, rng):
        return Reads(scorer)


class Twice(Objective):
    def forward(self, batch):
        return (self.scorer(batch) + self.scorer(batch)) / 2


class AsksTwiceAndSaysOnce(Base):
    card = Card(summary="x", uses=("objective", "predict"))

    def attach(self, scorer, *, new_scorer, rng):
        return Twice(scorer)


class RefusesAtLength(TakesFeaturesForGranted):
    def attach(self, scorer, *, new_scorer, rng):
        if not hasattr(scorer, "features"):
            raise ContractError("no features\nsorry")
        return Reads(scorer)


class RefusesWell(TakesFeaturesForGranted):
    def attach(self, scorer, *, new_scorer, rng):
        if not hasattr(scorer, "features"):
            raise ContractError("RefusesWell needs a scorer with features; use one that has them")
        return Reads(scorer)


class Noisy(Objective):
    """Random numbers in the loss are the trainer's to seed, as those of dropout are."""

    def loss(self, batch, part, *, progress):
        terms = super().loss(batch, part, progress=progress)
        return LossTerms(terms.total * torch.rand(()), terms.per_item)


class HasDropout(Base):
    card = Card(summary="x", uses=("objective",))

    def attach(self, scorer, *, new_scorer, rng):
        return Noisy(scorer)


@pytest.mark.parametrize("sound", [Base, RefusesWell, HasDropout], ids=lambda value: value.__name__)
def test_sound_strangers_conform(sound) -> None:
    check_adjuster(sound)


BROKEN = [
    (PlaceboOfNothing, {}, "placebo sets shuffled, which is no option of it"),
    (NoSummary, {}, "no summary"), (Unsaid, {}, "changes weights, which its card does not say"),
    (Swallows, {}, "swallows unknown options"), (Rounds, {"strength": 1.25}, "'strength' as given"),
    (Renames, {}, "does not store its option 'strength'"), (LearnsWhenMade, {}, "before fit: share_"),
    (NoSelf, {}, "does not return self"), (Mutates, {}, "changes the caller's table"),
    (ChangesAnOption, {}, "fit changes its options"), (Forgets, {}, "without a trailing underscore: _share"),
    (ReadsWhatItDoesNotName, {}, "meets the missing column 'wording_id' with KeyError"),
    (NeedsButDoesNotMiss, {}, "does not miss the column"), (MeetsTheMissingColumnLate, {}, "meets the missing column"),
    (Careless, {}, "accepts an estimand"),
    (MeanTwo, {}, "mean 2, not one"), (ByPosition, {}, "depend on the row order"), (Short, {}, "weights for 400 rows"),
    (Negative, {}, "not finite and >= 0"), (NotFinite, {}, "not finite and >= 0"), (AList, {}, "are a list"),
    (FirstRowDecides, {}, "row order of the table it was fitted to"),
    (Outside, {}, "leave the table"), (NotFromSeed, {}, "two calls with the same seed"),
    (EveryEpochTheSame, {}, "the same in every epoch"), (MixesKinds, {}, "both kinds into one batch"),
    (NotJson, {}, "cannot be saved"), (SavesNothing, {}, "cannot be used after save and load"),
    (TwiceTheSame, {}, "not uniquely named"), (TrainsNoPart, {}, "trains 'head', which is no part"),
    (DrawsElsewhere, {}, "random numbers|another state after save"),
    (KeepsACounter, {}, "state outside its state_dict"), (LearnsANumber, {}, "something that is not in its state_dict"),
    (NeedsSeverityToPredict, {}, "cannot predict without"), (DependsOnTheBatch, {}, "depends on its batch"),
    (NanAtPadding, {}, "predicts NaN"),
    (TakesFeaturesForGranted, {}, "without features with AttributeError"),
    (RefusesAtLength, {}, "something else than one sentence"),
    (KnowsOneCohort, {}, "called 'severity_simulated' only"), (KnowsOneCohortQuietly, {}, "other weights or columns"),
    (TakesAnEstimandForGranted, {}, "identifies nothing with AttributeError"),
    (AsksTwiceAndSaysOnce, {}, "says passes = 1; an answer takes 2"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "options", "says"), BROKEN, ids=[case[0].__name__ for case in BROKEN])
def test_broken_adjusters_are_caught(broken, options: dict, says: str) -> None:
    with pytest.raises(NonConformance, match=says) as caught:
        check_adjuster(broken, **options)
    assert broken.__name__ in str(caught.value)
