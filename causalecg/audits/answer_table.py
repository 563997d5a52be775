"""A table of answers from elsewhere: read, checked row by row, and brought into the form of a score set."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from causalecg.audits.answer_parser import Kind
from causalecg.audits.answer_spelling import spelt_otherwise
from causalecg.audits.donor_rows import check_donors
from causalecg.audits.interventions import OPPOSITE, require_known
from causalecg.audits.roles import ROLES
from causalecg.audits.row_answers import STATUSES, row_answer, wrong_with_order, wrong_with_scores
from causalecg.audits.table_columns import LISTS, NUMBERS, TEXTS, unused
from causalecg.errors import InputError
from causalecg.tables.bad_rows import BadRow, BadRows
from causalecg.tables.cells import column_of, numbers_of, text_of, texts_of
from causalecg.tables.reading import read_table

#: What such a table must have, and one of these besides.
NEEDED = ("item_id", "intervention", "answer")
ANSWERS = (("answer_given",), ("text", "candidates"), ("log_likelihood", "candidates"))
KINDS = ("one", "set")
UNKNOWN_PATIENTS = (
    "Patients are not named (patient_id): an item without one counts as a patient of its own, and where a patient has "
    "several items the intervals are too narrow."
)
#: A majority counted from a handful of items is right by construction: fewer per question, and all are one kind.
_ITEMS_PER_QUESTION = 20
_DRAW = re.compile(r"[0-9]+(\.0+)?")

Items = pd.DataFrame
Scores = pd.DataFrame
Runs = dict[str, dict[str, Any]]
#: Column -> a value for each row.
_Rows = dict[str, list[Any]]


def read_answer_table(path: Path) -> tuple[Items, Scores, Runs]:
    """Items, scores and runs of a .csv, .jsonl or .parquet table.

    Raises InputError, naming the first bad row (the first below the header is row 1) and how many there are, for what
    cannot be understood; see :func:`bad_rows`.
    """
    rows, bad, ignored = _understood(path)
    bad.require_none()
    items = _items(rows)
    return items, _scores(rows, items), _runs(rows, ignored)


def bad_rows(path: Path) -> list[BadRow]:
    """Every row of a table that cannot be understood; a row may have several things wrong with it.

    Raises InputError where the table as a whole cannot be: no such file or format, missing columns, no rows.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give a table of answers")
    return _understood(path)[1].each()


def _understood(path: Path) -> tuple[_Rows, BadRows, list[str]]:
    """The columns of a table, a value for each row; what is wrong with the rows; and columns that are not read."""
    raw = read_table(path)
    have = set(raw.columns)
    missing = [name for name in NEEDED if name not in have]
    if not any(have.issuperset(way) for way in ANSWERS):
        missing.append("answer_given (or text and candidates, or log_likelihood and candidates)")
    if missing:
        raise InputError(f"{path} lacks the column(s) {', '.join(missing)}; docs/answer_table.md says what they hold")
    ignored = unused(raw.columns, path)
    if raw.empty:
        raise InputError(f"{path} has no rows")
    bad = BadRows(path.name, ": 'causalecg audit TABLE --check' names them")
    rows = _read_cells(raw, path.stem, bad)
    _check_rows(rows, have, bad)
    _fill_items(rows, bad)
    check_donors(rows, bad)
    _find_answers(rows, "candidates" in have, bad)
    return rows, bad, ignored


def _read_cells(raw: pd.DataFrame, name: str, bad: BadRows) -> _Rows:
    size = len(raw)

    def cells(column: str, reader: Callable[[Any], Any], default: Any = None) -> list[Any]:
        """What is read of each row; where the column is not there, the default; where a needed one is blank, bad."""
        if column not in raw.columns:
            return [default] * size
        blank = f" has no {column}; fill it in" if default is not None or column in NEEDED else None
        return column_of(raw, column, reader, bad, blank)

    defaults = {"run_id": name, "split": "test", "draw": "0"}
    rows = {column: cells(column, text_of, defaults.get(column)) for column in TEXTS}
    rows |= {column: cells(column, texts_of) for column in LISTS}
    return rows | {column: cells(column, numbers_of) for column in NUMBERS}


def _check_rows(rows: _Rows, have: set[str], bad: BadRows) -> None:
    """What can be told from a row alone, and from those of the same item, run, intervention and draw."""
    unknown = _unknown(rows["intervention"])
    for row, what in enumerate(rows["intervention"], start=1):
        if what in unknown:
            bad.note(row, f": {unknown[what]}")
    for column, known, plural in (("status", STATUSES, "statuses"), ("kind", KINDS, "kinds")):
        for row, said in enumerate(rows[column], start=1):
            if said is not None and said not in known:
                bad.note(row, f" has the {column} '{said}'; {plural} are {', '.join(known)}")
    for row, names in enumerate(rows["candidates"], start=1):
        if names is not None and len(set(names)) < len(names):
            bad.note(row, " names a candidate twice; keep one of them")
    _check_draws(rows, unknown, bad)
    _check_roles(rows, bad)
    item = rows["item_id"]
    if "patient_id" in have:
        own = [who or [name] for who, name in zip(rows["patient_id"], item, strict=True)]
        _agree(item, own, "patient_id", bad)
    _agree(item, [None if a is None else frozenset(a) for a in rows["answer"]], "answer", bad, blank=True)
    _agree(item, rows["split"], "split", bad, blank=True)
    _agree(item, rows["question_id"], "question_id", bad)


def _unknown(interventions: Sequence[str | None]) -> dict[str | None, str]:
    """Those that are no interventions -> why."""
    found: dict[str | None, str] = {}
    for name in set(interventions) - {None}:
        try:
            require_known(cast(str, name))
        except InputError as error:
            found[name] = str(error)
    return found


def _check_draws(rows: _Rows, unknown: Container[str | None], bad: BadRows) -> None:
    seen = set()
    keys = zip(rows["run_id"], rows["item_id"], rows["intervention"], rows["draw"], strict=True)
    for row, (run, item, intervention, draw) in enumerate(keys, start=1):
        if draw is None or intervention in unknown:
            continue
        if not _DRAW.fullmatch(draw):
            bad.note(row, f" has the draw '{draw}'; number draws 0, 1, 2, ...")
            continue
        key = (run, item, intervention, int(float(draw)))
        if None not in key and key in seen:
            bad.note(
                row,
                f": item {item}, intervention {intervention} is there twice; number repetitions in a column draw",
            )
        seen.add(key)


def _check_roles(rows: _Rows, bad: BadRows) -> None:
    known: dict[str, str] = {}
    for row, (run, role) in enumerate(zip(rows["run_id"], rows["role"], strict=True), start=1):
        plays = role or "audited"
        if plays not in ROLES:
            bad.note(row, f": run {run} has the role '{plays}'; roles are {', '.join(ROLES)}")
        elif run is not None and known.setdefault(run, plays) != plays:
            bad.note(row, f": run {run} has another role here than in an earlier row; give it one role")


def _agree(
    item: Sequence[str | None], values: Sequence[Any], column: str, bad: BadRows, *, blank: bool = False
) -> dict[str, Any]:
    """Item -> value; rows of an item that say something else than an earlier one are bad.

    ``blank``: a row that says nothing agrees with any.
    """
    known: dict[str, Any] = {}
    hint = "give different items different ids"
    if column == "answer":
        hint = f"{hint}, and in rows with another patient's ECG put that one's answer into answer_expected"
    for row, (which, value) in enumerate(zip(item, values, strict=True), start=1):
        if which is None or (blank and value is None):
            continue
        if known.setdefault(which, value) != value:
            other = "other candidates" if column == "candidates" else f"another {column}"
            bad.note(row, f": item {which} has {other} here than in an earlier row; {hint}")
    return known


def _fill_items(rows: _Rows, bad: BadRows) -> None:
    """What is said of an item in one of its rows holds in all; where candidates are named, the kind is known."""
    item = rows["item_id"]
    for column in ("candidates", "kind", "severity"):
        known = _agree(item, rows[column], column, bad, blank=True)
        rows[column] = [known.get(which, value) for which, value in zip(item, rows[column], strict=True)]
    kinds = zip(rows["kind"], rows["candidates"], strict=True)
    rows["kind"] = [kind or (None if names is None else "one") for kind, names in kinds]
    checked = zip(item, rows["answer"], rows["candidates"], rows["kind"], strict=True)
    for row, (which, answer, names, kind) in enumerate(checked, start=1):
        if answer is None:
            continue
        strange = [] if names is None else [one for one in answer if one not in names]
        if strange:
            bad.note(row, f": the answer '{strange[0]}' of item {which} is not among its candidates; add it, or spell "
                     "it alike")  # fmt: skip
        if kind == "one" and len(answer) > 1:
            bad.note(
                row, f": item {which} has {len(answer)} true answers and the kind one; write set into a column kind"
            )


def _find_answers(rows: _Rows, candidates: bool, bad: BadRows) -> None:
    """Fills answer_given and status; ``candidates``: is there such a column?"""
    columns = ("answer_given", "text", "log_likelihood", "candidates", "kind", "candidate_order", "status")
    answers, statuses = [], []
    values = zip(*(rows[column] for column in columns), strict=True)
    for row, (given, text, scores, names, said_kind, order, status) in enumerate(values, start=1):
        kind = cast(Kind, said_kind if said_kind in KINDS else "one")
        wrong = [
            None if scores is None else wrong_with_scores(scores, names, kind),
            None if order is None else wrong_with_order(order, names),
        ]
        said = None if status == "answered" else status
        if candidates and given is None and said is None and text is not None and names is None:
            wrong.append(" has text but no candidates; name the answers to choose from")
        if said is None and given is not None and names is not None and not set(given) <= set(names):
            strange = next(one for one in given if one not in names)
            wrong.append(
                f": the answer_given '{strange}' is not among the candidates; spell it alike, or put what the model "
                "wrote into the column text and leave answer_given blank"
            )
        found = [what for what in wrong if what is not None]
        for what in found:
            bad.note(row, what)
        answer = None
        if not found and (names is None or len(set(names)) == len(names)):
            places = None if order is None else [int(at) for at in order]
            try:
                answer = row_answer(
                    given=given, text=text, scores=scores, candidates=names, kind=kind, order=places, status=said
                )
            except InputError as error:
                bad.note(row, f": {error}")
        answers.append([] if answer is None else answer.answers)
        statuses.append("error" if answer is None else answer.status)
    rows["answer_given"], rows["status"] = answers, statuses


def _items(rows: _Rows) -> Items:
    item, question, asked = rows["item_id"], rows["question_id"], rows["question"]
    frame = pd.DataFrame(
        {
            "item_id": item,
            "split": rows["split"],
            "patient_ids": [who or [own] for who, own in zip(rows["patient_id"], item, strict=True)],
            "question_id": [q or words or "all" for q, words in zip(question, asked, strict=True)],
            "template_id": rows["template_id"],
            "style": [value or "any" for value in rows["style"]],
            "topic": [value or "any" for value in rows["topic"]],
            "answer": rows["answer"],
            "question": pd.Series(asked, dtype=object),
            "ecg_ids": pd.Series(rows["ecg_id"], dtype=object),
            "candidates": pd.Series(rows["candidates"], dtype=object),
            "kind": pd.Series(rows["kind"], dtype=object),
            "severity_given": _numbers_or_texts(rows["severity"]),
        }
    )
    unknown = [column for column in ("candidates", "kind", "severity_given") if frame[column].isna().all()]
    # Reworded rows carry other words: the intact row's are the item's.
    first = np.argsort([what != "intact" for what in rows["intervention"]], kind="stable")
    items = frame.drop(columns=unknown).iloc[first].drop_duplicates("item_id").sort_index().reset_index(drop=True)
    items["template_id"] = _templates(items)
    items["ecg_ids"] = [ecgs or [] for ecgs in items["ecg_ids"]]
    return items


def _numbers_or_texts(values: Sequence[str | None]) -> pd.Series:
    """float64 with NaN where every value that is there is a finite number, else texts with ``None``."""
    try:
        numbers = pd.Series([float("nan") if value is None else float(value) for value in values], dtype=np.float64)
    except ValueError:
        numbers = None
    if numbers is None or not np.isfinite(numbers[[value is not None for value in values]]).all():
        return pd.Series(values, dtype=object)
    return numbers


def _scores(rows: _Rows, items: Items) -> Scores:
    frame = pd.DataFrame({column: rows[column] for column in ("run_id", "item_id", "intervention")})
    frame["draw"] = _draws(rows)
    kept = {
        "question": rows["question"],
        "wording_id": rows["wording_id"],
        "donor_ecg_ids": rows["donor_ecg_id"],
        "donor_patient_ids": rows["donor_patient_id"],
        "answer_expected": rows["answer_expected"],
        "log_likelihood": [None if v is None else np.asarray(v, dtype=np.float32) for v in rows["log_likelihood"]],
        "answer_given": rows["answer_given"],
        "status": rows["status"],
        "text": rows["text"],
        "candidate_order": [None if v is None else [int(at) for at in v] for v in rows["candidate_order"]],
    }
    for column, values in kept.items():
        frame[column] = pd.Series(values, dtype=object)
    frame["passes"] = 1
    frame["answer_expected"] = _opposite_where_there_are_two(frame, items)
    return frame


def _draws(rows: _Rows) -> pd.Series:
    """Draws from 0 within each run, item and intervention, in the order of the numbers given."""
    keys = ["run_id", "item_id", "intervention"]
    frame = pd.DataFrame({**{key: rows[key] for key in keys}, "draw": [int(float(draw)) for draw in rows["draw"]]})
    return frame.groupby(keys)["draw"].rank(method="dense").astype("int64") - 1


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


def _runs(rows: _Rows, ignored: Sequence[str]) -> Runs:
    roles = zip(rows["run_id"], rows["role"], strict=True)
    runs: Runs = {run: {"model": run, "role": role or "audited"} for run, role in roles}
    notes = [UNKNOWN_PATIENTS] if any(who is None for who in rows["patient_id"]) else []
    if ignored:
        notes.append(f"Columns of the table that are not read: {', '.join(ignored)}.")
    spelt = spelt_otherwise(rows)
    for run, record in runs.items():
        if run in spelt:
            record["notes"] = [*notes, spelt[run]]
        elif notes:
            record["notes"] = list(notes)
    return runs
