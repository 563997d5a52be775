"""The table of a model's answers: one row per (run, item, intervention, draw). Audits read nothing else.

items.parquet    the items that were asked, with their true answers
scores/*.parquet appended parts
runs.json        run_id -> model, role, arm, seed, cohort hash, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from causalecg.audits.answer_table import read_answer_table
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.run_records import read_records
from causalecg.errors import InputError
from causalecg.parquet import read_parquet

SCORE_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "item_id": "string",
    "intervention": "string, canonical",
    "draw": "int64, number of the donor or wording drawn",
    "question": "string or null, as asked",
    "wording_id": "string",
    "donor_ecg_ids": "list of strings or null",
    "donor_patient_ids": "list of strings or null",
    "answer_expected": "list of strings or null: the donor's true answer",
    "log_likelihood": "list of float32 or null, in the order of the item's candidates (log-odds for kind set)",
    "candidate_order": "list of int64 or null: the item's position of each candidate, in the order they were asked",
    "answer_given": "list of strings",
    "status": "string, one of STATUSES",
    "text": "string or null, as generated",
    "passes": "int64, scorer passes",
}
#: Columns that a folder of an earlier version lacks: null then.
LATER_COLUMNS = ("candidate_order", "text")


@dataclass(frozen=True)
class ScoreSet:
    """``items`` (one row per item), ``scores`` (columns of :data:`SCORE_COLUMNS`) and ``runs``."""

    items: pd.DataFrame
    scores: pd.DataFrame
    runs: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, path: str | Path) -> ScoreSet:
        """A folder that ``causalecg score`` wrote, or a CSV, JSONL or Parquet table of a model's answers.

        Such a table needs the columns item_id, intervention, answer and one of answer_given, text with candidates, and
        log_likelihood with candidates; kind, candidate_order, run_id, role, patient_id, split, question_id, question,
        template_id, topic, style, wording_id, severity, draw, status, answer_expected, donor_patient_id, donor_ecg_id
        and ecg_id are used when they are there (docs/answer_table.md). Several answers, ids or numbers are joined by
        "|", or are lists.

        Raises InputError where it is neither, or a row cannot be understood.
        """
        path = Path(path)
        if path.is_dir():
            return _read_folder(path)
        if not path.exists():
            raise InputError(f"{path} does not exist; give a folder of scores, or a table of answers")
        return cls(*read_answer_table(path))

    @classmethod
    def concat(cls, parts: Sequence[ScoreSet]) -> ScoreSet:
        """Several score sets as one; InputError when two hold a run of the same name."""
        runs: dict[str, dict[str, Any]] = {}
        for part in parts:
            twice = runs.keys() & part.runs.keys()
            if twice:
                raise InputError(f"two score sets hold a run called {min(twice)}; rename one of them")
            runs |= part.runs
        items = pd.concat([part.items for part in parts], ignore_index=True).drop_duplicates("item_id")
        scores = pd.concat([part.scores for part in parts], ignore_index=True)
        return cls(items.reset_index(drop=True), scores, runs)

    def of_role(self, *roles: str) -> list[str]:
        """Names of the runs that play one of these roles, in order of their appearance."""
        return [name for name, run in self.runs.items() if run.get("role") in roles]

    def complete(self, run_id: str, split: str, intervention: str) -> bool:
        """Are all the rows there that scoring set out to make? So it is taken where no plan is recorded."""
        planned = self.runs[run_id].get("asked", {}).get(split, {}).get(intervention)
        return planned is None or bool(planned["done"])

    def outcomes(self, split: str) -> Outcomes:
        """Its answers as arrays, made once."""
        if split not in self._opened:
            self._opened[split] = Outcomes(self, split)
        return self._opened[split]

    @cached_property
    def _opened(self) -> dict[str, Outcomes]:
        return {}

    def splits(self) -> list[str]:
        return sorted(self.items["split"].unique())


def _read_folder(folder: Path) -> ScoreSet:
    parts = sorted((folder / "scores").glob("*.parquet"))
    if not (folder / "runs.json").is_file() or not (folder / "items.parquet").is_file():
        raise InputError(f"{folder} holds no scores (no runs.json and items.parquet); make them with 'causalecg score'")
    if not parts:
        raise InputError(f"{folder} holds no scores yet; run 'causalecg score' again to finish it")
    record = read_records(folder)
    items, scores = _table(folder / "items.parquet"), pd.concat([_table(part) for part in parts], ignore_index=True)
    for name in LATER_COLUMNS:
        if name not in scores.columns:
            scores[name] = pd.Series([None] * len(scores), dtype=object)
    missing = [name for name in SCORE_COLUMNS if name not in scores.columns]
    if missing or "item_id" not in items.columns:
        raise InputError(f"{folder} lacks the column {(missing or ['item_id'])[0]}; score again into another folder")
    for run in record["runs"].values():
        run["notes"] = [*run.get("notes", []), *_unfinished(run)]
    return ScoreSet(items, scores, record["runs"])


def _table(path: Path) -> pd.DataFrame:
    try:
        return read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: {str(error).splitlines()[0]}; remove {path.parent} and score again"
        ) from error


def _unfinished(run: dict[str, Any]) -> list[str]:
    return [
        f"{split}: {name} is incomplete; run 'causalecg score' again to finish it"
        for split, asked in run.get("asked", {}).items()
        for name, planned in asked.items()
        if not planned["done"]
    ]
