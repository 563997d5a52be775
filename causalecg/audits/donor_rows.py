"""What rows of a table say of the patient whose ECG was put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causalecg.audits.interventions import OPPOSITE, SAME_SEVERITY
from causalecg.tables.bad_rows import BadRows


def check_donors(rows: Mapping[str, Sequence[Any]], bad: BadRows) -> None:
    """A donor is another patient; under an opposite one, or one of another answer, so is the answer."""
    columns = ("intervention", "item_id", "patient_id", "donor_patient_id", "ecg_id", "donor_ecg_id", "answer",
               "answer_expected")  # fmt: skip
    for row, values in enumerate(zip(*(rows[column] for column in columns), strict=True), start=1):
        what, item, patient, donor, ecg, donor_ecg, answer, expected = values
        parts = (what or "").split("+")
        if not any(part.startswith("other_patient[") for part in parts):
            continue
        for own, given, column in ((patient, donor, "donor_patient_id"), (ecg, donor_ecg, "donor_ecg_id")):
            both = set(own or []) & set(given or [])
            if both:
                bad.note(row, f": the {column} '{min(both)}' is that of item {item} itself; name another patient's")
        shared = set(answer or []) & set(expected or [])
        if (OPPOSITE in parts and shared) or (SAME_SEVERITY in parts and shared and set(answer) == set(expected)):
            bad.note(
                row,
                f": the answer_expected '{min(shared)}' is an answer of item {item} itself, and under {what} the "
                "donor has another; correct it, or take another donor",
            )
