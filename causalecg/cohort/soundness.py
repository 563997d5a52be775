"""What must hold between the tables of a cohort, looked at whenever one is written or opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causalecg.errors import InputError

#: Candidates of so many items are held at once: an item may have a hundred.
_PART = 20_000
_LISTS = ("patient_ids", "ecg_ids", "candidates", "answer")


def require_sound(folder: Path, items: pd.DataFrame, ecgs: pd.DataFrame, scales: Mapping[str, Sequence[str]]) -> None:
    """InputError, naming the cohort, the column and the first row, where two tables contradict each other.

    Looked at: an id that occurs twice, ECGs that the ECG table lacks, patients that are not those of the ECGs, answers
    that are not among the candidates, severities that are no levels of their scale.

    Args:
        folder: of the cohort, as it is to be named.
        items, ecgs: tables of :mod:`causalecg.cohort.schema`, with all their columns.
        scales: {scale: level words, low to high}; without words any whole number from -1 on is a level.
    """
    require_lists(folder, items)
    for name, table, column in (("ecgs", ecgs, "ecg_id"), ("items", items, "item_id")):
        twice = table[column].duplicated()
        if twice.any():
            raise InputError(
                f"{folder}: {column} '{table[column][twice].iloc[0]}' occurs twice in the {name} table; give each row "
                "an id of its own"
            )

    def refuse(bad: np.ndarray, column: str, what: str) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(
                f"{folder}: item {items['item_id'].iloc[row]} (items table, row {row + 1}, {column}) {what}"
            )

    of_ecg, ecg_ids = flattened(items["ecg_ids"])
    place = pd.Index(ecgs["ecg_id"]).get_indexer(pd.Index(ecg_ids, dtype=object))
    refuse(_any(place < 0, of_ecg, len(items)), "ecg_ids", "names an ECG that the ECG table lacks; add it there")

    of_patient, patients = flattened(items["patient_ids"])
    differ = np.bincount(of_ecg, minlength=len(items)) != np.bincount(of_patient, minlength=len(items))
    refuse(differ, "patient_ids", "has not as many patients as ECGs; name the patient of each ECG, in their order")
    theirs = ecgs["patient_id"].to_numpy(dtype=object)[place]
    other = _any(theirs != patients, of_ecg, len(items))
    refuse(other, "patient_ids", "names other patients than the ECG table does for its ECGs; correct one of them")

    parts = [_strange_answers(items.iloc[at : at + _PART]) for at in range(0, len(items), _PART)]
    strange = np.concatenate([np.zeros(0, dtype=bool), *parts])
    refuse(strange, "answer", "has an answer that is not among its candidates; add it there, or spell it alike")

    for scale, words in scales.items():
        for column in (f"severity_{scale}", f"severity_{scale}_1", f"severity_{scale}_2"):
            if column not in items.columns:
                continue
            levels = items[column]
            if levels.dtype.kind not in "iu":
                raise InputError(
                    f"{folder}: {column} of the items table holds {levels.dtype} ('{levels.iloc[0]}'); write levels as "
                    "whole numbers from 0, and -1 where it is not known"
                )
            bad = (levels < -1) | (levels >= (len(words) or np.inf))
            refuse(bad.to_numpy(), column, f"has a level that is none of -1 to {len(words) - 1} ({', '.join(words)})")


def require_lists(folder: Path, items: pd.DataFrame) -> None:
    """InputError where a cell that must hold a list holds something else, such as a text."""
    for column in _LISTS:
        if not set(map(type, items[column])) <= {list, tuple, np.ndarray}:
            row = [isinstance(cell, (list, tuple, np.ndarray)) for cell in items[column]].index(False)
            raise InputError(
                f"{folder}: {column} of the items table, row {row + 1}, holds {items[column].iloc[row]!r}; write a "
                "list of texts"
            )


def _strange_answers(items: pd.DataFrame) -> np.ndarray:
    """(items,) whether an answer is not among the candidates."""
    of_answer, answers = flattened(items["answer"])
    of_candidate, candidates = flattened(items["candidates"])
    codes, names = pd.factorize(np.concatenate([candidates, answers]))
    known = of_candidate * len(names) + codes[: len(candidates)]
    given = of_answer * len(names) + codes[len(candidates) :]
    return _any(~np.isin(given, known), of_answer, len(items))


def flattened(cells: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Row of each value (int64), and the values (object), of a column of lists."""
    lists = cells.to_numpy()
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    rows = np.repeat(np.arange(len(lists)), lengths)
    # What Parquet gives is joined six times as fast as what a list of texts would first have to be made into.
    if set(map(type, lists)) == {np.ndarray}:
        joined = np.concatenate(lists)
        if joined.dtype == object:
            return rows, joined
    values = np.empty(len(rows), dtype=object)
    values[:] = list(chain.from_iterable(lists))
    return rows, values


def _any(bad: np.ndarray[Any, Any], row: np.ndarray, rows: int) -> np.ndarray:
    """(rows,) whether a row has a bad value."""
    found = np.zeros(rows, dtype=bool)
    found[row[np.asarray(bad, dtype=bool)]] = True
    return found
