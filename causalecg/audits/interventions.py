"""What is done to a model's inputs: small, seeded, and written the same way everywhere.

    intact                                      nothing
    no_ecg                                      every ECG is taken away
    other_patient[answer=any]                   another patient's ECG, of an item with the same canonical question
    other_patient[answer=opposite]              ... whose answer has nothing in common with the item's
    other_patient[answer=different,severity=same]   ... of the same severity, whose answer differs
    wording[held_out]                           a wording of the same question that training never saw, in another style
                                                where there is one
    wording[seen]                               another wording that training saw, in the item's own style
    wording[style=other]                        a wording that training saw, in another style

Which donor or wording an item gets depends on the seed and the intervention only, never on the model, so that the
answers of all models are paired.
"""

from __future__ import annotations

import difflib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from causalecg.audits.donors import draw_donors
from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort

RANDOM = "other_patient[answer=any]"
OPPOSITE = "other_patient[answer=opposite]"
SAME_SEVERITY = "other_patient[answer=different,severity=same]"
HELD_OUT, OTHER_STYLE, SEEN = "wording[held_out]", "wording[style=other]", "wording[seen]"
KNOWN: dict[str, str] = {
    "intact": "the item as it is",
    "no_ecg": "without any ECG",
    RANDOM: "a random other patient's ECG, same question",
    OPPOSITE: "another patient's ECG, whose true answer is the opposite",
    SAME_SEVERITY: "another patient's ECG of the same severity but another answer",
    HELD_OUT: "a wording never used in training, of another style where there is one",
    SEEN: "another training wording of the same style",
    OTHER_STYLE: "a training wording of another style",
}
#: Six passes per item.
DEFAULT_SUITE = (
    "intact",
    "no_ecg",
    RANDOM,
    OPPOSITE,
    SAME_SEVERITY,
    HELD_OUT,
)
SUITES = {"default": DEFAULT_SUITE, "full": tuple(KNOWN)}


@dataclass(frozen=True)
class Changed:
    """Items after an intervention.

    ``table``: those it can be applied to, with ``ecg_ids``, ``question`` and ``wording_id`` as the model gets them,
    ``donor_ecg_ids``, ``donor_patient_ids`` (lists or ``None``) and ``answer_expected`` (the donor's true answer, or
    ``None``).
    ``left_out``: how many items it cannot be applied to.
    """

    table: pd.DataFrame
    left_out: int


def parse(text: str) -> tuple[str, ...]:
    """ "default", "full", or a comma-separated list. Raises InputError, naming the nearest, for an unknown one."""
    if text in SUITES:
        return SUITES[text]
    names: list[str] = []
    depth, current = 0, ""
    for mark in text + ",":
        depth += (mark == "[") - (mark == "]")
        if mark == "," and depth == 0:
            names.append(current.strip())
            current = ""
        else:
            current += mark
    for name in names:
        require_known(name)
    return tuple(dict.fromkeys(names))


def require_known(name: str) -> None:
    if name not in KNOWN:
        near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(KNOWN)}"
        raise InputError(f"no intervention is called '{name}'; {hint}")


def intervene(
    name: str, table: pd.DataFrame, cohort: Cohort, *, severity: str | None, seed: int, draw: int = 0
) -> Changed:
    """Apply an intervention to items.

    Args:
        table: items; donors come from among them.
        cohort: for its wordings.
        severity: severity column, needed for ``severity=same``.
        seed, draw: which of the possible donors or wordings is drawn.

    Raises InputError for an unknown name, or a severity that is needed and missing.
    """
    require_known(name)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), draw])
    kind, _, options = name.rstrip("]").partition("[")
    plain = table.assign(donor_ecg_ids=None, donor_patient_ids=None, answer_expected=None)
    if kind == "intact":
        return Changed(plain, 0)
    if kind == "no_ecg":
        plain["ecg_ids"] = pd.Series([[] for _ in range(len(table))], index=table.index, dtype=object)
        return Changed(plain, 0)
    if kind == "wording":
        return _reworded(plain, cohort.wordings, options, rng)
    chosen = dict(pair.split("=") for pair in options.split(","))
    column = severity if "severity" in chosen else None
    if "severity" in chosen and column is None:
        have = f"name one: {', '.join(cohort.severity_scales)}" if cohort.severity_scales else "the cohort has none"
        raise InputError(f"intervention {name} needs a severity scale; {have}")
    return _swapped(plain, draw_donors(table, answer=chosen["answer"], severity=column, rng=rng))  # type: ignore[arg-type]


def _swapped(table: pd.DataFrame, donors: np.ndarray) -> Changed:
    kept = table[donors >= 0].copy()
    at = donors[donors >= 0]
    theirs = [list(ids) for ids in table["ecg_ids"].iloc[at]]
    kept["ecg_ids"] = theirs
    kept["donor_ecg_ids"] = pd.Series(theirs, index=kept.index, dtype=object)
    patients = [list(ids) for ids in table["patient_ids"].iloc[at]]
    kept["donor_patient_ids"] = pd.Series(patients, index=kept.index, dtype=object)
    kept["answer_expected"] = pd.Series([list(a) for a in table["answer"].iloc[at]], index=kept.index, dtype=object)
    return Changed(kept.reset_index(drop=True), len(table) - len(kept))


def _reworded(table: pd.DataFrame, wordings: pd.DataFrame, option: str, rng: np.random.Generator) -> Changed:
    pools = dict(iter(wordings.groupby("question_id", sort=False)))
    asked = list(table[["question_id", "wording_id", "style"]].itertuples(index=False, name=None))
    choices = {key: _others(pools[key[0]], key[1], key[2], option) if key[0] in pools else [] for key in set(asked)}
    picks = rng.random(len(table))
    kept = [at for at, key in enumerate(asked) if choices[key]]
    chosen = [choices[asked[at]][int(picks[at] * len(choices[asked[at]]))] for at in kept]
    changed = table.iloc[kept].assign(wording_id=[w for w, _ in chosen], question=[q for _, q in chosen])
    return Changed(changed.reset_index(drop=True), len(table) - len(kept))


def _others(pool: pd.DataFrame, wording: str, style: str, option: str) -> list[tuple[str, str]]:
    """(wording_id, question) of the wordings an item of this wording and style may be given."""
    others = pool[(pool["wording_id"] != wording) & (pool["held_out"] == (option == "held_out"))]
    elsewhere = others["style"] != style
    if option == "style=other" or (option == "held_out" and elsewhere.any()):
        others = others[elsewhere]
    elif option == "seen":
        others = others[~elsewhere]
    return list(zip(others["wording_id"], others["question"], strict=True))


def describe() -> dict[str, str]:
    """name -> one line."""
    return dict(KNOWN)
