from __future__ import annotations

import numpy as np
import pytest
import rebias_equation
import torch
from torch import nn

from adjusters.contract import Batch, ContractError
from adjusters.reference_loop import columns_of, variants, weighted
from adjusters.registry import adjuster
from adjusters.shortcut_model import independence
from adjusters.shortcut_model.bias_view import CODE
from adjusters.shortcut_model.hsic import dependence
from adjusters.shortcut_model.independence import (
    QUESTION,
    IndependenceObjective,
    Penalty,
    ReBiasObjective,
    ViewReBiasObjective,
    score_features,
)
from adjusters.shortcut_model.rebias import ReBias
from adjusters.toy import ToyScorer, toy_cohort
from causalecg.benchmark import regimes
from causalecg.benchmark.leaderboard.evidence import declared_estimand
from causalecg.benchmark.t0.arms import EvidenceArm
from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
from causalecg.benchmark.t0.training import train

WIDTHS = [3, 2, 3, 2, 2, 3, 3, 2, 2, 3, 2, 2, 3, 2, 3, 3, 2, 2, 3, 2]
PLACES = [[(row + i) % 4 for i in range(width)] for row, width in enumerate(WIDTHS)]
STYLES = ["calm", "urgent", "calm", "plain", "urgent"] * 4


class Fixed(nn.Module):
    """(rows, 3) numbers; an item's scores are those of its row. Fused features are other numbers."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = np.random.default_rng(seed)
        self.numbers = nn.Parameter(torch.from_numpy(draw.standard_normal((len(WIDTHS), 3)) * 2))
        self.fused = torch.from_numpy(draw.standard_normal((len(WIDTHS), 2)))

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.numbers[batch.rows].masked_fill(batch.padding, float("-inf"))


class WithFeatures(Fixed):
    def features(self, batch: Batch, view: str) -> torch.Tensor:
        assert view == "fused"
        return self.fused[batch.rows]


def items(kind: str = "one") -> Batch:
    """Candidates among four answers; the true ones are answers 0 or 1, where those are candidates; of a set, answer 0
    alone."""
    n = len(WIDTHS)
    ids = torch.tensor([[*(10 + place for place in row), *[-1] * (3 - len(row))] for row in PLACES])
    true = torch.tensor([min(range(len(row)), key=lambda i: row[i]) for row in PLACES])
    answer = torch.arange(3)[None, :] == true[:, None] if kind == "one" else ids == 10
    return Batch(
        rows=torch.arange(n), ecg=torch.zeros(n, 2, 1, 4), ecg_present=torch.ones(n, 2, dtype=torch.bool),
        question=("?",) * n, candidates=tuple(tuple("abcd"[p] for p in row) for row in PLACES), candidate_ids=ids,
        answer=answer, kind=kind,
        columns={QUESTION: torch.zeros(n, dtype=torch.long), CODE: torch.tensor(np.unique(STYLES, return_inverse=True)[1])},
        topic=("one", "one", "two", "two") * (n // 4),
    )  # fmt: skip


def objective_of(
    given: str, measure: str, rows: int = 128, layer: str = "scores", view: str = "question"
) -> IndependenceObjective:
    how = Penalty(3.0, measure, given, layer, rows)
    made = Fixed if layer == "scores" else WithFeatures
    if view == "question":
        return ReBiasObjective(made(1), made(2), ("?",), how).double()
    return ViewReBiasObjective(made(1), 5, how).double()


def check_parity(given: str, measure: str, kind: str = "one", layer: str = "scores", view: str = "question") -> None:
    batch, objective = items(kind), objective_of(given, measure, layer=layer, view=view)
    models = {"f": objective.scorer, **({"g": objective.partner} if view == "question" else {})}
    scores = {
        part: [row[:width] for row, width in zip(model.numbers.tolist(), WIDTHS, strict=True)]
        for part, model in models.items()
    }
    true = [row[:width] for row, width in zip(batch.answer.tolist(), WIDTHS, strict=True)]
    answer = [tuple(p for p, so in zip(row, yes, strict=True) if so) for row, yes in zip(PLACES, true, strict=True)]
    classes = {"nothing": [0] * len(true), "answer": answer,
               "answer_and_topic": list(zip(answer, batch.topic, strict=True))}[given]  # fmt: skip
    if layer == "fused":
        features = {part: model.fused.tolist() for part, model in models.items()}
    else:
        at_places = rebias_equation.centred if kind == "one" else rebias_equation.placed
        features = {part: at_places(of_part, PLACES, 4) for part, of_part in scores.items()}
    if view == "style":
        features["g"] = rebias_equation.one_hot(STYLES)
    depends = rebias_equation.dependence(features["f"], features["g"], classes, measure)
    assert abs(depends) > 1e-4
    for part, sign in (("f", 1), ("g", -1)):
        if part not in models:
            continue
        if kind == "one":
            likelihood = rebias_equation.loss(scores[part], [row.index(True) for row in true])
        else:
            likelihood = rebias_equation.set_loss(scores[part], true)
        wanted = likelihood + sign * 3.0 * depends
        assert objective.loss(batch, part, progress=0.0).total.item() == pytest.approx(wanted, abs=1e-6)


def parity_and_a_turned_sign(monkeypatch, *case: str) -> None:
    check_parity(*case)
    monkeypatch.setattr(independence, "dependence", lambda *inputs: -dependence(*inputs))
    with pytest.raises(AssertionError):
        check_parity(*case)


@pytest.mark.parametrize("measure", ["hsic", "cka"])
@pytest.mark.parametrize("given", ["nothing", "answer", "answer_and_topic"])
def test_losses_are_those_of_the_equation(given: str, measure: str, monkeypatch) -> None:
    parity_and_a_turned_sign(monkeypatch, given, measure)


@pytest.mark.parametrize("view", ["question", "style"])
@pytest.mark.parametrize(("kind", "layer"), [("set", "scores"), ("one", "fused"), ("set", "fused")])
def test_losses_of_sets_and_of_fused_features_are_those_of_the_equation(
    kind: str, layer: str, view: str, monkeypatch
) -> None:
    parity_and_a_turned_sign(monkeypatch, "answer_and_topic", "cka", kind, layer, view)


@pytest.mark.parametrize("measure", ["hsic", "cka"])
@pytest.mark.parametrize("given", ["answer", "answer_and_topic"])
def test_losses_of_a_view_are_those_of_the_equation(given: str, measure: str, monkeypatch) -> None:
    parity_and_a_turned_sign(monkeypatch, given, measure, "one", "scores", "style")


def test_classes_are_of_answer_and_topic() -> None:
    batch = items()
    true = [row[int(at)] for row, at in zip(PLACES, batch.answer.long().argmax(1), strict=True)]
    for given, wanted in (("answer", true), ("answer_and_topic", list(zip(true, batch.topic, strict=True)))):
        found = objective_of(given, "hsic")._classes(batch, torch.arange(len(batch))).tolist()
        assert [a == b for a in found for b in found] == [a == b for a in wanted for b in wanted]


def test_each_part_learns_from_its_own_side_only() -> None:
    objective = objective_of("answer", "hsic")
    for part, own, other in (("f", objective.scorer, objective.partner), ("g", objective.partner, objective.scorer)):
        total = objective.loss(items(), part, progress=0.0).total
        assert [id(p) for p in objective.parameters_of(part)] == [id(own.numbers)]
        (mine, none) = torch.autograd.grad(total, [own.numbers, other.numbers], allow_unused=True)
        assert mine.abs().max() > 0 and none is None


def test_scores_of_sets_and_padding_are_finite_features() -> None:
    batch = items()
    for kind in ("one", "set"):
        found = score_features(Fixed(1)(batch), batch.replace(kind=kind))
        assert found.shape == (len(batch), 4) and bool(torch.isfinite(found).all())
        terms = objective_of("answer", "cka").loss(batch.replace(kind=kind), "f", progress=0.0)
        assert bool(torch.isfinite(terms.total))


def test_all_rows_have_their_turn_under_one_seed() -> None:
    objective, seen = objective_of("answer", "hsic", rows=4), []
    for _ in range(5):
        torch.manual_seed(0)
        seen.append(objective._some_rows(len(WIDTHS)))
        objective.after_step(items(), {})
    assert set(torch.cat(seen).tolist()) == set(range(len(WIDTHS)))
    assert all(len(set(rows.tolist())) == 4 for rows in seen)


def test_the_partner_is_asked_by_the_column_and_sees_no_ecg() -> None:
    toy = toy_cohort(rho=0.9, train=20, valid=5, test=5, topics=("infarction", "fibrillation"))
    found = ReBias().fit(toy.split("train"), rng=np.random.default_rng(0))
    table = weighted(found, toy.split("train"))
    batch = toy.batch(table, np.arange(20), columns_of(found, table))
    objective = found.attach(ToyScorer(), new_scorer=variants(ToyScorer), rng=np.random.default_rng(0))
    assert objective._asked(batch).question == batch.question
    dealt = batch.replace(columns={**batch.columns, QUESTION: batch.columns[QUESTION].roll(1)})
    assert objective._asked(dealt).question == (batch.question[-1], *batch.question[:-1])
    assert not objective._asked(dealt).ecg_present.any()
    unknown = batch.replace(columns={**batch.columns, QUESTION: torch.full((20,), -1)})
    assert objective._asked(unknown).question == batch.question
    assert found.columns(table.assign(question="Never asked?"))[QUESTION].tolist() == [-1] * 20


def test_a_view_is_a_code_and_nothing_learns_beside_the_model() -> None:
    toy = toy_cohort(rho=0.9, train=40, valid=5, test=5, topics=("infarction", "fibrillation"))
    train = toy.split("train")
    found = ReBias(bias_view="style").fit(train, rng=np.random.default_rng(0))
    objective = found.attach(ToyScorer(), new_scorer=variants(ToyScorer), rng=np.random.default_rng(0))
    assert objective.parts == ("f",) and found.stages()[0].trains == ("f",)
    assert len(list(objective.parameters_of("f"))) == len(list(ToyScorer().parameters()))
    for style, code in (("plain", 0), ("urgent", 1), ("never seen", 2)):
        (column,) = set(found.columns(train.assign(style=style))[CODE].tolist())
        assert column == code
    batch = toy.batch(weighted(found, train), np.arange(40), columns_of(found, weighted(found, train)))
    assert objective.biased(batch).sum(1).tolist() == [1.0] * 40


def test_what_it_is_judged_by_includes_the_dependence() -> None:
    batch, objective = items(), objective_of("answer", "hsic")
    trained = objective.loss(batch, "f", progress=1.0).total
    assert objective.validation_loss(batch).mean().item() == pytest.approx(trained.item(), abs=1e-9)
    assert bool(torch.isfinite(objective.validation_loss(batch.select([0]))).all()), "a last batch of one row"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"strength": 0}, "strength must be a number above 0"),
        ({"dependence": "mutual"}, "dependence must be hsic or cka, not mutual"),
        ({"given": "topic"}, "given must be nothing, answer or answer_and_topic, not topic"),
        ({"layer": "ecg"}, "layer must be scores or fused"),
        ({"rows": 3}, "rows must be a whole number, at least 4"),
        ({"bias_view": "hair"}, "bias_view is style, template, type, question"),
    ],
)
def test_refusals(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("rebias", **options)


def test_fused_features_and_questions_are_asked_for_where_they_are_missing() -> None:
    table = toy_cohort(train=10, valid=2, test=2).split("train")
    with pytest.raises(ContractError, match="needs the column 'question'"):
        adjuster("rebias").fit(table.drop(columns="question"), rng=np.random.default_rng(0))
    for column in ("kind", "style"):
        with pytest.raises(ContractError, match=f"rebias needs the column '{column}'"):
            adjuster("rebias", bias_view="style").fit(table.drop(columns=column), rng=np.random.default_rng(0))
    with pytest.raises(ContractError, match="'template_id' has a single value, so nothing could depend on it"):
        adjuster("rebias", bias_view="template").fit(table, rng=np.random.default_rng(0))
    found = adjuster("rebias", layer="fused").fit(table, rng=np.random.default_rng(0))
    with pytest.raises(ContractError, match="needs features, which Fixed lacks"):
        found.attach(Fixed(1), new_scorer=lambda variant: Fixed(2), rng=np.random.default_rng(0))


def at_t0(regime: str, arm: str) -> float:
    """Accuracy on 5,000 patients with the style re-drawn."""
    law = regimes.regime(regime).law()
    trained = train(law, EvidenceArm.parse(arm), seed=0, estimand=declared_estimand())
    return float(measured(reader_of(trained.yes), patients_to_test(law, 5000))["correct_unbiased"].mean())


@pytest.mark.slow
def test_at_t0_it_leans_less_on_the_wording() -> None:
    """Accuracy on 5,000 patients has a standard error below .007; three of a difference are .03."""
    assert at_t0("R1", "rebias") > at_t0("R1", "none") + 0.03
