"""Tables of answers made elsewhere: texts, scores, candidates, and every bad row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from adjusters.contract import decide
from causalecg.audits.answer_table import bad_rows
from causalecg.audits.row_answers import decided
from causalecg.audits.score_set import LATER_COLUMNS, SCORE_COLUMNS, ScoreSet
from causalecg.audits.suite import run_suite
from causalecg.errors import InputError

NAMES = ["atrial fibrillation", "sinus rhythm", "none"]


def written(folder: Path, rows: list[dict[str, Any]], kind: str) -> Path:
    """The rows as a table; lists are joined by "|" in CSV."""
    path = folder / f"theirs.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif kind == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        flat = [{k: "|".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
        pd.DataFrame(flat).to_csv(path, index=False)
    return path


def generated() -> list[dict[str, Any]]:
    said = ["Sinus rhythm.", "Atrial fibrillation and sinus rhythm", "I cannot tell.", "sinus", "", "None"]
    return [
        {"item_id": f"q{i}", "intervention": "intact", "answer": ["sinus rhythm"], "text": text, "candidates": NAMES,
         "kind": "set"}
        for i, text in enumerate(said)
    ]  # fmt: skip


KINDS = pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])


@KINDS
def test_generated_text_is_read(tmp_path: Path, kind: str) -> None:
    opened = ScoreSet.open(written(tmp_path, generated(), kind))
    assert list(opened.scores["status"]) == ["answered", "answered", "abstained", "unparsed", "empty", "answered"]
    assert list(opened.scores["answer_given"]) == [["sinus rhythm"], NAMES[:2], [], [], [], ["none"]]
    assert list(opened.scores["text"])[:2] == ["Sinus rhythm.", "Atrial fibrillation and sinus rhythm"]
    assert opened.scores["text"][4] is None and opened.scores["candidate_order"].isna().all()
    assert set(opened.scores.columns) == {*SCORE_COLUMNS}
    assert list(opened.items["candidates"]) == [NAMES] * 6 and set(opened.items["kind"]) == {"set"}
    accuracy = run_suite(opened, "accuracy")[0]
    assert accuracy.estimate == pytest.approx(1 / 6)
    assert "2 items without an answer count as wrong" in accuracy.note


@KINDS
def test_scores_are_decided(tmp_path: Path, kind: str) -> None:
    common = {"intervention": "intact", "candidates": NAMES}
    rows = [
        {**common, "item_id": "a", "answer": ["none"], "kind": "one", "log_likelihood": [-2.5, -1.25, -0.5]},
        {**common, "item_id": "b", "answer": NAMES[:2], "kind": "set", "log_likelihood": [2.0, 0.125, 3.0]},
        {**common, "item_id": "c", "answer": ["none"], "kind": "set", "log_likelihood": [-2.0, 0.0, -3.0]},
        {**common, "item_id": "d", "answer": ["none"], "kind": "one", "log_likelihood": [0.0, 0.0, float("-inf")]},
    ]
    opened = ScoreSet.open(written(tmp_path, rows, kind))
    assert list(opened.scores["answer_given"]) == [["none"], NAMES[:2], ["none"], [NAMES[0]]]
    assert opened.scores["log_likelihood"][0].dtype == np.float32
    assert opened.scores["log_likelihood"][1].tolist() == [2.0, 0.125, 3.0]
    assert list(opened.items["kind"]) == ["one", "set", "set", "one"]


class TheBatch:
    """What ``decide`` reads of a batch."""

    def __init__(self, kind: str, names: tuple[str, ...], rows: int) -> None:
        self.kind, self.candidates = kind, (names,) * rows
        self.padding = torch.zeros(rows, len(names), dtype=torch.bool)


@pytest.mark.parametrize("kind", ["one", "set"])
@pytest.mark.parametrize("names", [("a", "b", "none"), ("none", "b"), ("a", "b", "c")])
def test_decisions_are_those_of_the_contract(kind: str, names: tuple[str, ...]) -> None:
    scores = np.round(np.random.default_rng(3).normal(size=(200, len(names))), 1)
    wanted = decide(torch.tensor(scores), TheBatch(kind, names, 200))
    assert [decided(row, names, kind) for row in scores] == wanted


def test_the_first_that_is_there_counts(tmp_path: Path) -> None:
    common = {"intervention": "intact", "answer": "yes", "candidates": "yes|no"}
    rows = [
        {**common, "item_id": 1, "answer_given": "yes", "text": "No.", "log_likelihood": "0|1"},
        {**common, "item_id": 2, "answer_given": "", "text": "No.", "log_likelihood": "1|0"},
        {**common, "item_id": 3, "answer_given": "", "text": "", "log_likelihood": "1|0"},
        {**common, "item_id": 4, "answer_given": "", "text": "", "log_likelihood": ""},
        {**common, "item_id": 5, "answer_given": "", "text": "yes", "log_likelihood": "", "status": "error"},
        {**common, "item_id": 6, "answer_given": "", "text": "yes", "log_likelihood": "", "status": "answered"},
        {**common, "item_id": 7, "answer_given": "", "text": "Yes, it is.", "log_likelihood": "", "status": "answered"},
    ]
    scores = ScoreSet.open(written(tmp_path, rows, "csv")).scores
    assert list(scores["answer_given"]) == [["yes"], ["no"], ["yes"], [], [], ["yes"], []]
    assert list(scores["status"]) == ["answered", "answered", "answered", "empty", "error", "answered", "unparsed"]
    assert list(scores["text"][:2]) == ["No.", "No."]


def test_text_without_candidates_is_kept_beside_answers(tmp_path: Path) -> None:
    common = {"intervention": "intact", "answer": "yes"}
    rows = [
        {**common, "item_id": 1, "answer_given": "yes", "text": "Yes, clearly."},
        {**common, "item_id": 2, "answer_given": "", "text": "Hm."},
        {**common, "item_id": 3, "answer_given": "", "text": ""},
    ]
    opened = ScoreSet.open(written(tmp_path, rows, "csv"))
    assert list(opened.scores["status"]) == ["answered", "unparsed", "empty"]
    assert "candidates" not in opened.items.columns and "kind" not in opened.items.columns


@KINDS
def test_letters_are_read_in_the_order_shown(tmp_path: Path, kind: str) -> None:
    rows = [
        {"item_id": i, "intervention": "intact", "answer": ["yes"], "candidates": ["yes", "no"], "text": "(A)",
         "candidate_order": order}
        for i, order in enumerate([[0, 1], [1, 0]])
    ]  # fmt: skip
    opened = ScoreSet.open(written(tmp_path, rows, kind))
    assert list(opened.scores["answer_given"]) == [["yes"], ["no"]]
    assert list(opened.scores["candidate_order"]) == [[0, 1], [1, 0]]
    plain = [{key: value for key, value in row.items() if key != "candidate_order"} for row in rows]
    assert list(ScoreSet.open(written(tmp_path, plain, kind)).scores["status"]) == ["unparsed"] * 2


def test_what_one_row_says_of_an_item_holds_in_all(tmp_path: Path) -> None:
    rows = [
        {"item_id": 1, "intervention": "no_ecg", "answer": "yes", "text": "no", "severity": ""},
        {
            "item_id": 1,
            "intervention": "intact",
            "answer": "yes",
            "text": "yes",
            "candidates": "yes|no",
            "severity": "2",
        },
        {"item_id": 2, "intervention": "intact", "answer": "no", "text": "no", "candidates": "yes|no", "severity": ""},
    ]
    opened = ScoreSet.open(written(tmp_path, rows, "csv"))
    assert list(opened.scores["answer_given"]) == [["no"], ["yes"], ["no"]]
    assert opened.items["severity_given"].dtype == np.float64
    assert opened.items["severity_given"].tolist()[0] == 2.0 and np.isnan(opened.items["severity_given"].tolist()[1])
    rows[2]["severity"] = "mild"
    assert list(ScoreSet.open(written(tmp_path, rows, "csv")).items["severity_given"]) == ["2", "mild"]
    rows[0]["severity"] = "3"
    with pytest.raises(InputError, match="row 2: item 1 has another severity here"):
        ScoreSet.open(written(tmp_path, rows, "csv"))


def two_rows() -> list[dict[str, Any]]:
    common = {
        "intervention": "intact",
        "answer": "yes",
        "candidates": "yes|no",
        "kind": "one",
        "log_likelihood": "-1|-2",
    }
    return [{**common, "item_id": 1, "text": "yes"}, {**common, "item_id": 2, "text": "no"}]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"log_likelihood": "-1"}, "row 2 has 1 numbers in log_likelihood for 2 candidates"),
        ({"log_likelihood": "-1|nan"}, "row 2 has NaN or infinity"),
        ({"log_likelihood": "-1|inf"}, "row 2 has NaN or infinity"),
        ({"log_likelihood": "-inf|-inf"}, "row 2 has no finite number"),
        ({"log_likelihood": "-1|low"}, "row 2, log_likelihood: a cell holds '-1|low', which is no list of numbers"),
        ({"log_likelihood": "-1|"}, "row 2, log_likelihood: a cell holds"),
        ({"candidates": "", "log_likelihood": ""}, "row 2 has text but no candidates"),
        ({"candidates": "", "text": ""}, "row 2 has log_likelihood but no candidates"),
        ({"candidates": "yes|no|yes", "log_likelihood": ""}, "row 2 names a candidate twice"),
        ({"candidates": "yes|Yes", "log_likelihood": ""}, "row 2: candidates 'yes' and 'Yes' cannot be told apart"),
        ({"answer": "maybe"}, "row 2: the answer 'maybe' of item 2 is not among its candidates"),
        ({"answer": "yes|no"}, "row 2: item 2 has 2 true answers and the kind one"),
        ({"kind": "several"}, "row 2 has the kind 'several'; kinds are one, set"),
        ({"answer_given": "maybe"}, "row 2: the answer_given 'maybe' is not among the candidates"),
        ({"candidate_order": "1|1"}, "row 2 has a candidate_order that does not name each of 0 to 1 once"),
        ({"candidate_order": "0|0.5"}, "row 2 has a candidate_order that"),
        ({"candidate_order": "0|1", "candidates": "", "text": "", "log_likelihood": ""}, "row 2 has candidate_order but no"),
        ({"item_id": 1, "intervention": "no_ecg", "candidates": "no|yes"}, "row 2: item 1 has other candidates here"),
        ({"item_id": 1, "intervention": "no_ecg", "kind": "set"}, "row 2: item 1 has another kind here"),
        ({"item_id": 1}, "row 2: item 1, intervention intact is there twice"),
    ],
)  # fmt: skip
def test_each_bad_row_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    rows = two_rows()
    path = written(tmp_path, rows, "csv")
    assert bad_rows(path) == []
    rows[1].update(change)
    path = written(tmp_path, rows, "csv")
    with pytest.raises(InputError, match=r"theirs\.csv, ") as caught:
        ScoreSet.open(path)
    assert says in str(caught.value)
    (bad,) = bad_rows(path)
    assert bad.row == 2 and says in bad.says


def test_all_bad_rows_are_found_and_counted(tmp_path: Path) -> None:
    rows = [{**two_rows()[0], "item_id": i} for i in range(100)]
    for i in range(10, 60):
        rows[i]["log_likelihood"] = "-1"
    rows[70]["intervention"] = "intakt"
    rows[70]["answer"] = ""
    path = written(tmp_path, rows, "csv")
    bad = bad_rows(path)
    assert [one.row for one in bad] == [*range(11, 61), 71, 71]
    assert bad[-2].says == "row 71 has no answer; fill it in" and "did you mean 'intact'" in bad[-1].says
    with pytest.raises(InputError, match=r"row 11 has 1 numbers .*\(51 rows are bad: .*--check.* names them\)"):
        ScoreSet.open(path)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (["item_id", "intervention", "answer"], "lacks the column.*answer_given .or text and candidates"),
        (["item_id", "intervention", "answer", "text"], "answer_given .or text and candidates"),
        (["item_id", "intervention", "answer", "log_likelihood"], "answer_given .or text and candidates"),
        (["item_id", "text", "candidates"], "lacks the column.*intervention, answer;"),
    ],
)
def test_missing_columns_are_named(tmp_path: Path, columns: list[str], says: str) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame(two_rows())[columns].to_csv(path, index=False)
    for read in (bad_rows, ScoreSet.open):
        with pytest.raises(InputError, match=says):
            read(path)
    with pytest.raises(InputError, match="does not exist"):
        bad_rows(tmp_path / "none.csv")


@pytest.mark.parametrize("columns", [["text", "candidates"], ["log_likelihood", "candidates"]])
def test_the_other_minima(tmp_path: Path, columns: list[str]) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame(two_rows())[["item_id", "intervention", "answer", *columns]].to_csv(path, index=False)
    assert ScoreSet.open(path).items["kind"].tolist() == ["one", "one"]


def test_folders_scored_before_have_no_text(tmp_path: Path) -> None:
    opened = ScoreSet.open(written(tmp_path, two_rows(), "csv"))
    folder = tmp_path / "scores_before"
    (folder / "scores").mkdir(parents=True)
    opened.scores.drop(columns=list(LATER_COLUMNS)).to_parquet(folder / "scores" / "0.parquet")
    opened.items.to_parquet(folder / "items.parquet")
    (folder / "runs.json").write_text(json.dumps({"schema_version": 1, "runs": opened.runs}))
    again = ScoreSet.open(folder)
    assert all(again.scores[name].isna().all() for name in LATER_COLUMNS)
    opened.scores.to_parquet(folder / "scores" / "0.parquet")
    assert list(ScoreSet.open(folder).scores["text"]) == ["yes", "no"]


def test_the_tables_of_the_documentation_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "answer_table.md").read_text()
    blocks = [block.replace("...\n", "").strip() for block in page.split("```")[1::2]]
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        path = tmp_path / f"t{number}.csv"
        path.write_text(block + "\n")
        scores = ScoreSet.open(path).scores
        assert set(scores["status"]) == {"answered"} and len(scores) == len(block.splitlines()) - 1


def test_every_column_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "answer_table.md").read_text()
    words = (
        "item_id intervention answer answer_given text log_likelihood candidates kind candidate_order patient_id "
        "donor_patient_id donor_ecg_id answer_expected severity run_id role status split question_id question "
        "template_id topic style wording_id ecg_id draw"
    )
    listed = page.split("## All columns")[1].split("\n\n")[1]
    assert [name for name in words.split() if f"`{name}`" not in listed] == []


def donor_rows(**change: Any) -> list[dict[str, Any]]:
    """Two items, each intact and with the ECG of the other's patient; the change is made in row 2."""
    rows = []
    for own, other in ((0, 1), (1, 0)):
        answers = ("yes", "no")
        common = {"item_id": own, "patient_id": f"p{own}", "ecg_id": f"e{own}", "answer": answers[own]}
        rows.append({**common, "intervention": "intact", "answer_given": answers[own]})
        rows.append(
            {**common, "intervention": "other_patient[answer=opposite]", "answer_given": answers[other],
             "donor_patient_id": f"p{other}", "donor_ecg_id": f"e{other}", "answer_expected": answers[other]}
        )  # fmt: skip
    rows[1] |= change
    return rows


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer_expected": "yes"}, "row 2: the answer_expected 'yes' is an answer of item 0 itself"),
        ({"answer_expected": "no|yes"}, "row 2: the answer_expected 'yes' is an answer of item 0 itself"),
        (
            {"intervention": "other_patient[answer=different,severity=same]", "answer_expected": "yes"},
            "row 2: the answer_expected 'yes' is an answer of item 0 itself",
        ),
        ({"donor_patient_id": "p0"}, "row 2: the donor_patient_id 'p0' is that of item 0 itself"),
        ({"donor_patient_id": "p1|p0"}, "row 2: the donor_patient_id 'p0' is that of item 0 itself"),
        ({"donor_ecg_id": "e0"}, "row 2: the donor_ecg_id 'e0' is that of item 0 itself"),
        ({"intervention": "other_patient[answer=any]", "donor_patient_id": "p0"}, "row 2: the donor_patient_id 'p0'"),
    ],
)
def test_a_donor_is_somebody_else_with_another_answer(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    assert bad_rows(written(tmp_path, donor_rows(), "csv")) == []
    # A random donor may have the same answer.
    same = donor_rows(intervention="other_patient[answer=any]", answer_expected="yes")
    assert bad_rows(written(tmp_path, same, "csv")) == []
    (bad,) = bad_rows(written(tmp_path, donor_rows(**change), "csv"))
    assert bad.row == 2 and bad.says.startswith(says)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("donor_patient", "donor_patient_id"),
        ("Donor Patient ID", "donor_patient_id"),
        ("expected_answer", "answer_expected"),
        ("sevrity", "severity"),
        ("runId", "run_id"),
    ],
)
def test_a_misspelt_column_is_not_passed_over(tmp_path: Path, name: str, meant: str) -> None:
    table = pd.DataFrame(donor_rows()).drop(columns=meant, errors="ignore").assign(**{name: "x"})
    table.to_csv(tmp_path / "t.csv", index=False)
    for read in (bad_rows, ScoreSet.open):
        with pytest.raises(InputError, match=f"column '{name}', which is not read; if it is '{meant}', call it so"):
            read(tmp_path / "t.csv")


def test_other_columns_are_named(tmp_path: Path) -> None:
    table = pd.DataFrame(donor_rows()).assign(age=60, patient="p")  # patient_id is there: this is something else
    table.to_csv(tmp_path / "t.csv", index=False)
    assert ScoreSet.open(tmp_path / "t.csv").runs["t"]["notes"] == [
        "Columns of the table that are not read: age, patient."
    ]
    pd.DataFrame(donor_rows()).to_csv(tmp_path / "t.csv", index=False)
    assert "notes" not in ScoreSet.open(tmp_path / "t.csv").runs["t"]


def test_answers_spelt_otherwise_are_counted(tmp_path: Path) -> None:
    rows = [
        {"run_id": run, "item_id": i, "patient_id": i, "intervention": "intact", "answer": "sinus rhythm",
         "answer_given": given}
        for run, answers in (("a", ["Sinus  Rhythm", "sinus rhythm", "other"]), ("b", ["sinus rhythm"] * 3))
        for i, given in enumerate(answers)
    ]  # fmt: skip
    runs = ScoreSet.open(written(tmp_path, rows, "csv")).runs
    (note,) = runs["a"]["notes"]
    assert note.startswith("1 answers count as wrong that differ from a true one in case or spaces only")
    assert "'Sinus  Rhythm' from 'sinus rhythm'" in note
    assert "notes" not in runs["b"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (lambda text: text.replace(",", ";").encode(), "seems to be separated by semicolons"),
        (lambda text: text.replace(",", "\t").encode(), "seems to be separated by tabs"),
        (lambda text: text.encode("utf-16"), "seems to be UTF-16"),
        (lambda text: text.encode("utf-16-le"), "seems to be UTF-16"),
        (lambda text: text.replace("yes", "sí").encode("latin-1"), "line 2 is not UTF-8"),
    ],
)
def test_what_a_file_seems_to_be(tmp_path: Path, content, says: str) -> None:
    path = tmp_path / "t.csv"
    text = pd.DataFrame(donor_rows()).to_csv(index=False)
    path.write_bytes(text.replace("yes", "sí").encode("utf-8-sig"))
    assert bad_rows(path) == []
    path.write_bytes(content(text))
    for read in (bad_rows, ScoreSet.open):
        with pytest.raises(InputError, match=says):
            read(path)


def test_text_beyond_what_is_looked_at_first_is_read_whole(tmp_path: Path) -> None:
    """A character that the first part of the file would cut in two is no other encoding."""
    rows = [{**two_rows()[0], "item_id": i, "question": "ó" * 1000} for i in range(600)]
    assert len(ScoreSet.open(written(tmp_path, rows, "csv")).items) == 600
