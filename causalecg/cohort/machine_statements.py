"""What an electrocardiograph's own report says, as codes: for MIMIC-IV-ECG, which has no other statements.

``scales/machine_statements.csv`` has a row per code: its acuity, superclass and groups, an expression that is looked
for in each line of the report, and the names ECG-QA has for it. Codes that PTB-XL has too mean the same and have the
same grade. A hedged line ("possible", "consider", "cannot rule out") counts, as a statement of low likelihood does in
PTB-XL; a line that calls its finding a normal variant does not, nor does one that denies it.

The table is a definition, not a measurement: it was checked against made-up reports in the style of the device's, and
neither against cardiologists nor outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files

import pandas as pd

from causalecg.cohort.severity import Statements

_NOT_SO = re.compile(r"normal variant|no longer|has (?:been )?replaced|\bno (?:evidence|significant|acute)\b|\bnot\b")


@cache
def machine_statements() -> Statements:
    """Grades, superclasses, groups and names of the codes."""
    table = _table()
    called: dict[str, set[str]] = {}
    for code, names in zip(table["code"], table["called"], strict=True):
        for name in filter(None, names.split("|")):
            called.setdefault(name.lower(), set()).add(code)
    return Statements(
        superclass={code: name for code, name in zip(table["code"], table["superclass"], strict=True) if name},
        kin={
            code: frozenset({f"itself {code}", *groups.split(";")})
            for code, groups in zip(table["code"], table["groups"], strict=True)
        },
        description=dict(zip(table["code"], table["description"], strict=True)),
        grades={code: int(grade) for code, grade in zip(table["code"], table["grade"], strict=True)},
        called={name: frozenset(codes) for name, codes in called.items()},
    )


def codes_of(report: Iterable[str]) -> list[str]:
    """Sorted codes that some lines of a report stand for; a line that stands for none adds none."""
    return sorted({code for line in report for code in _codes_of_line(line.strip().lower())})


@lru_cache(maxsize=65536)
def _codes_of_line(line: str) -> frozenset[str]:
    if not line or _NOT_SO.search(line):
        return frozenset()
    found = {code for code, pattern in _patterns().items() if pattern.search(line)}
    # "MI" is an infarction of no place that is named.
    if found & _places():
        found.discard("MI")
    return frozenset(found)


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    table = _table()
    return {code: re.compile(text) for code, text in zip(table["code"], table["machine"], strict=True)}


@cache
def _places() -> frozenset[str]:
    """Infarctions at a place."""
    superclass = machine_statements().superclass
    return frozenset(code for code, name in superclass.items() if name == "MI" and code != "MI")


@cache
def _table() -> pd.DataFrame:
    with (files("causalecg.cohort") / "scales" / "machine_statements.csv").open() as file:
        return pd.read_csv(file, keep_default_na=False, dtype=str)
