"""The severity of an item: of its ECGs' statements without those that its question is about.

A severity that holds the statement asked about would be part of the answer, and adjusting for it would be conditioning
on the outcome. Where it cannot be said which statements a question is about, the level is :data:`UNDEFINED`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from causalecg.cohort.severity import Statements, severity
from causalecg.cohort.source import EcgSource

#: Level of an item whose topic cannot be named; also of the second ECG where there is only one.
UNDEFINED = -1
_SUPERCLASSES = {
    "myocardial infarction": "MI",
    "st/t change": "STTC",
    "conduction disturbance": "CD",
    "hypertrophy": "HYP",
}
#: ECG-QA's words for statements that scp_statements.csv spells otherwise.
_SPELLED = {
    "digitalis effect": "DIG",
    "low amplitude t-wave": "LOWT",
    "bigeminal pattern (unknown origin, supraventricular, or ventricular)": "BIGU",
    "trigeminal pattern (unknown origin, supraventricular, or ventricular)": "TRIGU",
}
_INFARCTION = "myocardial infarction in "
#: Other columns of PTB-XL that say again what statements say.
_SAID_AGAIN = {"extra_systole": ("PVC", "PAC", "PRC(S)", "BIGU", "TRIGU")}


def left_out(attribute_type: str, attribute: Sequence[str], statements: Statements) -> frozenset[str] | None:
    """Statements that a question's severity must not hold, or ``None`` where its topic cannot be named.

    Noise, numeric features and the heart's axis are not statements: nothing is left out. "Normal ECG" cannot be left
    out of a severity, since it is the absence of everything else.
    """
    if attribute_type == "stage_of_infarction":
        asked = [_named("myocardial infarction", statements)]
    elif attribute_type in _SAID_AGAIN:
        asked = [frozenset(_SAID_AGAIN[attribute_type]) & statements.kin.keys()]
    elif attribute_type == "scp_code":
        asked = [_named(name, statements) for name in attribute]
        if not asked or not all(asked) or any("NORM" in codes for codes in asked):
            return None
    else:
        return frozenset()
    return frozenset(relative for codes in asked for code in codes for relative in statements.relatives(code))


def leaves_statements_out(attribute_type: str) -> bool:
    """Whether :func:`left_out` leaves anything out for questions about attributes of this type."""
    return attribute_type in ("stage_of_infarction", "scp_code", *_SAID_AGAIN)


def _named(name: str, statements: Statements) -> frozenset[str]:
    """SCP codes that an attribute of ECG-QA stands for; empty where it stands for none."""
    name = name.strip().lower()
    if name in _SUPERCLASSES:
        return frozenset(c for c, superclass in statements.superclass.items() if superclass == _SUPERCLASSES[name])
    if name in _SPELLED:
        return frozenset({_SPELLED[name]}) & statements.kin.keys()
    if name.startswith(_INFARCTION):
        name = f"{name.removeprefix(_INFARCTION).removesuffix(' leads')} myocardial infarction"
    same = frozenset(code for code, text in statements.description.items() if text.lower() == name)
    return same | statements.called.get(name, frozenset())


def with_severity(items: pd.DataFrame, ecgs: pd.DataFrame, source: EcgSource, scales: Sequence[str]) -> pd.DataFrame:
    """Adds severity_<scale>: the maximum over an item's ECGs, with _1 and _2 beside it (_2 is -1 for one ECG).

    Reads the columns ``topic`` (attribute type), ``attribute`` and ``ecg_ids``. All three are :data:`UNDEFINED` where
    the question's topic cannot be named.
    """
    labels = dict(zip(ecgs["ecg_id"], ecgs["labels"], strict=True))
    topics = list(zip(items["topic"], map(tuple, items["attribute"]), strict=True))
    without = {topic: left_out(*topic, source.statements) for topic in set(topics)}
    columns: dict[str, Any] = {}
    for scale in scales:
        known: dict[tuple[str, frozenset[str]], int] = {}
        levels = np.full((len(items), 3), UNDEFINED, dtype=np.int64)
        for row, (topic, ids) in enumerate(zip(topics, items["ecg_ids"], strict=True)):
            gone = without[topic]
            if gone is None:
                continue
            for place, ecg_id in enumerate(ids, start=1):
                if (ecg_id, gone) not in known:
                    known[ecg_id, gone] = severity(labels[ecg_id], scale, source.statements, without=gone)
                levels[row, place] = known[ecg_id, gone]
        levels[:, 0] = levels[:, 1:].max(axis=1)
        columns |= {f"severity_{scale}": levels[:, 0], f"severity_{scale}_1": levels[:, 1]}
        columns[f"severity_{scale}_2"] = levels[:, 2]
    return items.assign(**columns)
