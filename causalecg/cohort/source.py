"""Where a cohort's ECGs come from: a table of them, what is known of each, and where its record lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from causalecg.cohort.severity import Statements


@dataclass(frozen=True)
class EcgSource:
    """ECGs of one data set.

    Attributes:
        name: of the data set.
        folder: what record paths start from.
        ecgs: columns of the cohort schema, with low and high (paths of the record at either rate; the same where
            there is one).
        statements: what their labels mean.
        skipped: kind, id and reason of what could not be used.
        with_likelihoods: in PTB-XL the ecg_ids of the original rows; of the others only the set of SCP codes is known,
            every likelihood being 0 and every column that is not needed empty. ``None``: no such difference.
    """

    name: str
    folder: Path
    ecgs: pd.DataFrame
    statements: Statements
    skipped: pd.DataFrame
    with_likelihoods: frozenset[str] | None = None
