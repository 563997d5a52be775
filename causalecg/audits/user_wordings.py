"""Wordings that a user supplies: question, or question_id, and what else it may be called."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from causalecg.errors import InputError
from causalecg.tables.reading import read_table


def read_wordings(path: str | Path) -> dict[str, list[str]]:
    """question or question_id -> rewordings, in the order of the file, each once.

    Args:
        path: .csv, .jsonl or .parquet with the columns ``rewording`` and ``question`` or ``question_id``.

    Raises InputError, naming the row (the first below the header is row 1), for an empty cell, a rewording that is the
    question itself, or a file without these columns.
    """
    path = Path(path)
    table = read_table(path)
    by = next((name for name in ("question", "question_id") if name in table.columns), None)
    if by is None or "rewording" not in table.columns:
        raise InputError(f"{path} needs the columns rewording and question (or question_id)")
    found: dict[str, list[str]] = {}
    for row, (key, words) in enumerate(zip(table[by], table["rewording"], strict=True), start=1):
        if not all(isinstance(text, str) and text.strip() for text in (key, words)):
            raise InputError(f"{path}, row {row} has an empty {by} or rewording; fill it in or remove the row")
        key, words = key.strip(), words.strip()
        if " ".join(key.lower().split()) == " ".join(words.lower().split()):
            raise InputError(f"{path}, row {row}: the rewording is the question itself; remove the row")
        if words not in found.setdefault(key, []):
            found[key].append(words)
    if not found:
        raise InputError(f"{path} has no rows")
    return found


def unasked(given: Iterable[str], table: pd.DataFrame) -> list[str]:
    """Questions and question_ids that no item of the table has.

    Raises InputError, with the nearest question, where it has none of them.
    """
    keys = list(given)
    asked = {str(text) for column in ("question", "question_id") for text in table[column].dropna()}
    left = [key for key in keys if key not in asked]
    if len(left) < len(keys):
        return left
    near = difflib.get_close_matches(keys[0], sorted(asked), n=1, cutoff=0.0) if keys else []
    hint = f", such as '{keys[0]}'; the nearest that is asked is '{near[0]}'" if near else ""
    raise InputError(f"none of the {len(keys)} questions of your wordings is asked here{hint}")
