"""The items table of a cohort of one's own: what is asked of which ECGs, and the columns that may be left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from causalecg.cohort.own_cells import columns_of
from causalecg.cohort.schema import TEST_SPLITS, TRAINING_SPLITS
from causalecg.cohort.splitting import joint_split
from causalecg.errors import InputError
from causalecg.tables.bad_rows import BadRows
from causalecg.tables.cells import text_of, texts_of
from causalecg.tables.reading import read_table

NEEDED = ("ecg_ids", "question", "answer")
_TEXTS = ("item_id", "question", "kind", "split", "style", "topic", "question_id", "template_id", "wording_id",
          "question_type", "environment")  # fmt: skip
_LISTS = ("ecg_ids", "patient_ids", "answer", "candidates")
#: Beside ``severity_<scale>``, ``severity_<scale>_1`` and ``_2``.
OPTIONAL = tuple(name for name in (*_TEXTS, *_LISTS) if name not in NEEDED)
#: Where nothing is said of styles, or of topics, there is one.
ANY = "any"
KINDS = ("one", "set")
#: Shares of patients, where the table has no column ``split``.
SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
UNKNOWN = -1
_SEVERITY = re.compile(r"severity_(.+?)(_1|_2)?")
_VERIFY = {"yes", "no", "not sure"}

_Rows = dict[str, list[Any]]
Scales = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class OwnItems:
    """``items``: in the columns of the cohort schema; ``skipped``: kind, id, reason; ``shares``: of patients in each
    split, ``None`` where the table itself says."""

    items: pd.DataFrame
    skipped: pd.DataFrame
    shares: dict[str, float] | None


def read_items(
    path: Path,
    ecgs: pd.DataFrame,
    *,
    source: str,
    scales: Scales,
    shares: Mapping[str, float] | None,
    salt: str,
) -> OwnItems:
    """Read the items, and fill the columns that may be left out. Items with patients in two splits are skipped.

    Args:
        path: .csv, .jsonl or .parquet.
        ecgs: of :func:`causalecg.cohort.own_ecgs.read_ecgs`.
        source: the name of the data set.
        scales: severity scale -> its words, low to high; each has a column ``severity_<scale>``.
        shares: of patients in each split, where the table does not say; ``None``: :data:`SHARES`.
        salt: of the split by patient.

    Raises InputError, naming the first bad row (the first below the header is row 1) and how many there are.
    """
    raw = read_table(path)
    bad = BadRows(path.name)
    _require_scales(raw, path, scales)
    readers: dict[str, Callable[[Any], Any]] = dict.fromkeys(_TEXTS, text_of) | dict.fromkeys(_LISTS, texts_of)
    for scale, words in scales.items():
        for column in (f"severity_{scale}", f"severity_{scale}_1", f"severity_{scale}_2"):
            readers[column] = partial(_level, words=words)
    # What is there in some rows must be there in all: a default would be another question's, or another split's.
    whole = [name for name in _TEXTS if name != "kind"]
    rows = columns_of(raw, path, readers, NEEDED, bad, whole)
    _check_ecgs(rows, ecgs, bad)
    bad.require_none()
    _fill_names(rows, set(raw.columns), bad)
    _fill_answers(rows, bad)
    _check_wordings(rows, bad)
    items = _table(rows, source)
    if "split" in raw.columns:
        if shares is not None:
            raise InputError(f"{path} has a column split; leave the shares of splits out, or the column")
        _check_splits(rows, bad)
    bad.require_none()
    items = _with_severities(items, rows, scales, set(raw.columns), bad)
    if "environment" in raw.columns:
        items["environment"] = rows["environment"]
    bad.require_none()
    if "split" in raw.columns:
        return OwnItems(items, pd.DataFrame(columns=["kind", "id", "reason"]), None)
    shares = dict(shares or SHARES)
    items["split"] = [joint_split(patients, shares, salt) for patients in items["patient_ids"]]
    lost = items.loc[items["split"].isna(), "item_id"]
    skipped = pd.DataFrame({"kind": "item", "id": lost, "reason": "its two patients are in two splits"})
    return OwnItems(items[items["split"].notna()].reset_index(drop=True), skipped, shares)


def _require_scales(raw: pd.DataFrame, path: Path, scales: Scales) -> None:
    for scale in scales:
        if f"severity_{scale}" not in raw.columns:
            raise InputError(f"{path} has no column severity_{scale}; add it, or leave the severity '{scale}' out")
    for column in map(str, raw.columns):
        found = _SEVERITY.fullmatch(column)
        if found and found[1] not in scales:
            raise InputError(
                f"{path} has a column {column}, whose levels have no words; give them, low to high, as in --severity "
                f"{found[1]}=low,middle,high"
            )


def _level(cell: Any, words: Sequence[str]) -> int | None:
    text = text_of(cell)
    if text is None:
        return None
    known = ", ".join(f"{level} ({word})" for level, word in enumerate(words))
    try:
        level = float(text)
    except ValueError:
        level = float("nan")
    if level not in range(UNKNOWN, len(words)):
        raise ValueError(f"'{text}' is no level; write {known}, or {UNKNOWN} where it is not known")
    return int(level)


def _check_ecgs(rows: _Rows, ecgs: pd.DataFrame, bad: BadRows) -> None:
    """Fills patient_ids."""
    of_ecg = dict(zip(ecgs["ecg_id"], ecgs["patient_id"], strict=True))
    said = rows["patient_ids"]
    rows["patient_ids"] = [None] * len(said)
    for row, ids in enumerate(rows["ecg_ids"], start=1):
        if ids is None:
            continue
        unknown = [ecg_id for ecg_id in ids if ecg_id not in of_ecg]
        if unknown:
            bad.note(row, f", ecg_ids: '{unknown[0]}' is not in the ECG table; add it there, or leave the row out")
            continue
        if len(ids) > 2:
            bad.note(row, f", ecg_ids: {len(ids)} ECGs; an item has one or two")
        theirs = [of_ecg[ecg_id] for ecg_id in ids]
        if said[row - 1] is not None and said[row - 1] != theirs:
            bad.note(row, f", patient_ids: the ECG table says {'|'.join(theirs)}; correct one of them")
        rows["patient_ids"][row - 1] = theirs


def _fill_names(rows: _Rows, have: set[str], bad: BadRows) -> None:
    """Names of items, questions, templates, topics, styles and wordings, where there are none."""
    size = len(rows["question"])
    if "item_id" not in have:
        rows["item_id"] = [f"item-{row}" for row in range(1, size + 1)]
    seen: dict[str, int] = {}
    for row, item in enumerate(rows["item_id"], start=1):
        if seen.setdefault(item, row) != row:
            bad.note(row, f", item_id: '{item}' is that of row {seen[item]} too; give each item an id of its own")
    if "style" not in have:
        rows["style"] = [ANY] * size
    if "question_id" not in have:
        texts: dict[str, int] = {}
        rows["question_id"] = [f"question-{texts.setdefault(text, len(texts) + 1)}" for text in rows["question"]]
    if "template_id" not in have:
        rows["template_id"] = list(rows["question_id"])
    if "topic" not in have:
        rows["topic"] = list(rows["question_id"]) if "question_id" in have else [ANY] * size
    if "wording_id" not in have:
        numbers: dict[str, dict[tuple[str, str], int]] = {}
        rows["wording_id"] = []
        for question, *words in zip(rows["question_id"], rows["style"], rows["question"], strict=True):
            known = numbers.setdefault(question, {})
            rows["wording_id"].append(f"{question}-{known.setdefault((words[0], words[1]), len(known)):02d}")


def _fill_answers(rows: _Rows, bad: BadRows) -> None:
    """Kinds and candidates where there are none: of all rows of a question."""
    given: dict[str, list[str]] = {}
    many: set[str] = set()
    for question, answer in zip(rows["question_id"], rows["answer"], strict=True):
        given.setdefault(question, []).extend(answer)
        if len(answer) > 1:
            many.add(question)
    everything = {question: sorted(set(answers)) for question, answers in given.items()}
    for at, (question, answer) in enumerate(zip(rows["question_id"], rows["answer"], strict=True)):
        row, named = at + 1, rows["candidates"][at]
        kind = rows["kind"][at] = rows["kind"][at] or ("set" if question in many else "one")
        if kind not in KINDS:
            bad.note(row, f", kind: '{kind}' is not known; write {' or '.join(KINDS)}")
        if len(set(answer)) < len(answer):
            bad.note(row, ", answer: one is there twice; write it once")
        if kind == "one" and len(answer) > 1:
            bad.note(row, f", answer: there are {len(answer)}, and the kind is one; write set into a column kind")
        if named is None:
            named = rows["candidates"][at] = everything[question]
            if len(named) < 2:
                bad.note(
                    row,
                    f", candidates: there are none, and '{named[0]}' is the only answer to its question in the table; "
                    "write the answers to choose from into a column candidates",
                )
        if len(set(named)) < len(named):
            bad.note(row, ", candidates: one is there twice; write it once")
        strange = [one for one in answer if one not in named]
        if strange:
            bad.note(row, f", answer: '{strange[0]}' is not among the candidates; add it there, or spell it alike")


def _check_wordings(rows: _Rows, bad: BadRows) -> None:
    first: dict[tuple[str, str], tuple[int, tuple[str, str]]] = {}
    names = zip(rows["question_id"], rows["wording_id"], strict=True)
    words = zip(rows["style"], rows["question"], strict=True)
    for row, (name, said) in enumerate(zip(names, words, strict=True), start=1):
        before, known = first.setdefault(name, (row, said))
        if known != said:
            bad.note(
                row,
                f", wording_id: '{name[1]}' of question '{name[0]}' has another text or style in row {before}; give it "
                "an id of its own",
            )


def _check_splits(rows: _Rows, bad: BadRows) -> None:
    """A patient is in training or in test, within an environment."""
    sides: dict[tuple[str | None, str], tuple[bool, int]] = {}
    columns = zip(rows["split"], rows["environment"], rows["patient_ids"], strict=True)
    for row, (split, environment, patients) in enumerate(columns, start=1):
        if split not in TRAINING_SPLITS and split not in TEST_SPLITS:
            known = ", ".join((*TRAINING_SPLITS, *TEST_SPLITS))
            bad.note(row, f", split: '{split}' is not known; write one of {known}")
            continue
        test = split in TEST_SPLITS
        for patient in patients:
            other, before = sides.setdefault((environment, patient), (test, row))
            if other != test:
                bad.note(
                    row,
                    f", split: patient {patient} is in {'test' if test else 'training'} here and in "
                    f"{'test' if other else 'training'} in row {before}; put all of a patient's items on one side",
                )


def _table(rows: _Rows, source: str) -> pd.DataFrame:
    names = ("item_id", "split", "patient_ids", "ecg_ids", "template_id", "question_id", "question_type", "topic",
             "style", "wording_id", "question", "candidates", "kind", "answer")  # fmt: skip
    items = pd.DataFrame({name: pd.Series(rows[name], dtype=object) for name in names})
    items.insert(1, "source", source)
    default = [
        f"{'single' if len(ids) == 1 else 'comparison'}-{'verify' if _VERIFY.issuperset(named) else 'query'}"
        for ids, named in zip(items["ecg_ids"], items["candidates"], strict=True)
    ]
    items["question_type"] = [said or own for said, own in zip(rows["question_type"], default, strict=True)]
    return items


def _with_severities(items: pd.DataFrame, rows: _Rows, scales: Scales, have: set[str], bad: BadRows) -> pd.DataFrame:
    """Level of the item; of two ECGs also of each, where the table tells."""

    def levels(column: str) -> list[int]:
        return [UNKNOWN if level is None else level for level in rows[column]]

    for scale in scales:
        column = f"severity_{scale}"
        items[column] = pd.Series(levels(column), dtype="int64")
        parts = [f"{column}_1", f"{column}_2"]
        there = [part for part in parts if part in have]
        if len(there) == 1:
            raise InputError(
                f"there is a column {there[0]} without {column}_{3 - int(there[0][-1])}; give both or none"
            )
        if not there:
            continue
        first, second = (levels(part) for part in parts)
        for row, (whole, one, two, ids) in enumerate(
            zip(items[column], first, second, items["ecg_ids"], strict=True), 1
        ):
            wanted = UNKNOWN if len(ids) == 2 and UNKNOWN in (one, two) else max(one, two)
            if whole != wanted:
                bad.note(
                    row, f", {column}: it is {whole}, and that of its ECGs {one} and {two}; write {wanted}, the larger"
                )
            if len(ids) == 1 and two != UNKNOWN:
                bad.note(row, f", {column}_2: it is {two}, and there is one ECG; write {UNKNOWN}")
        items[parts[0]], items[parts[1]] = pd.Series(first, dtype="int64"), pd.Series(second, dtype="int64")
    return items
