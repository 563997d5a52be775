"""A split's items as a table of treatment, severity and answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from causalecg.cohort.certificates import QUESTION, TREATMENTS, answer_sets, patient_codes, severity_levels
from causalecg.cohort.question_severity import leaves_statements_out
from causalecg.cohort.severity import SCALES
from causalecg.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from causalecg.cohort.schema import Cohort

SEVERITY, ANSWER, CANDIDATES = "severity_level", "answer_set", "candidate_answers"


@dataclass(frozen=True)
class TreatedItems:
    """Items whose severity is defined.

    Attributes:
        table: columns ``treatment``, those of ``within``, :data:`SEVERITY` (of two ECGs the pair), :data:`ANSWER`.
        treatment: column compared.
        within: columns held fixed.
        patients: (rows, most patients of an item) codes, -1 = none.
        without_severity: items left out because their severity is not defined.
    """

    table: pd.DataFrame
    treatment: str
    within: tuple[str, ...]
    patients: np.ndarray
    without_severity: int


def treated_items(
    cohort: Cohort, split: str, scale: str, treatment: str, *, others: tuple[str, ...] = ()
) -> TreatedItems:
    """The items of a split with something to compare.

    A style or wording is compared within the canonical question; where styles are all the same, the wording instead.
    Anything else (the question) is compared within the topic and among questions of the same candidate answers.
    Severity must be one variable for all that are compared, so questions about statements, whose severity leaves these
    out, are left out there. Environments are held fixed.

    Args:
        scale: of severity.
        treatment: column: "style", "wording_id", or e.g. "question_id".
        others: further columns of the items that the table is to have.

    Raises InputError where there is nothing to compare, and says why.
    """
    items = cohort.split(split)
    column = cohort.severity_column(scale)
    for name in (treatment, *others):
        if name not in items.columns:
            raise InputError(f"cohort {cohort.path} has no column '{name}'")
    known = items[items[column] >= 0]
    if known.empty:
        raise InputError(f"no item of split {split} in {cohort.path} has a severity on the scale '{scale}'")
    if treatment not in TREATMENTS:
        own = _has_severity_of_its_own(known, scale)
        if own.all():
            raise InputError(
                f"every question of {cohort.path} has a severity of its own, which leaves out what it is about: asking "
                "one cannot be compared with asking another; compare wordings within each"
            )
        known = known[~own].assign(**{CANDIDATES: lambda rows: rows["candidates"].map(", ".join)})
        within = ["topic", CANDIDATES]
    else:
        within = [QUESTION]
        treatment = next((name for name in (treatment, *TREATMENTS) if known[name].nunique() > 1), treatment)
    if "environment" in known.columns:
        within = ["environment", *within]
    within = [name for name in within if name == QUESTION or known[name].nunique() > 1]
    if known[treatment].nunique() < 2:
        raise InputError(f"'{treatment}' has one value in split {split} of {cohort.path}; there is nothing to compare")
    table = known[[treatment, *within, *others]].assign(
        **{SEVERITY: severity_levels(known, column), ANSWER: answer_sets(known)}
    )
    return TreatedItems(
        table.reset_index(drop=True), treatment, tuple(within), patient_codes(known), len(items) - len(known)
    )


def _has_severity_of_its_own(items: pd.DataFrame, scale: str) -> pd.Series:
    """(items,) bool: does the severity leave out what the question is about?"""
    if scale not in SCALES:
        return pd.Series(False, index=items.index)
    return items["source"].ne("ECG-QA") | items["topic"].map(leaves_statements_out)
