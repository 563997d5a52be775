"""PTB-XL: the official tables and its WFDB records.

Source: Wagner et al., PTB-XL, a large publicly available electrocardiography dataset, Sci Data 2020 (v1.0.3).
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pandas as pd

from causalecg.cohort.severity import Statements
from causalecg.cohort.source import EcgSource
from causalecg.cohort.tables import read_rows
from causalecg.errors import InputError

NEEDED = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", "filename_lr", "filename_hr")
#: PTB-XL writes 300 for an age above 89, which is read as 90; a few rows have their true age of 90 to 95 instead.
TOP_CODED_AGE, OLDEST = 300.0, 90.0
_SEX = {0: "male", 1: "female"}
#: What a cell that is not what it should be can raise, on its way through a literal and a number.
_MALFORMED = (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError)


def read_ptbxl(folder: str | Path) -> EcgSource:
    """Read ``ptbxl_database.csv`` and ``scp_statements.csv``.

    Malformed rows and repeated ids are skipped, with a reason. Raises InputError where a file or column is missing, or
    no row of a file is left.
    """
    folder = Path(folder)
    for name in ("ptbxl_database.csv", "scp_statements.csv"):
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no {name}; give the folder of PTB-XL v1.0.3")
    table = read_rows(folder / "ptbxl_database.csv", NEEDED)
    rows, seen, original = [], set(), set()
    skipped = [("ecg", f"line {line}", f"malformed row {line}: {reason}") for line, reason in table.bad]
    for line, record in table.good:
        name = record["ecg_id"].strip() or f"line {line}"
        try:
            row, has_likelihoods = _ecg(record)
            if row["ecg_id"] in seen:
                raise ValueError("ecg_id occurs twice")
        except _MALFORMED as error:
            skipped.append(("ecg", name, f"malformed row {line}: {error}"))
            continue
        seen.add(row["ecg_id"])
        rows.append(row)
        if has_likelihoods:
            original.add(str(row["ecg_id"]))
    if not rows:
        raise InputError(f"{folder / 'ptbxl_database.csv'} has no usable row: {skipped[0][2] if skipped else 'empty'}")
    statements = _statements(folder / "scp_statements.csv", skipped)
    return EcgSource(
        "PTB-XL",
        folder,
        pd.DataFrame(rows),
        statements,
        pd.DataFrame(skipped, columns=["kind", "id", "reason"]),
        frozenset(original),
    )


def _statements(path: Path, skipped: list[tuple[str, str, str]]) -> Statements:
    table = read_rows(path, ("", "description", "rhythm"))
    skipped += [("statement", f"{path.name} line {line}", f"malformed: {reason}") for line, reason in table.bad]
    found = pd.DataFrame([row for _, row in table.good if row[""].strip()])
    if found.empty:
        raise InputError(f"{path} has no usable row; put the original file in its place")
    found = found.set_index("").replace("", None)
    return Statements.of(found.assign(rhythm=pd.to_numeric(found["rhythm"], errors="coerce")))


def _ecg(record: dict[str, str]) -> tuple[dict[str, object], bool]:
    """A row of the cohort's ECG table, and whether it is an original one, with likelihoods or other columns."""
    codes = ast.literal_eval(record["scp_codes"])
    if not isinstance(codes, dict):
        raise ValueError("scp_codes is not a dictionary")
    original = any(float(value) > 0 for value in codes.values()) or any(
        text.strip() for name, text in record.items() if name not in NEEDED
    )
    age = float(record["age"]) if record["age"] else float("nan")
    if np.isinf(age) or age < 0:
        raise ValueError(f"age is {age}")
    sex = _SEX.get(int(float(record["sex"])), "unknown") if record["sex"] else "unknown"
    row = {
        "ecg_id": str(int(float(record["ecg_id"]))),
        "patient_id": str(int(float(record["patient_id"]))),
        "age": OLDEST if age == TOP_CODED_AGE else age,
        "sex": sex,
        "labels": sorted(map(str, codes)),
        "source": "PTB-XL",
        "fold": int(float(record["strat_fold"])),
        "low": record["filename_lr"],
        "high": record["filename_hr"],
    }
    return row, original
