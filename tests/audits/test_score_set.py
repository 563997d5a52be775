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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.assign(status=["answered"] * 4 + ["fine"] * 116), "row 5 has the status 'fine'"),
        (lambda t: t.assign(draw=["0"] * 7 + [""] * 113), "row 8 has no draw"),
        (lambda t: t.assign(draw=["0"] * 7 + ["first"] * 113), "row 8 has the draw 'first'"),
        (
            lambda t: t.assign(answer=["yes", *list(t["answer"][1:-1]), "maybe"]),
            "row 120: item 59 has another answer",
        ),
        (lambda t: t.assign(patient_id=["x"] + ["y"] * 119), "row 2: item 0 has another patient_id"),
        (lambda t: t.assign(split=["test"] + ["valid"] * 119), "row 2: item 0 has another split"),
        (lambda t: t.assign(split=["test"] * 119 + [""]), "row 120 has no split"),
        (lambda t: t.assign(answer=["", *list(t["answer"][1:])]), "row 1 has no answer"),
        (lambda t: t.assign(intervention=["intact"] + ["swap"] * 119), "row 2: no intervention is called 'swap'"),
        (lambda t: t.assign(run_id=["a"] + [""] * 119), "row 2 has no run_id"),
        (lambda t: t.assign(role=["oracle"] + ["audited"] * 119), "row 2: run theirs has another role"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_bad_row_is_named(tmp_path, rows, change, says: str, kind: str) -> None:
    path = tmp_path / f"theirs.{kind}"
    table = change(pd.DataFrame(rows))
    if kind == "csv":
        table.to_csv(path, index=False)
    else:
        kept = [{key: value for key, value in row.items() if value != ""} for row in table.to_dict("records")]
        for row in kept:
            if "draw" in table.columns:
                row.setdefault("draw", "")
        path.write_text("\n".join(json.dumps(row) for row in kept).replace("NaN", "null"))
    with pytest.raises(InputError, match=says):
        ScoreSet.open(path)


MINIMUM = ["item_id", "intervention", "answer_given", "answer"]


def test_the_documented_minimum_gets_the_opposite_answer_where_there_are_two(tmp_path, rows) -> None:
    pd.DataFrame(rows)[MINIMUM].to_csv(tmp_path / "t.csv", index=False)
    found = {r.name: r for r in run_suite(ScoreSet.open(tmp_path / "t.csv"))}
    assert found["follow_rate"].estimate == 1.0
    assert found["follow_rate"].verdict == "pass"


def test_the_minimum_with_three_answers_is_not_assessed(tmp_path, rows) -> None:
    table = pd.DataFrame(rows)[MINIMUM]
    table["answer"] = [("yes", "no", "maybe")[i % 3] for i in table["item_id"]]
    table.assign(answer_expected="").to_csv(tmp_path / "t.csv", index=False)
    found = {r.name: r for r in run_suite(ScoreSet.open(tmp_path / "t.csv"))}
    assert found["follow_rate"].verdict == "not assessed"
    assert "answer_expected" in found["follow_rate"].note


def test_disjoint_items_are_not_assessed(tmp_path, rows) -> None:
    every = [
        {**row, "intervention": what}
        for row in rows
        if row["intervention"] == "intact" and row["item_id"] >= 30
        for what in ("no_ecg", "other_patient[answer=any]", "other_patient[answer=opposite]", "wording[held_out]",
                     "wording[seen]", "wording[style=other]")
    ]  # fmt: skip
    intact = [row for row in rows if row["intervention"] == "intact" and row["item_id"] < 30]
    oracle = [{**row, "run_id": "o", "role": "oracle"} for row in every]
    mine = [{**row, "run_id": "m", "role": "audited"} for row in [*every, *intact]]
    oracle += [{**row, "run_id": "o", "role": "oracle"} for row in intact]
    pd.DataFrame([*mine, *oracle]).to_csv(tmp_path / "t.csv", index=False)
    for result in run_suite(ScoreSet.open(tmp_path / "t.csv"), "full", run_id="m"):
        assert result.name in ("accuracy", "answers") or result.verdict == "not assessed"


def test_an_oracle_that_shares_no_item_is_left_out(tmp_path, rows) -> None:
    mine = [{**row, "run_id": "m", "role": "audited"} for row in rows]
    oracle = [{**row, "item_id": f"o{row['item_id']}", "run_id": "o", "role": "oracle"} for row in rows]
    pd.DataFrame([*mine, *oracle]).to_csv(tmp_path / "t.csv", index=False)
    found = {r.name: r for r in run_suite(ScoreSet.open(tmp_path / "t.csv"), run_id="m")}
    assert found["follow_rate"].verdict == "pass"
    assert "oracle" not in found["follow_rate"].threshold


def test_blanks_and_gaps(tmp_path, rows) -> None:
    table = pd.DataFrame(rows).astype({"patient_id": "string", "answer_expected": "string"})
    table.loc[table["item_id"] == 1, "patient_id"] = pd.NA
    table.loc[0, "answer_given"] = None
    table["answer"] = table["answer"].map({"yes": 1, "no": 0}).astype("Int64")
    table["answer_given"] = table["answer_given"].map({"yes": 1.0, "no": 0.0})  # floats, as there is a gap
    table["answer_expected"] = table["answer_expected"].map({"yes": 1, "no": 0}).astype("Int64")
    table["draw"] = 1
    for kind in ("parquet", "csv"):
        path = tmp_path / f"t.{kind}"
        table.to_parquet(path) if kind == "parquet" else table.to_csv(path, index=False)
        opened = ScoreSet.open(path)
        assert opened.items.set_index("item_id").loc["1", "patient_ids"] == ["1"]
        assert opened.scores["status"].tolist() == ["empty"] + ["answered"] * 119
        assert set(opened.scores["draw"]) == {0}
        found = {r.name: r for r in run_suite(opened)}
        assert found["accuracy"].estimate == pytest.approx(59 / 60)
        assert "1 items without an answer count as wrong" in found["accuracy"].note
        assert found["follow_rate"].estimate == 1.0


def test_the_question_text_is_the_question(tmp_path, rows) -> None:
    table = pd.DataFrame(rows)
    words = table["item_id"].map(lambda i: ("Is there AF?", "Is it normal?")[i // 30])
    swapped = table["intervention"] != "intact"
    table.assign(question=words.where(~swapped, words + " Really?")).to_csv(tmp_path / "t.csv", index=False)
    items = ScoreSet.open(tmp_path / "t.csv").items
    assert set(items["question_id"]) == set(items["template_id"]) == {"Is there AF?", "Is it normal?"}


def test_patients_that_are_not_named_are_said_so(tmp_path, rows) -> None:
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "named.csv", index=False)
    assert "notes" not in ScoreSet.open(tmp_path / "named.csv").runs["named"]
    for name, some in (("none", table.drop(columns="patient_id")), ("gaps", table)):
        some = some if name == "none" else some.assign(patient_id=some["patient_id"].where(some["item_id"] != 3))
        some.to_csv(tmp_path / f"{name}.csv", index=False)
        (note,) = ScoreSet.open(tmp_path / f"{name}.csv").runs[name]["notes"]
        assert "counts as a patient of its own" in note


def test_cells_that_do_not_fit_are_said_so(tmp_path, rows) -> None:
    lines = pd.DataFrame(rows).to_csv(index=False).splitlines()
    (tmp_path / "t.csv").write_text("\n".join([lines[0], *(line + "," for line in lines[1:])]))
    assert ScoreSet.open(tmp_path / "t.csv").items["item_id"].tolist() == [str(i) for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join([lines[0], *(line + ",why" for line in lines[1:])]))
    with pytest.raises(InputError, match="more cells than its header"):
        ScoreSet.open(tmp_path / "t.csv")
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({**row, "answer_given": {"text": "yes"}}) for row in rows))
    with pytest.raises(InputError, match="a cell holds an object"):
        ScoreSet.open(tmp_path / "t.jsonl")


def test_the_donors_answer_is_not_the_items(tmp_path, rows) -> None:
    for row in rows:
        row["answer"] = row.get("answer_expected", row["answer"])
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match="put that one's answer into answer_expected"):
        ScoreSet.open(tmp_path / "t.csv")
