"""The columns of a table of answers: those that are read, and what is said of all others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from causalecg.errors import InputError

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
#: Share of letters that a name has in common with the one it is taken to be misspelt for.
_ALIKE = 0.8


def unused(columns: Iterable[str], path: Path) -> list[str]:
    """Columns that are not read. InputError for one that seems to be a misspelt column which the table lacks."""
    have = [str(name) for name in columns]
    left = [name for name in have if name not in KNOWN]
    for name in left:
        meant = _meant(name, [known for known in KNOWN if known not in have])
        if meant is not None:
            raise InputError(
                f"{path} has the column '{name}', which is not read; if it is '{meant}', call it so, else by a name "
                "less like it"
            )
    return left


def _meant(name: str, lacking: list[str]) -> str | None:
    plain = _words(name)
    same = [known for known in lacking if sorted(_words(known)) == sorted(plain)]
    near = difflib.get_close_matches("_".join(plain), lacking, n=1, cutoff=_ALIKE)
    return next(iter([*same, *near]), None)


def _words(name: str) -> list[str]:
    """In lower case: PatientID, patient id and patient_id are the same."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]
