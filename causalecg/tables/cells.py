"""What a cell of a table holds: one text, several, or numbers; "|" between them where the cell is one text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from causalecg.tables.bad_rows import BadRows

SEPARATOR = "|"
T = TypeVar("T")


def text_of(value: Any) -> str | None:
    """``None`` for a missing or blank cell; a whole number is written without a decimal point.

    Raises ValueError for an object or a list.
    """
    if isinstance(value, dict):
        raise ValueError(f"a cell holds an object ({str(value)[:40]}); give texts, numbers or lists of them")
    if _is_list(value):
        raise ValueError(f"a cell holds a list ({str(list(value))[:40]}); give one text or number")
    if value is None or pd.isna(value):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value).strip() or None


def texts_of(value: Any) -> list[str] | None:
    """The texts in a cell; ``None`` where there are none. A column with gaps turns 1 into 1.0: it is 1 again.

    Raises ValueError for an object, or a list within a list.
    """
    if _is_list(value):
        parts = [text_of(part) for part in value]
    else:
        text = text_of(value)
        parts = [] if text is None else [part.strip() for part in text.split(SEPARATOR)]
    found = [re.sub(r"^(-?\d+)\.0+$", r"\1", part) for part in parts if part]
    return found or None


def numbers_of(value: Any) -> list[float] | None:
    """The numbers in a cell, NaN and infinity included; ``None`` where there are none.

    Raises ValueError where one is none, or is missing among others.
    """
    if _is_list(value):
        parts = list(value)
    else:
        text = text_of(value)
        parts = [] if text is None else text.split(SEPARATOR)
    try:
        return [float(part) for part in parts] or None
    except (TypeError, ValueError):
        raise ValueError(f"a cell holds {str(value)[:40]!r}, which is no list of numbers; write 0.1|0.9") from None


def word_of(value: Any, words: Mapping[str, T], known: str) -> T | None:
    """What a cell's word, in whatever case, stands for. ValueError that says which are ``known`` for another one."""
    text = text_of(value)
    if text is None:
        return None
    if text.lower() not in words:
        raise ValueError(f"'{text}' is not known; write {known}")
    return words[text.lower()]


def column_of(
    raw: pd.DataFrame, name: str, reader: Callable[[Any], Any], bad: BadRows, blank: str | None = None
) -> list[Any]:
    """What a reader makes of each cell of a column; a ValueError of its own is noted as bad, and so is, with the
    sentence ``blank``, a cell that holds nothing."""
    found: list[Any] = []
    for row, value in enumerate(raw[name], start=1):
        try:
            found.append(reader(value))
        except ValueError as error:
            bad.note(row, f", {name}: {error}")
            found.append(None)
            continue
        if found[-1] is None and blank is not None:
            bad.note(row, blank)
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset, np.ndarray))
