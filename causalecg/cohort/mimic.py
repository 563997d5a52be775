"""MIMIC-IV-ECG: its list of records, its machine measurements and its WFDB records.

An ECG's number is its study_id, as in ECG-QA's MIMIC-IV-ECG version; the patient's is subject_id. Age and sex are not
part of it: they are read from MIMIC-IV's ``patients.csv`` where that is put beside ``record_list.csv``.

Source: Gow et al., MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset (v1.0), PhysioNet 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from causalecg.cohort.machine_statements import codes_of, machine_statements
from causalecg.cohort.ptbxl import OLDEST
from causalecg.cohort.source import EcgSource
from causalecg.cohort.tables import iterate_rows
from causalecg.errors import InputError

NAME = "MIMIC-IV-ECG"
RECORDS, REPORTS, PATIENTS = "record_list.csv", "machine_measurements.csv", "patients.csv"
_REPORT_LINES = tuple(f"report_{number}" for number in range(18))
#: In MIMIC-IV whoever is older than 89 is 91.
_TOP_CODED = 91
_SEX = {"M": "male", "F": "female"}


def read_mimic(folder: str | Path) -> EcgSource:
    """Read ``record_list.csv`` and ``machine_measurements.csv`` (either may end in ``.gz``).

    An ECG without a machine report, a malformed row and a repeated study are skipped, with a reason. Raises InputError
    where a file or column is missing, or no row is left.
    """
    folder = Path(folder)
    paths = {name: _there(folder, name) for name in (RECORDS, REPORTS)}
    skipped: list[tuple[str, str, str]] = []
    reports = {
        row["study_id"]: codes_of(row.get(line, "") for line in _REPORT_LINES)
        for row in _rows(paths[REPORTS], ("study_id", "report_0"), skipped)
    }
    people = _people(folder, skipped)
    rows, seen = [], set()
    for row in _rows(paths[RECORDS], ("subject_id", "study_id", "ecg_time", "path"), skipped):
        study, subject = row["study_id"], row["subject_id"]
        if not subject or not row["path"]:
            skipped.append(("ecg", study, "malformed: it has no subject_id or no path"))
        elif study in seen:
            skipped.append(("ecg", study, "malformed: study_id occurs twice"))
        elif study not in reports:
            skipped.append(("ecg", study, "no machine report, so that nothing is known of it"))
        else:
            seen.add(study)
            born, sex = people.get(subject, (None, "unknown"))
            rows.append(
                {
                    "ecg_id": study,
                    "patient_id": subject,
                    "age": _age(row["ecg_time"], born),
                    "sex": sex,
                    "labels": reports[study],
                    "source": NAME,
                    "low": row["path"],
                    "high": row["path"],
                }
            )
    if not rows:
        raise InputError(f"{paths[RECORDS]} has no usable row: {skipped[0][2] if skipped else 'empty'}")
    return EcgSource(
        NAME, folder, pd.DataFrame(rows), machine_statements(), pd.DataFrame(skipped, columns=["kind", "id", "reason"])
    )


def _there(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder} holds no {name}; give the folder of MIMIC-IV-ECG v1.0")


def _rows(path: Path, needed: tuple[str, ...], skipped: list[tuple[str, str, str]]) -> Iterator[dict[str, str]]:
    """Well-formed rows, whose study or subject is a number."""
    key = needed[0] if "study_id" not in needed else "study_id"
    for line, row in iterate_rows(path, needed):
        where = f"{path.name} line {line}"
        if isinstance(row, str):
            skipped.append(("row", where, f"malformed: {row}"))
        elif not row[key].strip().isdecimal():
            skipped.append(("row", where, f"malformed: {key} is '{row[key]}'"))
        else:
            yield {name: text.strip() for name, text in row.items()}


def _people(folder: Path, skipped: list[tuple[str, str, str]]) -> dict[str, tuple[tuple[int, int] | None, str]]:
    """subject_id -> ((anchor_age, anchor_year), sex), from MIMIC-IV's patients where they are."""
    try:
        path = _there(folder, PATIENTS)
    except InputError:
        return {}
    found: dict[str, tuple[tuple[int, int] | None, str]] = {}
    for row in _rows(path, ("subject_id", "gender", "anchor_age", "anchor_year"), skipped):
        known = row["anchor_age"].isdecimal() and row["anchor_year"].isdecimal()
        anchor = (int(row["anchor_age"]), int(row["anchor_year"])) if known else None
        found[row["subject_id"]] = (anchor, _SEX.get(row["gender"], "unknown"))
    return found


def _age(time: str, anchor: tuple[int, int] | None) -> float:
    """Years at a time ("2180-07-23 08:44:00"); NaN where it cannot be known."""
    if anchor is None or not time[:4].isdecimal():
        return float("nan")
    years, year = anchor
    if years >= _TOP_CODED:
        return OLDEST
    return float(min(max(years + int(time[:4]) - year, 0), OLDEST))
