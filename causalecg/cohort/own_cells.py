"""Columns of a table of one's own: those that must be there, those that may be, and those that look misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from causalecg.audits.bad_rows import BadRows
from causalecg.audits.table_cells import texts_of
from causalecg.errors import InputError

SEPARATOR = ";"
_ALIKE = 0.8


def several(value: Any) -> list[str] | None:
    """The texts in a cell, a list or one text with ";" between them; ``None`` where there are none."""
    return texts_of(value, SEPARATOR)


def columns_of(
    raw: pd.DataFrame,
    path: Path,
    readers: Mapping[str, Callable[[Any], Any]],
    needed: Sequence[str],
    bad: BadRows,
    whole: Sequence[str] = (),
) -> dict[str, list[Any]]:
    """Column -> what its reader makes of each cell, ``None`` for all where the column is not there.

    A reader's ValueError, and a blank cell of a column that is needed, or is ``whole`` where it is there, are noted as
    bad. Columns of no reader are left alone.

    Raises InputError where a needed column is missing, one is spelt almost like a known one, or there are no rows.
    """
    missing = [name for name in needed if name not in raw.columns]
    if missing and len(raw.columns) == 1 and any(mark in str(raw.columns[0]) for mark in (";", "\t")):
        raise InputError(f"{path} has the one column '{raw.columns[0]}'; separate columns by commas")
    if missing:
        raise InputError(f"{path} lacks the column(s) {', '.join(missing)}; docs/your_own_data.md says what they hold")
    for name in map(str, raw.columns):
        near = [] if name in readers else difflib.get_close_matches(name, readers, n=1, cutoff=_ALIKE)
        if near and near[0] not in raw.columns:
            raise InputError(
                f"{path} has a column '{name}'; did you mean '{near[0]}'? Rename it, to that or further from it"
            )
    if raw.empty:
        raise InputError(f"{path} has no rows; write one below the header for each")
    found: dict[str, list[Any]] = {}
    for name, reader in readers.items():
        if name not in raw.columns:
            found[name] = [None] * len(raw)
            continue
        values: list[Any] = []
        for row, cell in enumerate(raw[name], start=1):
            try:
                values.append(reader(cell))
            except ValueError as error:
                bad.note(row, f", {name}: {error}")
                values.append(None)
                continue
            if values[-1] is None and (name in needed or name in whole):
                otherwise = "" if name in needed else ", or leave the whole column out"
                bad.note(row, f", {name}: it is blank; fill it in{otherwise}")
        found[name] = values
    return found
