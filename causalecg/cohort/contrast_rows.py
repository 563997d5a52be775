"""A split's items as codes of what is held fixed, severity, treatment and answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from causalecg.cohort.certificates import QUESTION, TREATMENTS, patient_codes, severity_levels
from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort


@dataclass(frozen=True)
class ContrastRows:
    """(rows,) int64 codes and what they stand for.

    Attributes:
        held, severity, arm, answer: codes; ``held`` are combinations of the columns ``within``.
        severities, arms, answers: texts the codes stand for; an answer is the whole set.
        patients: (rows, most patients of an item) codes, -1 = none.
        treatment: column of the arms.
        within: columns held fixed.
        without_severity: items left out because their severity is not defined.
    """

    held: np.ndarray
    severity: np.ndarray
    arm: np.ndarray
    answer: np.ndarray
    severities: tuple[str, ...]
    arms: tuple[str, ...]
    answers: tuple[str, ...]
    patients: np.ndarray
    treatment: str
    within: tuple[str, ...]
    without_severity: int

    def __len__(self) -> int:
        return len(self.arm)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """How many of each: held fixed, severities, arms, answers."""
        return int(self.held.max()) + 1, len(self.severities), len(self.arms), len(self.answers)

    @property
    def stratum(self) -> np.ndarray:
        """(rows,) codes of what is held fixed and severity together."""
        return np.asarray(self.held * len(self.severities) + self.severity)


def contrast_rows(cohort: Cohort, split: str, severity: str, treatment: str) -> ContrastRows:
    """The items of a split whose severity is defined.

    Severity leaves out what a question is about and so is another variable for every topic: a style or wording is
    compared within the canonical question, anything else within the topic and among questions of the same candidate
    answers. Environments are held fixed too. Where all styles are the same, wordings are compared.

    Args:
        severity, treatment: columns of the items table.

    Raises InputError where the split has no such items, or there is nothing to compare.
    """
    from structural_models.tabulation import coded, distinct_rows

    items = cohort.split(split)
    if treatment not in items.columns:
        raise InputError(f"cohort {cohort.path} has no column '{treatment}' for the treatment")
    known = items[items[severity] >= 0]
    if known.empty:
        raise InputError(f"no item of split {split} in {cohort.path} has a severity in '{severity}'; choose another")
    within = [QUESTION] if treatment in TREATMENTS else ["topic", "candidates"]
    if treatment in TREATMENTS:
        treatment = next((name for name in (treatment, *TREATMENTS) if known[name].nunique() > 1), treatment)
    if known[treatment].nunique() < 2:
        raise InputError(f"'{treatment}' has one value in split {split} of {cohort.path}; there is nothing to compare")
    if "environment" in known.columns and known["environment"].nunique() > 1:
        within = ["environment", *within]
    table = known.assign(
        severity_level=severity_levels(known, severity),
        answer_set=known["answer"].map(lambda a: ", ".join(sorted(a))),
        candidates=known["candidates"].map(lambda c: ", ".join(sorted(c))),
    ).reset_index(drop=True)
    s, levels = coded(table, "severity_level")
    arm, arms = coded(table, treatment)
    answer, answers = coded(table, "answer_set")
    return ContrastRows(
        held=distinct_rows(table, within)[1],
        severity=s,
        arm=arm,
        answer=answer,
        severities=tuple(map(str, levels.values)),
        arms=tuple(map(str, arms.values)),
        answers=tuple(map(str, answers.values)),
        patients=patient_codes(table),
        treatment=treatment,
        within=tuple(within),
        without_severity=len(items) - len(known),
    )
