from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from adjusters import exchanged_wordings
from adjusters.contract import Batch, ContractError
from adjusters.exchanged_wordings import ExchangedWordings
from adjusters.reference_loop import variants
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, SEVERITY, ToyScorer

STRATEGIES = ("question_randomised", "stratified")


@pytest.fixture(scope="module")
def loops(equation: Callable[[str], ModuleType]) -> ModuleType:
    return equation("question_randomised_equation")


class ByText(nn.Module):
    """Scores that depend on item and text, without learning."""

    def forward(self, batch: Batch) -> torch.Tensor:
        at = torch.tensor([len(question or "") * 0.37 for question in batch.question], dtype=torch.float64)
        base = torch.sin(batch.rows.double()[:, None] + torch.arange(3))
        return (base * at[:, None]).masked_fill(batch.padding, float("-inf"))


def batch_of(table: pd.DataFrame, kind: str) -> Batch:
    n = len(table)
    rng = np.random.default_rng(0)
    ids = np.tile([0, 1, 2], (n, 1))
    ids[::3, 2] = -1
    answer = np.eye(3, dtype=bool)[rng.integers(0, 2, n)]
    return Batch(
        rows=torch.arange(n), ecg=torch.zeros(n, 2, 1, 1), ecg_present=torch.ones(n, 2, dtype=torch.bool),
        question=tuple(table["question"]), candidates=tuple(("a", "b", "c")[: (row >= 0).sum()] for row in ids),
        candidate_ids=torch.tensor(ids), answer=torch.tensor(answer), kind=kind,
        columns={"weight": torch.full((n,), 7.0)},
    )  # fmt: skip


def agrees(loops: ModuleType, table: pd.DataFrame, name: str, kind: str, exchange: str = "question") -> None:
    """Training and validation loss of the first stage, which take no notice of weights."""
    ours = adjuster(name, exchange=exchange).fit(table, ESTIMAND, rng=np.random.default_rng(0))
    objective = ours.attach(ByText(), new_scorer=None, rng=np.random.default_rng(0)).double()
    objective.begin(ours.stages()[0], None, {}, {})
    batch = batch_of(table, kind)
    pool = table["question_id"] + (table["style"] if exchange == "style" else "")
    asked = {key: rows.tolist() for key, rows in table.groupby(pool)["question"]}
    torch.manual_seed(5)
    places = torch.rand(len(table), dtype=torch.float64).tolist()
    torch.manual_seed(5)
    found = objective.loss(batch, "main", progress=0.0)
    words = batch.replace(question=tuple(loops.drawn(asked, pool.tolist(), places)))
    wanted = loops.per_item(ByText()(words).numpy(), batch.answer.numpy(), kind)
    np.testing.assert_allclose(found.per_item, wanted, atol=1e-6)
    assert float(found.total) == pytest.approx(np.mean(wanted), abs=1e-6)
    words = batch.replace(question=tuple(loops.drawn(asked, pool.tolist(), loops.weyl(range(len(table))))))
    wanted = loops.per_item(ByText()(words).numpy(), batch.answer.numpy(), kind)
    np.testing.assert_allclose(objective.validation_loss(batch), wanted, atol=1e-6)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("kind", ["one", "set"])
@pytest.mark.parametrize("exchange", ["question", "style"])
def test_the_first_stage_by_plain_loops(
    loops: ModuleType, table: pd.DataFrame, name: str, kind: str, exchange: str
) -> None:
    agrees(loops, table, name, kind, exchange)


def test_mutations_are_seen(loops: ModuleType, table: pd.DataFrame, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ExchangedWordings, "drawn", lambda self, batch: batch)
        with pytest.raises(AssertionError):
            agrees(loops, table, "question_randomised", "one")
    with monkeypatch.context() as patch:
        even = exchanged_wordings.np.arange
        patch.setattr(exchanged_wordings.np, "cumsum", lambda counts: even(1, len(counts) + 1))
        with pytest.raises(AssertionError):
            agrees(loops, table, "stratified", "set")


def test_in_the_second_stage_items_are_as_they_were_asked(loops: ModuleType, table: pd.DataFrame) -> None:
    ours = adjuster("question_randomised", fine_tuning="weighted").fit(table, ESTIMAND, rng=np.random.default_rng(0))
    objective = ours.attach(ByText(), new_scorer=None, rng=np.random.default_rng(0))
    first, second = ours.stages()
    assert (first.name, second.name, second.epochs, second.keep_best) == ("randomised", "as_asked", 3, True)
    batch = batch_of(table, "one")
    wanted = loops.per_item(ByText()(batch).numpy(), batch.answer.numpy(), "one")
    objective.begin(second, None, {}, {})
    np.testing.assert_allclose(objective.validation_loss(batch), wanted, atol=1e-6)
    found = objective.loss(batch, "as_asked", progress=0.0)
    assert float(found.total) == pytest.approx(7 * np.mean(wanted), abs=1e-6)
    ipw = adjuster("ipw").fit(table, ESTIMAND, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(ours.weights(table), ipw.weights(table))
    pd.testing.assert_frame_equal(ours.balance(table), ipw.balance(table))


def test_without_fine_tuning_no_severity_is_needed(table: pd.DataFrame) -> None:
    ours = adjuster("question_randomised").fit(table.drop(columns=SEVERITY), ESTIMAND, rng=np.random.default_rng(0))
    assert ours.weights(table) is None and ours.balance(table) is None
    assert [stage.name for stage in ours.stages()] == ["randomised"]
    with pytest.raises(ContractError, match="needs the column 'severity_simulated'"):
        adjuster("question_randomised", fine_tuning="weighted").fit(
            table.drop(columns=SEVERITY), ESTIMAND, rng=np.random.default_rng(0)
        )


def test_frozen_fine_tuning_leaves_the_encoder_alone(table: pd.DataFrame) -> None:
    ours = adjuster("question_randomised", fine_tuning="frozen").fit(table, ESTIMAND, rng=np.random.default_rng(0))
    objective = ours.attach(ToyScorer(), new_scorer=variants(ToyScorer), rng=np.random.default_rng(0))
    encoder = {id(p) for p in objective.scorer.encoder.parameters()}
    assert encoder < {id(p) for p in objective.parameters_of("main")}
    assert {id(p) for p in objective.parameters_of("as_asked")} == {
        id(p) for p in objective.parameters_of("main")
    } - encoder
    objective.begin(ours.stages()[1], None, {}, {})
    objective.train()
    assert not objective.scorer.encoder.training and objective.scorer.fuse.training
    with pytest.raises(ContractError, match="needs a scorer with the part encoder or projector"):
        ours.attach(ByText(), new_scorer=None, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fine_tuning": "all"}, "none, frozen, weighted, not 'all'"),
        ({"exchange": "topic"}, "question or style, not 'topic'"),
        ({"epochs": 0}, "epochs must be a whole number, at least 1"),
        ({"fine_tuning_epochs": 2}, "no fine_tuning to last"),
    ],
)
def test_options_that_make_no_sense(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("question_randomised", **options)


@pytest.mark.parametrize("name", STRATEGIES)
def test_tables_without_questions(table: pd.DataFrame, name: str) -> None:
    with pytest.raises(ContractError, match="needs the column 'question_id'"):
        adjuster(name).fit(table.drop(columns="question_id"), ESTIMAND, rng=np.random.default_rng(0))
    with pytest.raises(ContractError, match="exchange is question or style"):
        adjuster(name, exchange="topic")


def test_with_one_style_per_question_there_is_nothing_to_draw(table: pd.DataFrame) -> None:
    alone = table.assign(question_id=table["question_id"] + table["style"])
    with pytest.raises(ContractError, match="nothing to draw"):
        adjuster("question_randomised").fit(alone, ESTIMAND, rng=np.random.default_rng(0))
