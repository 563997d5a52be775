"""The ECG table of a cohort of one's own: which records there are, whose they are, and what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from causalecg.cohort.own_cells import columns_of
from causalecg.cohort.signals import LEADS
from causalecg.cohort.waveforms import ARRAY
from causalecg.tables.bad_rows import BadRows
from causalecg.tables.cells import text_of, texts_of, word_of
from causalecg.tables.reading import read_table

NEEDED = ("ecg_id", "patient_id", "path")
OPTIONAL = ("rate_hz", "leads", "labels", "source", "age", "sex")
_SEX = {"female": "female", "f": "female", "male": "male", "m": "male", "unknown": "unknown"}
_OLDEST = 130.0


def read_ecgs(path: Path, source: str) -> pd.DataFrame:
    """The ECG table in the columns of the cohort schema, and where each record lies (``low``, ``high``, ``rate_hz``,
    ``leads``: see :func:`causalecg.cohort.waveforms.waveforms`).

    Args:
        path: .csv, .jsonl or .parquet.
        source: of rows that do not name theirs.

    Raises InputError, naming the first bad row (the first below the header is row 1) and how many there are.
    """
    raw = read_table(path)
    bad = BadRows(path.name)
    readers = {
        "ecg_id": text_of, "patient_id": text_of, "path": text_of, "rate_hz": _rate, "leads": texts_of,
        "labels": texts_of, "source": text_of, "age": _age, "sex": _sex,
    }  # fmt: skip
    rows = columns_of(raw, path, readers, NEEDED, bad)
    seen: dict[str, int] = {}
    for row, ecg_id in enumerate(rows["ecg_id"], start=1):
        if ecg_id is not None and seen.setdefault(ecg_id, row) != row:
            bad.note(row, f", ecg_id: '{ecg_id}' is that of row {seen[ecg_id]} too; give each ECG an id of its own")
    records = []
    for row, (where, rate, leads) in enumerate(zip(rows["path"], rows["rate_hz"], rows["leads"], strict=True), start=1):
        array = where is not None and where.endswith(ARRAY)
        if array and rate is None:
            bad.note(row, ", rate_hz: it is blank, and an .npy file does not say; write its sampling rate in Hz")
        records.append(where if where is None or array else where.removesuffix(".hea").removesuffix(".dat"))
        if leads is not None and len({lead.lower() for lead in leads}) < len(leads):
            bad.note(row, ", leads: one is named twice; name each row of the array once")
    bad.require_none()
    return pd.DataFrame(
        {
            "ecg_id": rows["ecg_id"],
            "patient_id": rows["patient_id"],
            "age": pd.Series(rows["age"], dtype=float),
            "sex": [sex or "unknown" for sex in rows["sex"]],
            "labels": [labels or [] for labels in rows["labels"]],
            "source": [name or source for name in rows["source"]],
            "low": records,
            "high": records,
            "rate_hz": pd.Series(rows["rate_hz"], dtype=float),
            "leads": [leads or list(LEADS) for leads in rows["leads"]],
        }
    )


def _number(value: Any, what: str) -> float | None:
    text = text_of(value)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"'{text}' is no number; write {what}") from None


def _rate(value: Any) -> float | None:
    rate = _number(value, "the sampling rate in Hz")
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"{rate:g} is no sampling rate; write that of the record in Hz")
    return rate


def _age(value: Any) -> float | None:
    age = _number(value, "years, or leave it blank")
    if age is not None and not 0 <= age <= _OLDEST:
        raise ValueError(f"{age:g} is nobody's age; write years, or leave it blank")
    return age


def _sex(value: Any) -> str | None:
    return word_of(value, _SEX, "female, male or unknown")
