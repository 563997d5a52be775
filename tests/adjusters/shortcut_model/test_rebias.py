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
from adjusters.shortcut_model.hsic import dependence
from adjusters.shortcut_model.independence import QUESTION, Penalty, ReBiasObjective, score_features
from adjusters.shortcut_model.rebias import ReBias
from adjusters.toy import ToyScorer, toy_cohort
from causalecg.benchmark import regimes
from causalecg.benchmark.leaderboard.evidence import declared_estimand
from causalecg.benchmark.t0.arms import EvidenceArm
from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
from causalecg.benchmark.t0.training import train

WIDTHS = [3, 2, 3, 2, 2, 3, 3, 2, 2, 3, 2, 2, 3, 2]
PLACES = [[(row + i) % 4 for i in range(width)] for row, width in enumerate(WIDTHS)]


class Fixed(nn.Module):
    """(rows, 3) numbers; an item's scores are those of its row."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        numbers = np.random.default_rng(seed).standard_normal((len(WIDTHS), 3)) * 2
        self.numbers = nn.Parameter(torch.from_numpy(numbers))

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.numbers[batch.rows].masked_fill(batch.padding, float("-inf"))


def items() -> Batch:
    """Candidates among four answers; the true ones are answers 0 or 1, where those are candidates."""
    n = len(WIDTHS)
    ids = torch.tensor([[*(10 + place for place in row), *[-1] * (3 - len(row))] for row in PLACES])
    true = [min(range(len(row)), key=lambda i: row[i]) for row in PLACES]
    return Batch(
        rows=torch.arange(n), ecg=torch.zeros(n, 2, 1, 4), ecg_present=torch.ones(n, 2, dtype=torch.bool),
        question=("?",) * n, candidates=tuple(tuple("abcd"[p] for p in row) for row in PLACES), candidate_ids=ids,
        answer=torch.arange(3)[None, :] == torch.tensor(true)[:, None], kind="one",
        columns={QUESTION: torch.zeros(n, dtype=torch.long)}, topic=("one", "two") * (n // 2),
    )  # fmt: skip


def objective_of(given: str, measure: str, rows: int = 128) -> ReBiasObjective:
    return ReBiasObjective(Fixed(1), Fixed(2), ("?",), Penalty(3.0, measure, given, "scores", rows)).double()


def check_parity(given: str, measure: str) -> None:
    batch, objective = items(), objective_of(given, measure)
    scores = {
        part: [row[:width] for row, width in zip(model.numbers.tolist(), WIDTHS, strict=True)]
        for part, model in (("f", objective.scorer), ("g", objective.partner))
    }
    true = batch.answer.long().argmax(1).tolist()
    answer = [row[at] for row, at in zip(PLACES, true, strict=True)]
    classes = {"nothing": [0] * len(true), "answer": answer,
               "answer_and_topic": list(zip(answer, batch.topic, strict=True))}[given]  # fmt: skip
    f, g = (rebias_equation.centred(scores[part], PLACES, 4) for part in "fg")
    depends = rebias_equation.dependence(f, g, classes, measure)
    assert abs(depends) > 1e-4
    for part, sign in (("f", 1), ("g", -1)):
        wanted = rebias_equation.loss(scores[part], true) + sign * 3.0 * depends
        assert objective.loss(batch, part, progress=0.0).total.item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("measure", ["hsic", "cka"])
@pytest.mark.parametrize("given", ["nothing", "answer"])
def test_losses_are_those_of_the_equation(given: str, measure: str, monkeypatch) -> None:
    check_parity(given, measure)
    monkeypatch.setattr(independence, "dependence", lambda *inputs: -dependence(*inputs))
    with pytest.raises(AssertionError):
        check_parity(given, measure)


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
    for _ in range(4):
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
    ],
)
def test_refusals(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("rebias", **options)


def test_fused_features_and_questions_are_asked_for_where_they_are_missing() -> None:
    table = toy_cohort(train=10, valid=2, test=2).split("train")
    with pytest.raises(ContractError, match="needs the column 'question'"):
        adjuster("rebias").fit(table.drop(columns="question"), rng=np.random.default_rng(0))
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
