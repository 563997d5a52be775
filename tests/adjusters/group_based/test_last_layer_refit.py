from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adjusters.contract import Batch, ContractError, Stage
from adjusters.exchanged_wordings import ExchangedWordings, wordings_of
from adjusters.group_based import last_layer_refit
from adjusters.group_based.groups import GROUP
from adjusters.group_based.last_layer_refit import WEIGHT, LastLayerRefit, RefittedHead
from adjusters.group_based.linear_head import fit_linear_head
from adjusters.reference_loop import columns_of, drive, wanted, weighted
from adjusters.toy import ESTIMAND, ToyScorer, accuracy, toy_cohort

DIM = 3


class Featured(nn.Module):
    """Fixed features per row, in units of their own; its own scores are 7, 8, 9."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        numbers = np.random.default_rng(3).standard_normal((rows, DIM)) * [1.0, 10.0, 0.1] + [0.0, 5.0, -1.0]
        self.numbers = nn.Parameter(torch.from_numpy(numbers))

    def forward(self, batch: Batch) -> Tensor:
        scores = torch.tensor([7.0, 8.0, 9.0], dtype=torch.float64).expand(batch.candidate_ids.shape)
        return scores.masked_fill(batch.padding, float("-inf"))

    def features(self, batch: Batch, view: str) -> Tensor:
        return self.numbers[batch.rows]

    def feature_dim(self, view: str) -> int:
        return DIM


def refitted(batches: list[Batch], columns: dict[str, Tensor], balanced_by: str, refits: int = 1) -> RefittedHead:
    """A head refitted to these items, which come in several batches."""
    rows = sum(map(len, batches))
    head = RefittedHead(Featured(rows), ["a", "b", "c", "d"], ExchangedWordings({}), balanced_by, refits, 0.8).double()
    names = ("candidates", "true", "several", "fused 0")
    with torch.no_grad():
        features = {name: torch.cat([head.wanted(b, f"features:{name}") for b in batches]) for name in names}
    head.begin(Stage("refit", trains=(), split="validation"), None, features, columns)
    return head


def both_kinds(fixed_items) -> tuple[list[Batch], Batch]:
    """Twelve items with one answer and twelve with any number, and all in one for their names."""
    one, several = fixed_items("one", n=12), fixed_items("set", n=12, seed=2)
    return [one, several.replace(rows=several.rows + 12)], one


def check_parity(fixed_items, equations) -> None:
    """No gradient of the equation's loss is left at what was found, in the features' own units."""
    batches, _ = both_kinds(fixed_items)
    weights = torch.linspace(0.5, 1.5, 24)
    columns = {GROUP: torch.arange(24) % 2, WEIGHT: weights}
    head = refitted(batches, columns, "weights")
    x, mean, scale = equations.standardised(head.scorer.numbers.tolist())
    raw = head.coefficient
    slopes = raw[:, :-1] * torch.tensor(scale, dtype=torch.float64)
    found = torch.cat(
        [slopes, (raw[:, -1] + raw[:, :-1] @ torch.tensor(mean, dtype=torch.float64))[:, None]], 1
    ).tolist()
    sets = [False] * 12 + [True] * 12
    ids = [[c for c in row if c >= 0] for b in batches for row in b.candidate_ids.tolist()]
    true = [[c for c, t in enumerate(row) if t] for b in batches for row in b.answer.tolist()]
    _, gradient = equations.loss_and_gradient(found, x, ids, true, sets, weights.tolist(), 0.8)
    assert max(abs(g) for row in gradient for g in row) < 1e-6
    assert found[3] == [0.0] * (DIM + 1) and head.known.tolist() == [True, True, True, False]


def test_the_head_minimises_the_penalised_likelihood(fixed_items, equation, monkeypatch) -> None:
    check_parity(fixed_items, equation("last_layer_refit"))
    monkeypatch.setattr(
        last_layer_refit, "fit_linear_head", lambda *given: fit_linear_head(*given[:-1], 1.01 * given[-1])
    )
    with pytest.raises(AssertionError):
        check_parity(fixed_items, equation("last_layer_refit"))


def test_an_item_with_a_candidate_never_seen_is_answered_as_before(fixed_items) -> None:
    batches, one = both_kinds(fixed_items)
    head = refitted(batches, {}, "wordings")
    strange = one.replace(candidates=(("a", "d"), ("b", "new"), *one.candidates[2:]))
    with torch.no_grad():
        found, usual, own = head(strange), head(one), head.scorer(one)
    assert torch.equal(found[:2], own[:2]) and torch.equal(found[2:], usual[2:])
    assert torch.isneginf(found[one.padding]).all() and torch.isfinite(found[~one.padding]).all()
    assert not torch.allclose(usual[~one.padding], own[~one.padding])


def test_draws_have_as_many_rows_of_every_group_as_the_rarest_has(fixed_items, monkeypatch) -> None:
    batches, _ = both_kinds(fixed_items)
    group = torch.tensor([0] * 15 + [1] * 6 + [2] * 2 + [-1])
    drawn = []

    def watched(x, candidates, true, several, weights, penalty) -> Tensor:
        drawn.append(x)
        return torch.full((4, DIM + 1), float(len(drawn)), dtype=torch.float64)

    monkeypatch.setattr(last_layer_refit, "fit_linear_head", watched)
    columns = {GROUP: group, WEIGHT: torch.ones(24)}
    torch.manual_seed(0)
    head = refitted(batches, columns, "draws", refits=3)
    numbers = head.scorer.numbers[:23]
    x = ((numbers - numbers.mean(0)) / numbers.std(0, correction=0)).detach()
    rows = [[int((x - row).abs().sum(1).argmin()) for row in each] for each in drawn]
    assert all(torch.bincount(group[each]).tolist() == [2, 2, 2] for each in rows)
    assert len({tuple(each) for each in rows}) > 1
    back = head.coefficient[0, -1] + head.coefficient[0, :-1] @ numbers.mean(0)
    assert back.item() == pytest.approx(2.0), "the mean of 1, 2 and 3"


@pytest.fixture(scope="module")
def toy():
    return toy_cohort(rho=0.95, train=1500, valid=500, test=4000, topics=("infarction", "fibrillation"), seed=1)


def test_wordings_are_exchanged_within_a_question_and_even_over_time(toy) -> None:
    rows = toy.split("valid")
    words = ExchangedWordings(wordings_of("x", toy.split("train"), "style", "question"))
    batch = toy.batch(rows, np.arange(len(rows)))
    batch = batch.replace(metadata=("Age 60.",) * len(rows), question=tuple(f"Age 60. {q}" for q in batch.question))
    times = [words.fixed(batch, time, 4).question for time in range(4)]
    urgent = np.array([["Quick" in q or "Emergency" in q for q in asked] for asked in times])
    for asked in times:
        assert all(q.startswith("Age 60. ") and topic in q for q, topic in zip(asked, batch.topic, strict=True))
    # Of a row's four wordings, evenly spread over texts of which half are urgent, one to three are.
    assert set(urgent.sum(0)) <= {1, 2, 3}
    assert urgent.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / urgent.size))
    before = rows["style"] == "urgent"
    assert np.corrcoef(urgent[0], before)[0, 1] == pytest.approx(0.0, abs=4 / np.sqrt(len(rows)))
    unknown = batch.replace(question=("Well?", None, *batch.question[2:]), metadata=())
    assert words.fixed(unknown, 0, 4).question[:2] == ("Well?", None)


@pytest.mark.parametrize("balanced_by", ["wordings", "draws", "weights"])
def test_it_is_given_validation_rows_and_predicts_with_the_new_head(toy, balanced_by: str) -> None:
    adjuster = LastLayerRefit(balanced_by=balanced_by, refits=2)
    torch.manual_seed(0)
    done = drive(adjuster, toy.split("train"), toy.split("valid"), toy.batch, ToyScorer, estimand=ESTIMAND, epochs=1)
    head = done.objective
    assert bool(head.refitted) and head.known.all()
    table = weighted(adjuster, toy.split("valid"))
    features, columns = wanted(head, adjuster.stages()[1], table, columns_of(adjuster, table), toy.batch)[1:]
    assert (columns.keys() >= {GROUP, WEIGHT}) == (balanced_by != "wordings")
    assert [name for name in features if name.startswith("fused")] == [
        f"fused {time}" for time in range(2 if balanced_by == "wordings" else 1)
    ]


def test_only_the_part_moves_in_its_stage_and_nothing_else_is_in_training_mode(toy) -> None:
    before: dict[str, Tensor] = {}

    class Watched(last_layer_refit.RefittedPart):
        def begin(self, stage, predictions, features, columns) -> None:
            super().begin(stage, predictions, features, columns)
            before.clear()
            before.update({name: value.clone() for name, value in self.state_dict().items()})

        def loss(self, batch, part, *, progress):
            head = self.scorer.part("answer_head")
            assert all(m.training == (part == "main" or m is head) for m in self.scorer.modules())
            return super().loss(batch, part, progress=progress)

    class WatchedAdjuster(LastLayerRefit):
        def attach(self, scorer, *, new_scorer, rng):
            return Watched(scorer, scorer.part("answer_head"), ExchangedWordings(self.wordings_))

    done = drive(
        WatchedAdjuster(refit="answer_head", epochs=1), toy.split("train"), toy.split("valid"), toy.batch, ToyScorer,
        estimand=ESTIMAND, epochs=1,
    )  # fmt: skip
    after = done.objective.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {"scorer.answer_head.weight", "scorer.answer_head.bias"}


@pytest.mark.slow
def test_wordings_recover_what_the_shortcut_costs_and_the_placebo_does_not(toy) -> None:
    """The finding's features are there after ordinary training; the placebo refits to the rows as they were asked."""
    found = {}
    for name, options in {"wordings": {}, "placebo": dict(LastLayerRefit.card.placebo)}.items():
        torch.manual_seed(0)
        done = drive(
            LastLayerRefit(**options), toy.split("train"), toy.split("valid"), toy.batch, ToyScorer, estimand=ESTIMAND,
            epochs=8,
        )  # fmt: skip
        found[name] = accuracy(done.objective, toy, "test_unbiased")
    assert found["wordings"] > found["placebo"] + 4 * np.sqrt(0.5 / 4000), found


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"refit": "tail"}, "refit is head, projector or answer_head"),
        ({"balanced_by": "magic"}, "balanced_by is wordings, draws or weights"),
        ({"refit": "projector", "balanced_by": "draws"}, "use balanced_by=wordings or balanced_by=weights"),
        ({"refits": 0}, "refits must be a whole number"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"penalty": 0.0}, "penalty must be a positive number"),
    ],
)
def test_refused_options(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        LastLayerRefit(**options)


def test_refused_tables_and_scorers(toy) -> None:
    rows, rng = toy.split("train"), np.random.default_rng(0)
    with pytest.raises(ContractError, match="needs the column 'question_id'"):
        LastLayerRefit().fit(rows.drop(columns="question_id"), ESTIMAND, rng=rng)
    with pytest.raises(ContractError, match="no wordings to exchange.*use balanced_by=weights"):
        LastLayerRefit().fit(rows.assign(question_id=rows["topic"] + rows["style"]), ESTIMAND, rng=rng)
    with pytest.raises(ContractError, match=r"ToyScorer has none that is trained; use refit=head"):
        LastLayerRefit(refit="projector").fit(rows, ESTIMAND, rng=rng).attach(ToyScorer(), new_scorer=None, rng=rng)
    with pytest.raises(ContractError, match="needs a scorer with features and feature_dim, which Linear lacks"):
        LastLayerRefit().fit(rows, ESTIMAND, rng=rng).attach(nn.Linear(1, 1), new_scorer=None, rng=rng)
