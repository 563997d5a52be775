from __future__ import annotations

import numpy as np
import pytest
import torch

from adjusters.contract import ContractError
from adjusters.data_side.modality_dropout import ABSTAIN, ModalityDropout
from adjusters.reference_loop import drive, variants
from adjusters.registry import adjuster
from adjusters.toy import ToyScorer, accuracy, toy_cohort


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def check_parity(equation, fixed_scores) -> None:
    toy = toy_cohort(train=50, valid=10, test=10, seed=4)
    table, ours = toy.split("train"), ModalityDropout(share=0.3)
    rows = ours.fit(table, rng=rng()).rewrite(table, rng=rng())
    scorer = fixed_scores(len(toy.signals), 3)
    objective = ours.attach(scorer, new_scorer=variants(lambda: scorer), rng=rng())
    found = objective.loss(toy.batch(rows, np.arange(len(rows))), "main", progress=0.0).total
    numbers = scorer.numbers.detach().numpy()
    ecgs = [int(ids[0][1:]) for ids in table["ecg_ids"]]
    again = [int(name.removesuffix("~again")[1:]) for name in rows["item_id"].iloc[50:]]
    first = int(table["item_id"].iloc[0][1:])
    wanted = equation("modality_dropout").loss(
        numbers[ecgs].tolist(),
        [numbers[-1].tolist()] * 50,
        [names.index(a[0]) for names, a in zip(table["candidates"], table["answer"], strict=True)],
        [i - first for i in again],
    )
    assert len(again) == 15
    assert float(found.detach()) == pytest.approx(wanted, abs=1e-6)


def test_the_loss_is_that_of_the_equation(equation, fixed_scores) -> None:
    check_parity(equation, fixed_scores)


def test_the_parity_check_sees_a_mutation(equation, fixed_scores, monkeypatch) -> None:
    whole = ModalityDropout.rewrite

    def keeps_the_answer(self, table, *, rng):
        rows = whole(self, table, rng=rng)
        return rows.assign(answer=[["yes"] if names == [ABSTAIN] else names for names in rows["answer"]])

    monkeypatch.setattr(ModalityDropout, "rewrite", keeps_the_answer)
    with pytest.raises(AssertionError):
        check_parity(equation, fixed_scores)


@pytest.mark.parametrize("kind", ["one", "set"])
def test_what_is_added(kind: str) -> None:
    table = toy_cohort(train=40, valid=10, test=10).split("train").assign(kind=kind)
    rows = ModalityDropout(share=0.25, answer="?").rewrite(table, rng=rng())
    assert len(rows) == 50 and rows["item_id"].is_unique
    assert all(names[-1] == "?" for names in rows["candidates"])
    assert (rows["ecg_ids"].iloc[40:].map(len) == 0).all()
    assert all(names == ["?"] for names in rows["answer"].iloc[40:])
    same = rows.iloc[:40].drop(columns="candidates")
    assert same.equals(table.drop(columns="candidates"))
    placebo = ModalityDropout(share=0.25, answer="?", drop="nothing").rewrite(table, rng=rng())
    assert len(placebo) == 50 and all(names != ["?"] for names in placebo["answer"])
    assert (placebo["ecg_ids"].map(len) == 1).all()


def test_it_abstains_without_an_ecg_and_only_then() -> None:
    toy = toy_cohort(rho=0.9, train=400, valid=50, test=200, seed=1)
    done = drive(
        ModalityDropout(), toy.split("train"), toy.split("valid"), toy.batch, ToyScorer, estimand=None, epochs=6
    )
    table = toy.split("test_unbiased")
    table["candidates"] = [[*names, ABSTAIN] for names in table["candidates"]]
    batch = toy.batch(table, np.arange(len(table)))
    with torch.no_grad():
        blind = done.objective(batch.without_ecg()).argmax(1)
        seeing = done.objective(batch).argmax(1)
        own = toy.batch(toy.split("test_unbiased"), np.arange(len(table)))
        assert torch.equal(done.objective.abstains(own), seeing == 2)
        assert torch.equal(done.objective.abstains(own.without_ecg()), blind == 2)
    # Told apart by an input of zeros alone: all but a few.
    assert (blind == 2).double().mean() > 0.95
    assert (seeing == 2).double().mean() < 0.05
    assert accuracy(done.objective, toy, "test_unbiased") > 0.5


@pytest.mark.parametrize("kind", ["one", "set"])
def test_when_it_abstains_by_plain_loops(kind: str) -> None:
    """Two and three candidates side by side; the abstention is the likeliest of all, or has positive log-odds."""
    length = {"a": 0.3, "b": -0.4, "c": 1.1, "?": 0.0}

    class ByText(torch.nn.Module):
        def forward(self, batch):
            scores = torch.full(batch.candidate_ids.shape, float("-inf"))
            for i, names in enumerate(batch.candidates):
                scores[i, : len(names)] = torch.tensor([length[n] + (n == "?") * (i - 2.0) for n in names])
            return scores

    toy = toy_cohort(train=6, valid=2, test=2)
    table = toy.split("train").assign(candidates=[["a", "b"], ["a", "b", "c"]] * 3, answer=[["a"]] * 6, kind=kind)
    batch = toy.batch(table, np.arange(6))
    objective = ModalityDropout(answer="?").attach(ByText(), new_scorer=None, rng=rng())
    wanted = [
        i - 2.0 > (max(length[n] for n in names) if kind == "one" else 0.0)
        for i, names in enumerate(table["candidates"])
    ]
    assert objective.abstains(batch).tolist() == wanted and len(set(wanted)) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"share": 0.0}, "share must lie above 0"),
        ({"share": 1.5}, "at most 1, not 1.5"),
        ({"answer": " "}, "must be a text to abstain with"),
        ({"drop": "question"}, "drop is ecg or nothing, not 'question'"),
    ],
)
def test_bad_options_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("modality_dropout", **options)


def test_an_abstention_that_is_a_candidate_is_refused() -> None:
    table = toy_cohort(train=10, valid=10, test=10).split("train")
    with pytest.raises(ContractError, match="'no' is a candidate of item i0 already"):
        ModalityDropout(answer="no").rewrite(table, rng=rng())


@pytest.mark.slow
def test_it_is_no_adjustment_at_tier_t0() -> None:
    """R1: within 3 points of the unadjusted accuracy, where the oracle is 25 above."""
    from causalecg.benchmark.leaderboard.evidence import declared_estimand
    from causalecg.benchmark.regimes import regime
    from causalecg.benchmark.t0.arms import EvidenceArm
    from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
    from causalecg.benchmark.t0.training import train

    law = regime("R1").law()
    found = {}
    for arm in ("none", "modality_dropout"):
        trained = train(law, EvidenceArm.parse(arm), seed=0, estimand=declared_estimand())
        found[arm] = measured(reader_of(trained.yes), patients_to_test(law, 5000))["correct_unbiased"].mean()
    assert found["modality_dropout"] == pytest.approx(found["none"], abs=0.03)
