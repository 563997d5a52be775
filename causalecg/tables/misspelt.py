"""Which column a misspelt name may mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

#: Share of letters that a name has in common with the one it is taken to be misspelt for.
_ALIKE = 0.8


def meant_by(name: str, lacking: Iterable[str]) -> str | None:
    """Of the columns that a table lacks, the one that is nearly called ``name``."""
    plain, lacking = _words(name), list(lacking)
    same = [known for known in lacking if sorted(_words(known)) == sorted(plain)]
    near = difflib.get_close_matches("_".join(plain), lacking, n=1, cutoff=_ALIKE)
    return next(iter([*same, *near]), None)


def _words(name: str) -> list[str]:
    """In lower case: PatientID, patient id and patient_id are the same."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return [word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word]
