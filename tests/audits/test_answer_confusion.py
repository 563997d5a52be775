from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from causalecg.audits.answer_confusion import confusion, unparsed_texts
from causalecg.audits.checks.answers import AUDIT as answers
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.score_set import ScoreSet


def outcomes(rows: pd.DataFrame, **items) -> Outcomes:
    """Outcomes of one run "m": a row per item with true, given, status and text."""
    table = pd.DataFrame(
        {
            "item_id": [f"q{i}" for i in range(len(rows))],
            "split": "test",
            "patient_ids": [[f"p{i}"] for i in range(len(rows))],
            "question_id": "q",
            "template_id": "t",
            "answer": rows["true"],
            **items,
        }
    )
    scores = pd.DataFrame(
        {
            "run_id": "m",
            "item_id": table["item_id"],
            "intervention": "intact",
            "draw": 0,
            "status": rows["status"],
            "answer_given": rows["given"],
            "answer_expected": None,
            "text": rows["text"],
        }
    )
    swapped = scores.assign(intervention="no_ecg", status="error")
    again = scores.assign(draw=1, status="error")
    scores = pd.concat([again, swapped, scores.iloc[::-1]], ignore_index=True)
    return Outcomes(ScoreSet(table, scores, {"m": {"role": "audited"}}), "test")


@pytest.fixture
def drawn() -> pd.DataFrame:
    """600 items over 20 answers of falling frequency; one in ten without an answer."""
    rng = np.random.default_rng(4)
    share = 1 / np.arange(1, 21)
    names = [f"finding {i:02d}" for i in range(20)]
    true, given = (rng.choice(names, 600, p=share / share.sum()) for _ in range(2))
    status = rng.choice(["answered", "empty", "unparsed", "abstained", "error"], 600, p=[0.9, 0.02, 0.04, 0.02, 0.02])
    return pd.DataFrame(
        {
            "true": [[name] for name in true],
            "given": [[name] if said == "answered" else [] for name, said in zip(given, status, strict=True)],
            "status": status,
            "text": [f"It is\n {name}, I think" for name in given],
        }
    )


def test_the_counts_are_those_of_a_plain_loop(drawn: pd.DataFrame) -> None:
    kinds = np.array(["one", "set"])[np.arange(600) % 2]
    found = confusion(outcomes(drawn, kind=kinds), "m")
    assert found["count"].sum() == 600
    for kind in ("one", "set"):
        mine = drawn[kinds == kind]
        frequency: dict[str, int] = {}
        for (name,) in mine["true"]:
            frequency[name] = frequency.get(name, 0) + 1
        top = sorted(frequency, key=lambda name: (-frequency[name], name))[:12]
        wanted: dict[tuple[str, str], int] = {}
        for (true,), given, status in zip(mine["true"], mine["given"], mine["status"], strict=True):
            second = f"no answer: {status}" if status != "answered" else given[0] if given[0] in top else "other"
            pair = (true if true in top else "other", second)
            wanted[pair] = wanted.get(pair, 0) + 1
        part = found[found["kind"] == kind]
        assert dict(zip(zip(part["true"], part["given"], strict=True), part["count"], strict=True)) == wanted
        assert list(dict.fromkeys(part["true"])) == [*top, "other"]


def test_the_share_without_an_answer_has_an_interval(drawn: pd.DataFrame) -> None:
    silent = int((drawn["status"] != "answered").sum())
    result = answers(outcomes(drawn), "m", seed=0, replicates=4000)
    assert result.estimate == pytest.approx(silent / 600)
    low, high = binomtest(silent, 600).proportion_ci(method="wilson")
    # Both limits are within a Monte-Carlo error and the difference of a percentile from a Wilson interval.
    assert result.interval == pytest.approx((low, high), abs=0.006)
    assert result.verdict == "fail" and not result.required
    assert result.threshold == "less than 5% of the questions without an answer"
    assert json.dumps(result.to_dict(), allow_nan=False)
    assert result.to_dict() == answers(outcomes(drawn), "m", seed=0, replicates=4000).to_dict()
    counts = drawn["status"].value_counts()
    assert f"Without an answer: {counts['abstained']} abstained, {counts['empty']} empty" in result.note


@pytest.mark.parametrize(("silent", "verdict"), [(0, "pass"), (3, "pass"), (30, "inconclusive"), (60, "fail")])
def test_the_verdict(drawn: pd.DataFrame, silent: int, verdict: str) -> None:
    drawn["status"] = np.where(np.arange(600) < silent, "unparsed", "answered")
    assert answers(outcomes(drawn), "m", seed=1, replicates=1000).verdict == verdict


def test_texts_that_could_not_be_read_are_quoted(drawn: pd.DataFrame) -> None:
    known = outcomes(drawn)
    unread = [i for i, status in enumerate(drawn["status"]) if status == "unparsed"]
    found = unparsed_texts(known, "m")
    assert [item for item, _ in found] == [f"q{i}" for i in unread[:10]]
    assert all("\n" not in text for _, text in found)
    note = answers(known, "m", seed=0, replicates=50).note
    assert f"q{unread[0]}: “{found[0][1]}”" in note and f"q{unread[10]}:" not in note
    drawn["text"] = "no " * 400
    assert all(len(text) == 120 and text.endswith("…") for _, text in unparsed_texts(outcomes(drawn), "m"))
    drawn["text"] = None
    assert unparsed_texts(outcomes(drawn), "m") == []
    assert "could not be read" not in answers(outcomes(drawn), "m", seed=0, replicates=50).note


def test_several_answers_and_none_given(drawn: pd.DataFrame) -> None:
    few = drawn.iloc[:2].assign(true=[["b", "a"], ["a", "b"]], given=[["b", "a"], []], status="answered")
    found = confusion(outcomes(few), "m")
    assert found.to_dict("records") == [
        {"kind": "", "true": "a; b", "given": "a; b", "count": 1},
        {"kind": "", "true": "a; b", "given": "other", "count": 1},
    ]


def test_without_intact_answers_there_is_nothing_to_say(drawn: pd.DataFrame) -> None:
    known = outcomes(drawn.iloc[:3])
    scores = known.score_set.scores
    rest = ScoreSet(known.score_set.items, scores[scores["intervention"] != "intact"], known.score_set.runs)
    assert answers(Outcomes(rest, "test"), "m", seed=0, replicates=50).verdict == "not assessed"


def test_few_patients_give_no_verdict(drawn: pd.DataFrame) -> None:
    result = answers(outcomes(drawn.iloc[:10]), "m", seed=0, replicates=50)
    assert result.verdict == "inconclusive" and "Only 10 patients" in result.note
