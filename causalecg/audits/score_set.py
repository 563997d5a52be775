"""The table of a model's answers: one row per (run, item, intervention, draw). Audits read nothing else.

items.parquet    the items that were asked, with their true answers
scores/*.parquet appended parts
runs.json        run_id -> model, role, arm, seed, cohort hash, ...
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from causalecg.errors import InputError

SCHEMA_VERSION = 1
ROLES = ("audited", "unadjusted", "question_only", "ecg_only", "oracle", "reference")
STATUSES = ("answered", "abstained", "unparsed", "empty", "error")
SCORE_COLUMNS: dict[str, str] = {
    "run_id": "string",
    "item_id": "string",
    "intervention": "string, canonical",
    "draw": "int64, number of the donor or wording drawn",
    "question": "string or null, as asked",
    "wording_id": "string",
    "donor_ecg_ids": "list of strings or null",
    "answer_expected": "list of strings or null: the donor's true answer",
    "log_likelihood": "list of float32 or null, in the order of the item's candidates (log-odds for kind set)",
    "answer_given": "list of strings",
    "status": "string, one of STATUSES",
    "passes": "int64, scorer passes",
}
#: What a table from elsewhere must have.
NEEDED = ("item_id", "intervention", "answer_given", "answer")
_SEPARATOR = "|"


@dataclass(frozen=True)
class ScoreSet:
    """``items`` (one row per item), ``scores`` (columns of :data:`SCORE_COLUMNS`) and ``runs``."""

    items: pd.DataFrame
    scores: pd.DataFrame
    runs: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, path: str | Path) -> ScoreSet:
        """A folder that ``causalecg score`` wrote, or a CSV, JSONL or Parquet table of a model's answers.

        Such a table needs the columns item_id, intervention, answer_given and answer; run_id, patient_id, question_id,
        split, style, answer_expected, role and others are used when they are there. Several answers are joined by "|".

        Raises InputError where it is neither, or a column is missing.
        """
        path = Path(path)
        if path.is_dir():
            return _read_folder(path)
        if not path.exists():
            raise InputError(f"{path} does not exist; give a folder of scores, or a table of answers")
        return _read_table(path)

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

    def splits(self) -> list[str]:
        return sorted(self.items["split"].unique())


def _read_folder(folder: Path) -> ScoreSet:
    parts = sorted((folder / "scores").glob("*.parquet"))
    if not (folder / "runs.json").is_file() or not (folder / "items.parquet").is_file():
        raise InputError(f"{folder} holds no scores (no runs.json and items.parquet); make them with 'causalecg score'")
    if not parts:
        raise InputError(f"{folder} holds no scores yet; run 'causalecg score' again to finish it")
    record = json.loads((folder / "runs.json").read_text())
    if record["schema_version"] != SCHEMA_VERSION:
        raise InputError(f"{folder} has score schema {record['schema_version']}, this version reads {SCHEMA_VERSION}")
    scores = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    return ScoreSet(pd.read_parquet(folder / "items.parquet"), scores, record["runs"])


def _read_table(path: Path) -> ScoreSet:
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        elif suffix in (".jsonl", ".ndjson"):
            table = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        elif suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            raise InputError(f"{path} is no table of answers this reads; use .csv, .jsonl or .parquet")
    except (ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; a table of answers needs {', '.join(NEEDED)}"
        )
    if table.empty:
        raise InputError(f"{path} has no rows")
    return _from_table(table, path.stem)


def _from_table(table: pd.DataFrame, name: str) -> ScoreSet:
    table = table.assign(item_id=table["item_id"].astype(str))
    for column in ("answer", "answer_given", "answer_expected"):
        if column in table.columns:
            table[column] = pd.Series([_several(value) for value in table[column]], index=table.index, dtype=object)
    run_id = table["run_id"].astype(str) if "run_id" in table.columns else pd.Series(name, index=table.index)
    roles = table["role"].astype(str) if "role" in table.columns else pd.Series("audited", index=table.index)
    runs = {str(run): {"model": str(run), "role": str(rows.iloc[0])} for run, rows in roles.groupby(run_id, sort=False)}
    for run, about in runs.items():
        if about["role"] not in ROLES:
            raise InputError(f"run {run} has the role '{about['role']}'; roles are {', '.join(ROLES)}")
    patient = table["patient_id"].astype(str) if "patient_id" in table.columns else table["item_id"]
    items = pd.DataFrame(
        {
            "item_id": table["item_id"],
            "split": table.get("split", "test"),
            "patient_ids": [ids.split(_SEPARATOR) for ids in patient],
            "question_id": table.get("question_id", "all"),
            "template_id": table.get("template_id", table.get("question_id", "all")),
            "style": table.get("style", "any"),
            "topic": table.get("topic", "any"),
            "answer": table["answer"],
            "question": table.get("question"),
        }
    ).drop_duplicates("item_id", ignore_index=True)
    scores = pd.DataFrame(
        {
            "run_id": run_id,
            "item_id": table["item_id"],
            "intervention": table["intervention"].astype(str),
            "draw": pd.to_numeric(table["draw"]).astype("int64") if "draw" in table.columns else 0,
            "question": table.get("question"),
            "wording_id": table.get("wording_id"),
            "donor_ecg_ids": None,
            "answer_expected": table.get("answer_expected"),
            "log_likelihood": None,
            "answer_given": table["answer_given"],
            "status": table.get("status", "answered"),
            "passes": 1,
        }
    )
    from causalecg.audits.interventions import require_known

    for intervention in scores["intervention"].unique():
        require_known(intervention)
    twice = scores.duplicated(["run_id", "item_id", "intervention", "draw"])
    if twice.any():
        first = scores[twice].iloc[0]
        raise InputError(f"{name}: item {first['item_id']}, intervention {first['intervention']} is there twice")
    return ScoreSet(items, scores, runs)


def _several(value: Any) -> list[str] | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str):
        return [part.strip() for part in value.split(_SEPARATOR) if part.strip()]
    if isinstance(value, (bool, int, float)):
        return [str(value)]
    return [str(part) for part in value]
