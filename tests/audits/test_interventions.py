from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from causalecg.audits.donors import draw_donors, patient_codes
from causalecg.audits.interventions import DEFAULT_SUITE, KNOWN, intervene, parse, parts_of
from causalecg.errors import InputError


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 400
    answers = [["a"], ["b"], ["a", "b"], ["c"]]
    return pd.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(n)],
            "question_id": rng.choice(["q1", "q2", "q3"], n),
            "patient_ids": [[f"p{rng.integers(60)}", f"p{60 + rng.integers(60)}"][: 1 + i % 2] for i in range(n)],
            "ecg_ids": [[f"e{i}", f"f{i}"][: 1 + i % 2] for i in range(n)],
            "answer": [answers[k] for k in rng.integers(0, 4, n)],
            "severity_x": rng.integers(0, 3, n),
            "style": rng.choice(["calm", "urgent"], n),
            "wording_id": rng.choice(["w0", "w1"], n),
            "question": "?",
        }
    )


def test_pairs_are_matched_by_both_severities() -> None:
    rng = np.random.default_rng(5)
    n = 400
    first, second = rng.integers(0, 3, n), rng.integers(0, 3, n)
    pairs = pd.DataFrame(
        {
            "question_id": "q", "patient_ids": [[f"a{i}", f"b{i}"] for i in range(n)],
            "answer": [["yes"] if i % 2 else ["no"] for i in range(n)],
            "severity_x": np.maximum(first, second), "severity_x_1": first, "severity_x_2": second,
        }
    )  # fmt: skip
    donors = draw_donors(pairs, answer="different", severity="severity_x", rng=rng)
    assert (donors >= 0).mean() > 0.95
    at = donors >= 0
    assert (first[at] == first[donors[at]]).all() and (second[at] == second[donors[at]]).all()


@pytest.mark.parametrize("answer", ["any", "different", "opposite"])
@pytest.mark.parametrize("severity", [None, "severity_x"])
def test_donors_are_who_they_should_be(table: pd.DataFrame, answer, severity) -> None:
    donors = draw_donors(table, answer=answer, severity=severity, rng=np.random.default_rng(1))
    assert (donors >= 0).all()
    for item, donor in enumerate(donors):
        one, other = table.iloc[item], table.iloc[donor]
        assert one["question_id"] == other["question_id"]
        assert not set(one["patient_ids"]) & set(other["patient_ids"])
        if answer == "opposite":
            assert not set(one["answer"]) & set(other["answer"])
        if answer == "different":
            assert set(one["answer"]) != set(other["answer"])
        if severity:
            assert one[severity] == other[severity]


def test_donors_are_drawn_uniformly_among_those_that_qualify() -> None:
    table = pd.DataFrame(
        {
            "question_id": "q",
            "patient_ids": [["p0"], ["p1"], ["p2"], ["p3"], ["p0"]],
            "answer": [["yes"], ["no"], ["no"], ["no"], ["no"]],
        }
    )
    rng = np.random.default_rng(0)
    draws = [int(draw_donors(table, answer="opposite", severity=None, rng=rng)[0]) for _ in range(3000)]
    counts = np.bincount(draws, minlength=5)
    assert counts[0] == counts[4] == 0  # itself, and the same patient
    assert np.abs(counts[1:4] - 1000).max() < 4 * np.sqrt(3000 * (1 / 3) * (2 / 3))


def test_nobody_qualifies() -> None:
    table = pd.DataFrame({"question_id": ["q", "q"], "patient_ids": [["p"], ["p"]], "answer": [["yes"], ["no"]]})
    assert draw_donors(table, answer="any", severity=None, rng=np.random.default_rng(0)).tolist() == [-1, -1]


def test_a_single_patient_has_one_code() -> None:
    codes = patient_codes(pd.Series([["a"], ["a", "b"], ["b"]]))
    assert codes.tolist() == [[0, 0], [0, 1], [1, 1]]


def test_swaps_name_the_donor_and_its_answer(table: pd.DataFrame) -> None:
    changed = intervene("other_patient[answer=opposite]", table, None, severity=None, seed=0)  # type: ignore[arg-type]
    truth = {tuple(e): a for e, a in zip(table["ecg_ids"], table["answer"], strict=True)}
    assert changed.left_out == 0
    for row in changed.table.itertuples():
        assert row.ecg_ids == row.donor_ecg_ids
        assert truth[tuple(row.donor_ecg_ids)] == row.answer_expected
    again = intervene("other_patient[answer=opposite]", table, None, severity=None, seed=0)  # type: ignore[arg-type]
    other = intervene("other_patient[answer=opposite]", table, None, severity=None, seed=1)  # type: ignore[arg-type]
    assert again.table["ecg_ids"].tolist() == changed.table["ecg_ids"].tolist() != other.table["ecg_ids"].tolist()


def test_rewording() -> None:
    words = pd.DataFrame(
        [
            ("q1", "calm-0", "calm", False, "c0"),
            ("q1", "calm-1", "calm", False, "c1"),
            ("q1", "calm-2", "calm", True, "c2"),
            ("q1", "urgent-0", "urgent", False, "u0"),
            ("q1", "urgent-2", "urgent", True, "u2"),
            ("q2", "only", "calm", False, "o"),
        ],
        columns=["question_id", "wording_id", "style", "held_out", "question"],
    )
    table = pd.DataFrame(
        {
            "question_id": ["q1"] * 50 + ["q2"],
            "wording_id": ["calm-0"] * 50 + ["only"],
            "style": "calm",
            "question": "c0",
            "ecg_ids": [["e"]] * 51,
        }
    )
    cohort = SimpleNamespace(wordings=words)

    def asked(name: str) -> tuple[set[str], int]:
        found = intervene(name, table, cohort, severity=None, seed=0)  # type: ignore[arg-type]
        return set(found.table["question"]), found.left_out

    assert asked("wording[held_out]") == ({"u2"}, 1)
    assert asked("wording[style=other]") == ({"u0"}, 1)
    assert asked("wording[seen]") == ({"c1"}, 1)


def test_lists_are_parsed_with_their_commas() -> None:
    same = "other_patient[answer=different,severity=same]"
    assert parse(f"intact,{same},no_ecg") == ("intact", same, "no_ecg")
    assert parse("default") == DEFAULT_SUITE
    assert len(DEFAULT_SUITE) == 6
    parts = {part.name for name in parse("full") for part in parts_of(name)}
    assert parts == set(KNOWN) - {"wording[user]"}  # which takes a file
    with pytest.raises(InputError, match="did you mean 'no_ecg'"):
        parse("intact,no_egc")


def test_the_same_severity_needs_a_severity(table: pd.DataFrame) -> None:
    for scales, says in (((), "the cohort has none"), (("acuity", "burden"), "name one: acuity, burden")):
        bare = SimpleNamespace(path="x", severity_scales=scales)
        with pytest.raises(InputError, match=f"needs a severity scale; {says}"):
            intervene(DEFAULT_SUITE[4], table, bare, severity=None, seed=0)  # type: ignore[arg-type]


def test_an_undefined_severity_has_no_donor(table: pd.DataFrame) -> None:
    levels = table["severity_x"].astype(float).where(table.index % 4 != 0, -1.0).where(table.index % 4 != 1)
    donors = draw_donors(
        table.assign(severity_x=levels), answer="any", severity="severity_x", rng=np.random.default_rng(0)
    )
    assert (donors[table.index % 4 < 2] == -1).all()
    assert (donors[table.index % 4 >= 2] >= 0).all()
    assert (table.index[donors[donors >= 0]] % 4 >= 2).all()


def test_where_nobody_qualifies_it_is_quick() -> None:
    n = 30_000
    table = pd.DataFrame(
        {"question_id": "q", "patient_ids": [[f"p{i}"] for i in range(n)], "answer": [["yes"]] * n}
    )  # fmt: skip
    start = time.process_time()
    donors = draw_donors(table, answer="opposite", severity=None, rng=np.random.default_rng(0))
    assert (donors == -1).all()
    assert time.process_time() - start < 5
