"""The columns of a table of answers: those that are read, and what is said of all others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from causalecg.errors import InputError
from causalecg.tables.misspelt import meant_by

TEXTS = (
    "item_id", "intervention", "run_id", "role", "split", "question", "question_id", "template_id", "style", "topic",
    "wording_id", "draw", "status", "text", "kind", "severity",
)  # fmt: skip
LISTS = (
    "answer", "answer_given", "answer_expected", "candidates", "patient_id", "ecg_id", "donor_ecg_id",
    "donor_patient_id",
)  # fmt: skip
NUMBERS = ("log_likelihood", "candidate_order")
KNOWN = (*TEXTS, *LISTS, *NUMBERS)


def unused(columns: Iterable[str], path: Path) -> list[str]:
    """Columns that are not read. InputError for one that seems to be a misspelt column which the table lacks."""
    have = [str(name) for name in columns]
    left = [name for name in have if name not in KNOWN]
    for name in left:
        meant = meant_by(name, [known for known in KNOWN if known not in have])
        if meant is not None:
            raise InputError(
                f"{path} has the column '{name}', which is not read; if it is '{meant}', call it so, else by a name "
                "less like it"
            )
    return left
