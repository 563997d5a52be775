"""A split's items as codes of what is held fixed, severity, treatment and answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from causalecg.cohort.treated_items import ANSWER, SEVERITY, treated_items

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
    """The items of :func:`causalecg.cohort.treated_items.treated_items`, with ``severity`` and ``treatment`` columns of
    the items table, as codes."""
    from structural_models.tabulation import coded, distinct_rows

    found = treated_items(cohort, split, severity.removeprefix("severity_"), treatment)
    s, levels = coded(found.table, SEVERITY)
    arm, arms = coded(found.table, found.treatment)
    answer, answers = coded(found.table, ANSWER)
    return ContrastRows(
        held=distinct_rows(found.table, found.within)[1],
        severity=s,
        arm=arm,
        answer=answer,
        severities=tuple(map(str, levels.values)),
        arms=tuple(map(str, arms.values)),
        answers=tuple(map(str, answers.values)),
        patients=found.patients,
        treatment=found.treatment,
        within=found.within,
        without_severity=found.without_severity,
    )
