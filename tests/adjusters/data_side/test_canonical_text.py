from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from adjusters.contract import ContractError
from adjusters.data_side import wordings
from adjusters.data_side.canonical_text import CanonicalText
from adjusters.data_side.wordings import NearestWording, most_frequent
from adjusters.reference_loop import drive, variants
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND, ToyScorer, accuracy, toy_cohort

KNOWN = [
    "Does this ECG show ST elevation?", "Quick: is there ST  elevation?", "Is a T wave inversion present?",
    "Emergency, tell me about a T wave inversion now!", "I see?",
]  # fmt: skip
ASKED = ["Tell me quickly whether there is ST elevation", "is a t-wave inversion there", "", "Übel?"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def check_parity(equation) -> None:
    nearest, plain = NearestWording(KNOWN), equation("canonical_text")
    for text in ASKED:
        wanted = plain.cosines(KNOWN, text, 2, 4)
        found, cosine = nearest(text)
        assert cosine == pytest.approx(max(wanted), abs=1e-6)
        assert found == KNOWN[int(np.argmax(np.round(wanted, 12)))]


def test_the_nearest_wording_is_that_of_the_equation(equation) -> None:
    check_parity(equation)


def test_the_parity_check_sees_a_mutation(equation, monkeypatch) -> None:
    monkeypatch.setattr(wordings, "NGRAMS", (2, 3))
    with pytest.raises(AssertionError):
        check_parity(equation)


def test_the_most_frequent_wording_by_hand() -> None:
    table = pd.DataFrame({"question_id": list("aaaabbbc"), "question": ["x", "y", "y", "z", "v", "u", "z", "z"]})
    found, shared = most_frequent(table, ["question_id"])
    # "z" is asked once in each group and stays with the first; ties go to the first text in order.
    assert found == {"u": "u", "v": "u", "x": "y", "y": "y", "z": "y"}
    assert shared == ["z"]


def test_the_placebo_keeps_the_treatment_whatever_its_column_is_called() -> None:
    table = toy_cohort(train=60, valid=2, test=2).split("train").rename(columns={"style": "manner"})
    renamed = replace(ESTIMAND, treatment="manner", roles={**ESTIMAND.roles, "treatment": "manner"})
    ours = CanonicalText(per="style").fit(table, renamed, rng=rng())
    rewritten = ours.rewrite(table, rng=rng())
    assert rewritten.groupby("manner")["question"].nunique().tolist() == [1, 1]
    assert rewritten["question"].nunique() == 2


def attached(ours: CanonicalText, scorer=None):
    scorer = ToyScorer() if scorer is None else scorer
    return ours.attach(scorer, new_scorer=variants(lambda: scorer), rng=rng())


def test_prediction_and_loss_are_the_scorers_in_canonical_words() -> None:
    toy = toy_cohort(train=60, valid=10, test=40, topics=("infarction", "fibrillation"), seed=1)
    ours = CanonicalText().fit(toy.split("train"), rng=rng())
    objective = attached(ours)
    batch = toy.batch(toy.split("test"), np.arange(40))
    canonical = {topic: ours.wordings_[f"Is {topic} present?"] for topic in ("infarction", "fibrillation")}
    wanted = batch.replace(question=tuple(canonical[topic] for topic in batch.topic))
    with torch.no_grad():
        assert torch.equal(objective(batch), objective.scorer(wanted))
    per_item = objective.loss(batch, "main", progress=0.0).per_item
    log_p = torch.log_softmax(objective.scorer(wanted), 1).detach()
    by_hand = [-float(log_p[i, int(batch.answer[i].long().argmax())]) for i in range(40)]
    np.testing.assert_allclose(per_item.numpy(), by_hand, atol=1e-6)
    rewritten = ours.rewrite(toy.split("train"), rng=rng())
    assert set(rewritten["question"]) == set(canonical.values())


def test_unseen_wordings_metadata_and_strangers() -> None:
    toy = toy_cohort(train=60, valid=10, test=4, topics=("infarction", "fibrillation"), seed=1)
    ours = CanonicalText().fit(toy.split("train"), rng=rng())
    objective = attached(ours)
    batch = toy.batch(toy.split("test"), np.arange(4)).replace(
        topic=("infarction", "infarction", "fibrillation", "pericarditis"),
        metadata=("Age 63.", "", "", ""),
        question=(
            "Age 63. Quickly, can you see infarction here?",
            "What is the weather like?",
            None,
            "Does this ECG show pericarditis?",
        ),
    )
    canonical = ours.wordings_["Is infarction present?"]
    left = ("What is the weather like?", None, "Does this ECG show pericarditis?")
    assert objective.canonical(batch).question == (f"Age 63. {canonical}", *left)
    assert objective.left == [left[0], left[2]]
    assert attached(CanonicalText(threshold=1.0).fit(toy.split("train"), rng=rng())).canonical(batch).question[0] == (
        "Age 63. Quickly, can you see infarction here?"
    )


def test_the_placebo_keeps_the_style() -> None:
    toy = toy_cohort(train=60, valid=10, test=10, seed=1)
    table = toy.split("train")
    found = CanonicalText(per="style").fit(table, rng=rng()).rewrite(table, rng=rng())
    assert found.groupby("style")["question"].nunique().eq(1).all() and found["question"].nunique() == 2


def test_style_is_dropped_from_what_is_learned() -> None:
    """Unbiased accuracy four standard errors above half, where the shortcut alone would be; the same scores whatever the
    wording."""
    toy = toy_cohort(rho=0.95, train=400, valid=100, test=300, seed=1)
    done = drive(CanonicalText(), toy.split("train"), toy.split("valid"), toy.batch, ToyScorer, estimand=None, epochs=4)
    assert accuracy(done.objective, toy, "test_unbiased") > 0.5 + 4 * np.sqrt(0.25 / 300)
    table = toy.split("test_unbiased")
    other = table.assign(question=[f"Quick, can you see {topic} here?" for topic in table["topic"]])
    with torch.no_grad():
        one, two = (done.objective(toy.batch(t, np.arange(300))) for t in (table, other))
    assert torch.equal(one, two)


def test_content_in_the_wording_is_lost_where_the_question_does_not_tell_it_apart() -> None:
    """R7 as simulated: "marked" and "any" are words of one canonical question, and one form is left of both."""
    from causalecg.benchmark.regimes import regime
    from causalecg.benchmark.wordings import benchmark_wordings

    words = benchmark_wordings(regime("R7").law())
    assert words["style"].str.contains("marked").any() and not words["style"].str.contains("marked").all()
    assert len(set(CanonicalText().fit(words, rng=rng()).wordings_.values())) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [({"threshold": 0.0}, "must lie above 0"), ({"per": "topic"}, "question or style, not 'topic'")],
)
def test_bad_options_are_refused(options: dict, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        adjuster("canonical_text", **options)


def test_missing_columns_are_refused() -> None:
    table = toy_cohort(train=10, valid=10, test=10).split("train")
    with pytest.raises(ContractError, match="needs the column 'question_id'"):
        CanonicalText().fit(table.drop(columns="question_id"), rng=rng())
    with pytest.raises(ContractError, match="finds no question"):
        CanonicalText().fit(table.assign(question=None), rng=rng())


@pytest.mark.slow
def test_the_bound_at_tier_t0() -> None:
    """R1: the oracle's accuracy (20,000 patients, standard error .002) and no style effect at all; the placebo's is the
    unadjusted model's."""
    from causalecg.benchmark import exact
    from causalecg.benchmark.leaderboard.evidence import declared_estimand
    from causalecg.benchmark.regimes import regime
    from causalecg.benchmark.t0.arms import EvidenceArm
    from causalecg.benchmark.t0.evaluation import measured, patients_to_test, reader_of
    from causalecg.benchmark.t0.training import train

    law = regime("R1").law()
    found = {}
    for arm in ("none", "canonical_text", "placebo:canonical_text"):
        trained = train(law, EvidenceArm.parse(arm), seed=0, estimand=declared_estimand())
        found[arm] = measured(reader_of(trained.yes), patients_to_test(law, 20_000)).mean()
    oracle = exact.accuracy(law, "oracle", "unbiased")
    assert found["canonical_text"]["correct_unbiased"] == pytest.approx(oracle, abs=0.01)
    assert found["canonical_text"]["style_effect"] == 0
    assert found["placebo:canonical_text"]["correct_unbiased"] == found["none"]["correct_unbiased"]
