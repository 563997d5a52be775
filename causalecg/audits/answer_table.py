"""A table of answers from elsewhere: read, checked row by row, and brought into the form of a score set."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causalecg.audits.interventions import OPPOSITE, require_known
from causalecg.audits.roles import ROLES
from causalecg.errors import InputError
from causalecg.parquet import read_parquet

STATUSES = ("answered", "abstained", "unparsed", "empty", "error")
#: What such a table must have.
NEEDED = ("item_id", "intervention", "answer_given", "answer")
_SEPARATOR = "|"
UNKNOWN_PATIENTS = (
    "Patients are not named (patient_id): an item without one counts as a patient of its own, and where a patient has "
    "several items the intervals are too narrow."
)
#: A majority counted from a handful of items is right by construction: fewer per question, and all are one kind.
_ITEMS_PER_QUESTION = 20

Items = pd.DataFrame
Scores = pd.DataFrame
Runs = dict[str, dict[str, Any]]


def read_answer_table(path: Path) -> tuple[Items, Scores, Runs]:
    """Items, scores and runs of a .csv, .jsonl or .parquet table.

    Raises InputError, naming the row (the first below the header is row 1), for what cannot be understood.
    """
    table = read_table(path)
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; a table of answers needs {', '.join(NEEDED)}"
        )
    if table.empty:
        raise InputError(f"{path} has no rows")
    return _understood(table, path.stem)


def read_table(path: Path) -> pd.DataFrame:
    """A .csv (as texts), .jsonl or .parquet file. InputError where it cannot be read."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            with warnings.catch_warnings():
                # Rows longer than the header would otherwise be cut, or their first cell taken for an index.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                return pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
        if suffix in (".jsonl", ".ndjson"):
            return pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        if suffix == ".parquet":
            return read_parquet(path)
    except pd.errors.ParserWarning as error:
        raise InputError(f"{path} has rows with more cells than its header; quote cells that hold a comma") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    raise InputError(f"{path} is no table of answers this reads; use .csv, .jsonl or .parquet")


def _understood(raw: pd.DataFrame, name: str) -> tuple[Items, Scores, Runs]:
    size = len(raw)
    nothing: list[str | None] = [None] * size

    def texts(column: str) -> list[str | None]:
        return [_text(value) for value in raw[column]] if column in raw.columns else nothing

    def lists(column: str) -> list[list[str] | None]:
        return [_several(value) for value in raw[column]] if column in raw.columns else [None] * size

    item = _required(texts("item_id"), name, "item_id")
    intervention = _required(texts("intervention"), name, "intervention")
    for row, what in enumerate(intervention, start=1):
        try:
            require_known(what)
        except InputError as error:
            raise InputError(f"{name}, row {row}: {error}") from None
    answer = _required(lists("answer"), name, "answer")
    given, status = _given(lists("answer_given"), texts("status"), name)
    run = _required(texts("run_id"), name, "run_id") if "run_id" in raw.columns else [name] * size
    split = _required(texts("split"), name, "split") if "split" in raw.columns else ["test"] * size
    patients = [who or [own] for who, own in zip(lists("patient_id"), item, strict=True)]
    _agree(item, patients if "patient_id" in raw.columns else [None] * size, "patient_id", name)
    _agree(item, [frozenset(a) for a in answer], "answer", name)
    _agree(item, split, "split", name)
    asked, question = texts("question"), texts("question_id")
    _agree(item, question, "question_id", name)
    frame = pd.DataFrame(
        {
            "item_id": item,
            "split": split,
            "patient_ids": patients,
            "question_id": [q or words or "all" for q, words in zip(question, asked, strict=True)],
            "template_id": texts("template_id"),
            "style": [value or "any" for value in texts("style")],
            "topic": [value or "any" for value in texts("topic")],
            "answer": answer,
            "question": pd.Series(asked, dtype=object),
            "ecg_ids": pd.Series(lists("ecg_id"), dtype=object),
        }
    )
    # Reworded rows carry other words: the intact row's are the item's.
    first = np.argsort([what != "intact" for what in intervention], kind="stable")
    items = frame.iloc[first].drop_duplicates("item_id").sort_index().reset_index(drop=True)
    items["template_id"] = _templates(items)
    items["ecg_ids"] = [ecgs or [] for ecgs in items["ecg_ids"]]
    scores = pd.DataFrame(
        {
            "run_id": run,
            "item_id": item,
            "intervention": intervention,
            "draw": _draws(raw, item, run, intervention, name),
            "question": pd.Series(asked, dtype=object),
            "wording_id": pd.Series(texts("wording_id"), dtype=object),
            "donor_ecg_ids": pd.Series(lists("donor_ecg_id"), dtype=object),
            "donor_patient_ids": pd.Series(lists("donor_patient_id"), dtype=object),
            "answer_expected": pd.Series(lists("answer_expected"), dtype=object),
            "log_likelihood": None,
            "answer_given": pd.Series(given, dtype=object),
            "status": status,
            "passes": 1,
        }
    )
    scores["answer_expected"] = _opposite_where_there_are_two(scores, items)
    runs = _runs(run, texts("role"), name)
    if any(who is None for who in lists("patient_id")):
        for record in runs.values():
            record["notes"] = [UNKNOWN_PATIENTS]
    return items, scores, runs


def _text(value: Any) -> str | None:
    """``None`` for a missing or blank cell; a whole number is written without a decimal point."""
    if isinstance(value, dict):
        raise InputError(f"a cell holds an object ({str(value)[:40]}); give texts, numbers or lists of them")
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value).strip() or None


def _several(value: Any) -> list[str] | None:
    """The answers, or ids, in a cell; ``None`` where there are none. A column with gaps turns 1 into 1.0."""
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        parts = [_text(part) for part in value]
    else:
        text = _text(value)
        parts = [] if text is None else [part.strip() for part in text.split(_SEPARATOR)]
    found = [re.sub(r"^(-?\d+)\.0+$", r"\1", part) for part in parts if part]
    return found or None


def _required(values: list[Any], name: str, column: str) -> list[Any]:
    for row, value in enumerate(values, start=1):
        if value is None:
            raise InputError(f"{name}, row {row} has no {column}; fill it in")
    return values


def _given(given: list[list[str] | None], status: list[str | None], name: str) -> tuple[list[list[str]], list[str]]:
    """Answers and statuses; an answered row without an answer is "empty", which counts as wrong."""
    found = []
    for row, (answer, said) in enumerate(zip(given, status, strict=True), start=1):
        if said is not None and said not in STATUSES:
            raise InputError(f"{name}, row {row} has the status '{said}'; statuses are {', '.join(STATUSES)}")
        what = said or "answered"
        found.append("empty" if answer is None and what == "answered" else what)
    return [answer or [] for answer in given], found


def _agree(item: list[str], values: list[Any], column: str, name: str) -> None:
    """Every row of an item says the same of it."""
    known: dict[str, Any] = {}
    hint = "give different items different ids"
    if column == "answer":
        hint = f"{hint}, and in rows with another patient's ECG put that one's answer into answer_expected"
    for row, (which, value) in enumerate(zip(item, values, strict=True), start=1):
        if known.setdefault(which, value) != value:
            raise InputError(
                f"{name}, row {row}: item {which} has another {column} here than in an earlier row; {hint}"
            )


def _draws(raw: pd.DataFrame, item: list[str], run: list[str], intervention: list[str], name: str) -> pd.Series:
    """Draws from 0 within each run, item and intervention, in the order of the numbers given."""
    numbers = []
    for row, value in enumerate(raw["draw"] if "draw" in raw.columns else [0] * len(raw), start=1):
        text = _text(value)
        if text is None or not re.fullmatch(r"\d+(\.0+)?", text):
            raise InputError(f"{name}, row {row} has the draw '{text or ''}'; number draws 0, 1, 2, ...")
        numbers.append(int(float(text)))
    frame = pd.DataFrame({"run": run, "item": item, "what": intervention, "draw": numbers})
    twice = frame.duplicated()
    if twice.any():
        at = int(np.flatnonzero(twice)[0])
        raise InputError(
            f"{name}, row {at + 1}: item {item[at]}, intervention {intervention[at]} is there twice; "
            "number repetitions in a column draw"
        )
    return frame.groupby(["run", "item", "what"])["draw"].rank(method="dense").astype("int64") - 1


def _templates(items: pd.DataFrame) -> list[str]:
    per_question = len(items) / items["question_id"].nunique()
    default = items["question_id"] if per_question >= _ITEMS_PER_QUESTION else ["all"] * len(items)
    return [given or other for given, other in zip(items["template_id"], default, strict=True)]


def _opposite_where_there_are_two(scores: pd.DataFrame, items: pd.DataFrame) -> pd.Series:
    """The donor's answer, as given; under an opposite donor, where a question has two answers, the other one."""
    sets = [frozenset(answer) for answer in items["answer"]]
    answers: dict[str, list[frozenset[str]]] = {}
    for question, answer in zip(items["question_id"], sets, strict=True):
        if answer not in answers.setdefault(question, []):
            answers[question].append(answer)
    own = dict(zip(items["item_id"], zip(items["question_id"], sets, strict=True), strict=True))

    def other(item: str) -> list[str] | None:
        question, answer = own[item]
        rest = [one for one in answers[question] if one.isdisjoint(answer)]
        return sorted(rest[0]) if len(answers[question]) == 2 and rest else None

    rows = zip(scores["item_id"], scores["intervention"], scores["answer_expected"], strict=True)
    found = [other(item) if expected is None and what == OPPOSITE else expected for item, what, expected in rows]
    return pd.Series(found, index=scores.index, dtype=object)


def _runs(run: list[str], role: list[str | None], name: str) -> Runs:
    runs: Runs = {}
    for row, (which, plays) in enumerate(zip(run, role, strict=True), start=1):
        plays = plays or "audited"
        if plays not in ROLES:
            raise InputError(f"{name}, row {row}: run {which} has the role '{plays}'; roles are {', '.join(ROLES)}")
        if runs.setdefault(which, {"model": which, "role": plays})["role"] != plays:
            raise InputError(f"{name}, row {row}: run {which} has another role here than in an earlier row")
    return runs
