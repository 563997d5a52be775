from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.outcomes import Outcomes
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.suite import run_suite
from causalecg.errors import InputError


@pytest.fixture
def rows() -> list[dict]:
    found = []
    for i in range(60):
        truth = ("yes", "no")[i % 2]
        other = ("no", "yes")[i % 2]
        common = {"item_id": i, "patient_id": f"p{i}", "answer": truth}
        found.append({**common, "intervention": "intact", "answer_given": truth})
        found.append(
            {
                **common,
                "intervention": "other_patient[answer=opposite]",
                "answer_given": other,
                "answer_expected": other,
            }
        )
    return found


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_strangers_table(tmp_path, rows, kind: str) -> None:
    path = tmp_path / f"theirs.{kind}"
    table = pd.DataFrame(rows)
    if kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        table.to_parquet(path)
    found = {r.name: r for r in run_suite(ScoreSet.open(path))}
    assert found["accuracy"].estimate == found["follow_rate"].estimate == 1.0
    assert found["follow_rate"].verdict == "pass"
    assert found["adversarial_wording"].verdict == "not assessed"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop(columns="answer"), "lacks the column.*answer"),
        (lambda t: t.assign(intervention="intcat"), "did you mean 'intact'"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "is there twice"),
        (lambda t: t.iloc[:0], "has no rows"),
        (lambda t: t.assign(role="judge"), "roles are"),
    ],
)
def test_bad_tables_are_one_sentence(tmp_path, rows, change, says: str) -> None:
    path = tmp_path / "theirs.csv"
    change(pd.DataFrame(rows)).to_csv(path, index=False)
    with pytest.raises(InputError, match=says):
        ScoreSet.open(path)


def test_what_is_no_table(tmp_path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        ScoreSet.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no scores"):
        ScoreSet.open(tmp_path)
    (tmp_path / "x.pkl").write_bytes(b"\x80")
    with pytest.raises(InputError, match=r"use \.csv"):
        ScoreSet.open(tmp_path / "x.pkl")


def test_answer_balance_makes_a_constant_answer_chance() -> None:
    answers = [["yes"]] * 9 + [["no"]] + [["a"]] * 3 + [["b"]] * 2 + [["c"]]
    items = pd.DataFrame(
        {
            "item_id": [str(i) for i in range(16)],
            "split": "test",
            "patient_ids": [[str(i)] for i in range(16)],
            "question_id": ["q"] * 10 + ["r"] * 6,
            "template_id": "t",
            "answer": answers,
        }
    )
    scores = pd.DataFrame(
        {
            "run_id": "x",
            "item_id": items["item_id"],
            "intervention": "intact",
            "draw": 0,
            "status": "answered",
            "answer_given": [["yes"]] * 10 + [["a"]] * 6,
            "answer_expected": None,
        }
    )
    outcomes = Outcomes(ScoreSet(items, scores, {"x": {"role": "audited"}}), "test")
    found = outcomes.answers("x", "intact")
    weights = outcomes.balance_weights(found.asked)
    for question, chance in (("q", 1 / 2), ("r", 1 / 3)):
        at = (items["question_id"] == question).to_numpy()
        assert (weights[at] * found.correct[at]).sum() / weights[at].sum() == pytest.approx(chance)
    assert weights.sum() == pytest.approx(16)
    single = Outcomes(ScoreSet(items[items["question_id"] == "q"].iloc[:9], scores, {"x": {}}), "test")
    assert (single.balance_weights(np.ones(9, dtype=bool)) == 0).all()


def test_no_answer_is_a_wrong_answer() -> None:
    items = pd.DataFrame(
        {"item_id": ["a", "b"], "split": "test", "patient_ids": [["p"], ["q"]], "question_id": "q", "template_id": "t",
         "answer": [["yes"], ["yes"]]}
    )  # fmt: skip
    scores = pd.DataFrame(
        {"run_id": "x", "item_id": ["a", "b"], "intervention": "intact", "draw": 0, "status": ["answered", "unparsed"],
         "answer_given": [["yes"], ["yes"]], "answer_expected": None}
    )  # fmt: skip
    found = Outcomes(ScoreSet(items, scores, {"x": {}}), "test").answers("x", "intact")
    assert found.correct.tolist() == [1.0, 0.0]
