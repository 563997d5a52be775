"""Severity from SCP statements: two documented ordinal scales, and each without the topic that is asked about.

No public data set has a column of severity. These are definitions, not measurements: they say how ill an ECG's
statements make its patient look, they were not validated against outcomes, and every conclusion that rests on one of
them should be looked at under the other.

``acuity``   grade 0-3 of the gravest statement; grades and reasons in ``scales/acuity.csv``.
``burden``   number of groups of disease with a statement, counted up to 3: infarction, ST/T change, conduction
             disturbance, hypertrophy (PTB-XL's diagnostic superclasses), and arrhythmia other than of the sinus node.
             Arrhythmia counts rhythm statements only; ectopic beats (PVC, PAC, PRC(S)) are form statements and count
             nothing.

A statement listed with likelihood 0 counts: in PTB-XL 0 means unknown. docs/severity.md has the grades in short, what
is left out for a topic, and the cuts in use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import pandas as pd

from causalecg.errors import InputError

VERSION = 1
#: scale -> level words, low to high.
SCALES: dict[str, tuple[str, ...]] = {
    "acuity": ("normal", "mild", "moderate", "severe"),
    "burden": ("none", "low", "medium", "high"),
}
_SUMMARIES = {
    "acuity": "grade 0-3 of the gravest SCP statement (scales/acuity.csv)",
    "burden": "number of diagnostic groups with a statement, up to 3",
}
_HIGHEST = 3
_SINUS = ("SR", "SARRH", "SBRAD", "STACH")


@dataclass(frozen=True)
class Statements:
    """What the labels of a data set mean: in PTB-XL the SCP statements as ``scp_statements.csv`` declares them.

    Attributes:
        superclass: code -> MI, STTC, CD, HYP or NORM; only diagnostic statements have one.
        kin: code -> the groups it belongs to: its diagnostic subclass, its statement category, all rhythms.
        description: code -> text.
        grades: code -> acuity 0-3.
        called: what else the codes are called, in lower case -> codes.
    """

    superclass: Mapping[str, str]
    kin: Mapping[str, frozenset[str]]
    description: Mapping[str, str]
    grades: Mapping[str, int]
    called: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, table: pd.DataFrame) -> Statements:
        """From the official table, indexed by code. InputError where a column is missing."""
        needed = ("description", "diagnostic_class", "diagnostic_subclass", "rhythm", "Statement Category")
        missing = [name for name in needed if name not in table.columns]
        if missing:
            raise InputError(f"scp_statements.csv lacks the column(s) {', '.join(missing)}")
        kin = {}
        for code, row in table.iterrows():
            groups = {row["diagnostic_subclass"], row["Statement Category"], "rhythm" if row["rhythm"] == 1 else None}
            kin[str(code)] = frozenset({f"itself {code}", *(g for g in groups if isinstance(g, str))})
        superclass = {str(c): v for c, v in table["diagnostic_class"].items() if isinstance(v, str)}
        return cls(superclass, kin, {str(c): str(d) for c, d in table["description"].items()}, acuity_grades())

    def relatives(self, topic: str) -> frozenset[str]:
        """A statement, its ancestors and descendants, and its siblings: all that share a group with it."""
        return frozenset(code for code, groups in self.kin.items() if groups & self.kin[topic])


@cache
def acuity_grades() -> dict[str, int]:
    """SCP code -> grade 0-3."""
    with (files("causalecg.cohort") / "scales" / "acuity.csv").open() as file:
        table = pd.read_csv(file, keep_default_na=False)
    return {str(code): int(grade) for code, grade in zip(table["code"], table["grade"], strict=True)}


def severity(codes: Collection[str], scale: str, statements: Statements, *, without: Collection[str] = ()) -> int:
    """Level 0-3 of a set of statements on a scale.

    Args:
        codes: SCP codes of one ECG; unknown codes count nothing.
        without: statements to be left out; :meth:`Statements.relatives` of a topic gives its leave-topic-out form.

    Raises InputError for an unknown scale.
    """
    kept = set(codes) - set(without)
    if scale == "acuity":
        return max((statements.grades.get(code, 0) for code in kept), default=0)
    if scale == "burden":
        groups = {statements.superclass[code] for code in kept if code in statements.superclass} - {"NORM"}
        arrhythmia = any("rhythm" in statements.kin.get(code, ()) and code not in _SINUS for code in kept)
        return min(_HIGHEST, len(groups) + arrhythmia)
    raise InputError(f"unknown severity scale '{scale}'; known are {', '.join(SCALES)}")


def describe() -> dict[str, str]:
    """name -> one line."""
    return dict(_SUMMARIES)
