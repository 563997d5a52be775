"""Columns of a table of one's own: those that must be there, those that may be, and those that look misspelt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from causalecg.errors import InputError
from causalecg.tables.bad_rows import BadRows
from causalecg.tables.cells import column_of
from causalecg.tables.misspelt import meant_by


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
    if missing:
        raise InputError(f"{path} lacks the column(s) {', '.join(missing)}; docs/your_own_data.md says what they hold")
    for name in map(str, raw.columns):
        meant = None if name in readers else meant_by(name, [known for known in readers if known not in raw.columns])
        if meant is not None:
            raise InputError(
                f"{path} has a column '{name}'; did you mean '{meant}'? Rename it, to that or further from it"
            )
    if raw.empty:
        raise InputError(f"{path} has no rows; write one below the header for each")
    found: dict[str, list[Any]] = {}
    for name, reader in readers.items():
        if name not in raw.columns:
            found[name] = [None] * len(raw)
            continue
        otherwise = "" if name in needed else ", or leave the whole column out"
        blank = f", {name}: it is blank; fill it in{otherwise}" if name in needed or name in whole else None
        found[name] = column_of(raw, name, reader, bad, blank)
    return found
