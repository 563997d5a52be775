"""The wordings of one's own questions: those that items use, and further ones from a table."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from causalecg.cohort.own_cells import columns_of
from causalecg.cohort.schema import TRAINING_SPLITS, WORDING_COLUMNS
from causalecg.errors import InputError
from causalecg.tables.bad_rows import BadRows
from causalecg.tables.cells import text_of, word_of
from causalecg.tables.reading import read_table

NEEDED = ("question_id", "question")
_TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def own_wordings(items: pd.DataFrame, path: Path | None) -> pd.DataFrame:
    """Every wording of every question, in the columns of the cohort schema.

    Held out is what training never asks where it asks the same question in other words, unless the table says that a
    wording is not.

    Args:
        items: with all their columns.
        path: .csv, .jsonl or .parquet of further wordings; ``None``: only those that items use.

    Raises InputError, naming the first bad row (the first below the header is row 1) and how many there are.
    """
    used = items[["question_id", "wording_id", "style", "question"]].drop_duplicates(["question_id", "wording_id"])
    table = used if path is None else pd.concat([used, _further(path, items, used)], ignore_index=True)
    learned = items[items["split"].isin(TRAINING_SPLITS)]
    asked = set(learned["question_id"])
    known = set(zip(learned["question_id"], learned["wording_id"], strict=True))
    names = list(zip(table["question_id"], table["wording_id"], strict=True))
    said = table["held_out"] if "held_out" in table.columns else [None] * len(table)
    held_out = [
        told if isinstance(told, bool) else name[0] in asked and name not in known
        for name, told in zip(names, said, strict=True)
    ]
    table = table.assign(held_out=held_out)[list(WORDING_COLUMNS)]
    return table.sort_values(["question_id", "wording_id"], ignore_index=True)


def _further(path: Path, items: pd.DataFrame, used: pd.DataFrame) -> pd.DataFrame:
    """Wordings of the table that no item uses."""
    raw = read_table(path)
    bad = BadRows(path.name)
    styles = sorted(items["style"].unique())
    if "style" not in raw.columns and len(styles) > 1:
        raise InputError(f"{path} lacks the column style, and the items have {', '.join(styles[:5])}; add it")
    texts = dict.fromkeys(("question_id", "question", "style", "wording_id"), text_of)
    rows = columns_of(raw, path, {**texts, "held_out": _truth}, NEEDED, bad, ("style", "wording_id"))
    bad.require_none()
    if "style" not in raw.columns:
        rows["style"] = [styles[0]] * len(raw)
    questions = set(items["question_id"])
    learned = items[items["split"].isin(TRAINING_SPLITS)]
    in_training = set(zip(learned["question_id"], learned["style"], learned["question"], strict=True))
    in_items = set(zip(used["question_id"], used["style"], used["question"], strict=True))
    taken = set(zip(used["question_id"], used["wording_id"], strict=True))
    seen: set[tuple[str, str, str]] = set()
    found = []
    columns = zip(*(rows[name] for name in ("question_id", "style", "question", "wording_id", "held_out")), strict=True)
    for row, (question, style, text, wording, held_out) in enumerate(columns, start=1):
        key = (question, style, text)
        if question not in questions:
            bad.note(row, f", question_id: no item asks '{question}'; spell it as in the items, or leave the row out")
        if key in seen:
            bad.note(row, ": this wording is there twice; keep one of them")
        if held_out and key in in_training:
            bad.note(row, ", held_out: training asks this wording; write no, or take it out of the training items")
        seen.add(key)
        if key in in_items:
            continue
        if wording is None:
            names = (f"{question}-{number:02d}" for number in count())
            wording = next(name for name in names if (question, name) not in taken)
        elif (question, wording) in taken:
            bad.note(row, f", wording_id: '{wording}' of '{question}' is another wording; give it an id of its own")
        taken.add((question, wording))
        found.append((question, wording, style, text, held_out))
    bad.require_none()
    return pd.DataFrame(found, columns=["question_id", "wording_id", "style", "question", "held_out"], dtype=object)


def _truth(cell: Any) -> bool | None:
    return word_of(cell, _TRUTH, "yes or no")
