from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from causalecg.audits.rewording import protected, reword, words_of
from causalecg.audits.user_wordings import read_wordings
from causalecg.cohort.wordings import STYLES, render, training_wordings
from causalecg.errors import InputError

OWN = [render(style, w, "atrial fibrillation") for style in STYLES for w in training_wordings()]


def check(question: str) -> list[str]:
    made = reword(question, 8, np.random.default_rng(0))
    texts = [" ".join(text.lower().split()) for text in made]
    assert len(set(texts)) == len(texts)
    assert " ".join(question.lower().split()) not in texts
    for text in made:
        assert protected(text) == protected(question), text
    assert made == reword(question, 8, np.random.default_rng(0))
    return made


@pytest.mark.parametrize("question", OWN)
def test_own_wordings_are_reworded_and_keep_their_words(question: str) -> None:
    assert len(check(question)) >= 3


@pytest.mark.parametrize(
    "question",
    [
        "Does this ECG show no sign of static noise in lead V1?",
        "Which numeric features of the second ECG are not within normal range compared to the first ECG?",
        "Is the QRS duration longer than 120 ms in this ECG?",
        "Does this ECG show symptoms of non-diagnostic t abnormalities or long qt-interval?",
    ],
)
def test_findings_leads_numbers_and_negations_stay(question: str) -> None:
    for text in check(question):
        for word in ("no", "not", "non", "v1", "120", "first", "second", "longer", "or"):
            assert words_of(text).count(word) == words_of(question).count(word)


def test_what_changes_the_meaning_would_be_dropped() -> None:
    assert protected("Is there no noise in lead V1?") != protected("Is there noise in lead V1?")
    assert protected("Is the first longer than the second?") == protected("Is the second longer than the first?")
    assert protected("Does lead I show noise?") != protected("Does lead II show noise?")


@pytest.mark.realdata
def test_real_questions_have_three_rewordings_each(real_data: Path) -> None:
    texts: set[str] = set()
    for path in (real_data / "ecgqa" / "ptbxl").rglob("*.json"):
        rows = json.loads(path.read_text())
        texts |= (
            {row["question"] for row in rows if isinstance(row, dict) and "question" in row}
            if isinstance(rows, list)
            else set()
        )
    assert len(texts) > 100
    enough = [len(check(text)) >= 3 for text in sorted(texts)]
    assert np.mean(enough) > 0.95


def test_user_wordings(tmp_path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("question,rewording\nIs it AF?,AF present?\nIs it AF?,AF present?\nIs it AF?,Do you see AF?\n")
    assert read_wordings(path) == {"Is it AF?": ["AF present?", "Do you see AF?"]}
    for text, says in (
        ("question,rewording\nIs it AF?,\n", "row 1 has an empty"),
        ("question,rewording\nIs it AF?, is it  af?\n", "row 1: the rewording is the question itself"),
        ("q,rewording\na,b\n", "needs the columns rewording and question"),
        ("question,rewording\n", "has no rows"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=says):
            read_wordings(path)
