"""Predictions as benchmarks release them get a report, which says what it lacks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from causalecg.audits.checks.answers import AUDIT as answers
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.score_set import ScoreSet

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PUBLISHED = EXAMPLES / "published"


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_files_are_those_the_script_makes(tmp_path: Path) -> None:
    loaded(PUBLISHED / "make_files.py").make(tmp_path)
    made = sorted(path.name for path in tmp_path.iterdir())
    kept = sorted(path.name for path in PUBLISHED.iterdir() if path.suffix in (".csv", ".json", ".jsonl"))
    assert made == kept
    for name in made:
        assert (tmp_path / name).read_bytes() == (PUBLISHED / name).read_bytes()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    loaded(EXAMPLES / "published_predictions.py").main(folder)
    return folder


@pytest.mark.parametrize("name", ["llava", "ecgqa"])
def test_released_predictions_get_a_report_that_says_what_is_missing(out: Path, name: str) -> None:
    record = json.loads((out / name / "report.json").read_text())
    assert record["verdict"]["verdict"] == "not assessed"
    found = {audit["name"]: audit for audit in record["audits"]}
    assert found["accuracy"]["interval"] is not None and found["accuracy"]["verdict"] != "not assessed"
    page = (out / name / "report.html").read_text()
    for audit, lacks in (
        ("follow_rate", "other_patient[answer=opposite]"),
        ("adversarial_wording", "wording[held_out]"),
    ):
        assert found[audit]["verdict"] == "not assessed"
        assert f"there are no answers under {lacks}" in page
    command = [sys.executable, "-m", "causalecg", "audit", f"{name}.jsonl"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr


def test_a_plain_csv_without_scores_gets_one_too(out: Path, tmp_path: Path) -> None:
    rows = pd.read_json(out / "ecgqa.jsonl", lines=True)
    flat = rows[["item_id", "intervention", "answer", "answer_given"]].copy()
    for column in ("answer", "answer_given"):
        flat[column] = flat[column].map("|".join)
    flat.to_csv(tmp_path / "released.csv", index=False)
    command = [sys.executable, "-m", "causalecg", "audit", "released.csv", "--out", "report"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "Patients are not named" in (tmp_path / "report" / "report.html").read_text()


def test_every_question_counts_and_the_texts_are_read_strictly(out: Path) -> None:
    opened = ScoreSet.open(out / "llava.jsonl")
    assert opened.scores["status"].value_counts().to_dict() == {
        "answered": 40,
        "unparsed": 2,
        "abstained": 1,
        "empty": 1,
    }
    result = answers(Outcomes(opened, "test"), "llava", seed=0, replicates=200)
    assert result.estimate == pytest.approx(4 / 44)
    assert "made-up-005: “Yes, the P waves are absent.”" in result.note
    assert set(result.table["kind"]) == {"one", "set"}


def test_questions_without_an_answer_are_not_dropped(tmp_path: Path) -> None:
    for path in PUBLISHED.glob("*.*s*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    lines = (tmp_path / "llava_answers.jsonl").read_text().splitlines()
    (tmp_path / "llava_answers.jsonl").write_text("\n".join(lines[:30]))
    module = loaded(EXAMPLES / "published_predictions.py")
    rows = module.from_llava(tmp_path)
    assert len(rows) == 44 and [row["text"] for row in rows[30:]] == [None] * 14
    (tmp_path / "llava_answers.jsonl").write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(SystemExit, match="answers a question twice"):
        module.from_llava(tmp_path)
