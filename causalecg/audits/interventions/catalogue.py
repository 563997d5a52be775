"""Which interventions there are, under which names, and in which suites.

Which donor or wording an item gets depends on the seed, the intervention and the draw only, never on the model, so that
the answers of all models are paired. ``a+b`` is a and then b, each with the draws it has by itself.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from causalecg.audits.interventions.contract import ADDED, Changed, Context, Intervention
from causalecg.audits.interventions.ecg import NoEcg, SpoiltEcg
from causalecg.audits.interventions.intact import Intact
from causalecg.audits.interventions.options import OptionOrder
from causalecg.audits.interventions.questions import NoMetadata, NoQuestion, OtherTopic
from causalecg.audits.interventions.swaps import OneOfTwo, OrderExchanged, OtherPatient
from causalecg.audits.interventions.wordings import KnownWording, RuleWording, UserWording
from causalecg.audits.signal_changes import SIGNAL_CHANGES
from causalecg.errors import InputError

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort

_ALL: tuple[Intervention, ...] = (
    Intact(),
    NoEcg(),
    OtherPatient("any", "a random other patient's ECG, same question"),
    OtherPatient("opposite", "another patient's ECG, whose true answer is the opposite"),
    OtherPatient("different", "another patient's ECG of the same severity but another answer", same_severity=True),
    KnownWording("held_out", "a wording never used in training, of another style where there is one"),
    KnownWording("seen", "another training wording of the same style"),
    KnownWording("style=other", "a training wording of another style"),
    RuleWording(),
    UserWording(),
    *(SpoiltEcg(change) for change in SIGNAL_CHANGES),
    OneOfTwo("first"),
    OneOfTwo("second"),
    OrderExchanged(),
    NoQuestion(),
    OtherTopic(),
    OptionOrder(),
    NoMetadata(),
)
_BY_NAME = {intervention.name: intervention for intervention in _ALL}
KNOWN: dict[str, str] = {intervention.name: intervention.line for intervention in _ALL}

RANDOM = "other_patient[answer=any]"
OPPOSITE = "other_patient[answer=opposite]"
SAME_SEVERITY = "other_patient[answer=different,severity=same]"
USER = "wording[user]"
HELD_OUT, OTHER_STYLE, SEEN, RULES = "wording[held_out]", "wording[style=other]", "wording[seen]", "wording[rules]"
NO_ECG, NO_QUESTION, NOTHING = "no_ecg", "no_question", "no_ecg+no_question"
RANDOM_NO_QUESTION = f"{RANDOM}+no_question"
NO_METADATA, NO_ECG_NO_METADATA = "no_metadata", "no_ecg+no_metadata"
OTHER_TOPIC, OPTION_ORDER = "other_topic", "option_order"
SPOILT = tuple(f"ecg[{change}]" for change in SIGNAL_CHANGES)
OF_PAIRS = ("other_patient[answer=any,which=first]", "other_patient[answer=any,which=second]", "ecg_order")

#: Six passes per item.
DEFAULT_SUITE = ("intact", NO_ECG, RANDOM, OPPOSITE, SAME_SEVERITY, HELD_OUT)
#: What the full suite asks besides, of a part of the items, and in how many draws.
FURTHER: dict[str, int] = {
    RANDOM: 20,
    HELD_OUT: 4,
    RULES: 4,
    SEEN: 1,
    OTHER_STYLE: 1,
    **dict.fromkeys(SPOILT, 1),
    NO_QUESTION: 1,
    NOTHING: 1,
    RANDOM_NO_QUESTION: 1,
    OTHER_TOPIC: 1,
    OPTION_ORDER: 1,
    NO_METADATA: 1,
    NO_ECG_NO_METADATA: 1,
    **dict.fromkeys(OF_PAIRS, 1),
}
SUITES = {"default": DEFAULT_SUITE, "full": tuple(dict.fromkeys((*DEFAULT_SUITE, *FURTHER)))}


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


def parts_of(name: str) -> list[Intervention]:
    """The interventions that ``a+b`` is made of. Raises InputError, naming the nearest, for an unknown one."""
    found = []
    for part in name.split("+"):
        if part not in _BY_NAME:
            near = difflib.get_close_matches(part, _BY_NAME, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(_BY_NAME)}"
            raise InputError(f"no intervention is called '{part}'; {hint}")
        found.append(_BY_NAME[part])
    return found


def require_known(name: str) -> None:
    parts_of(name)


def is_drawn(name: str) -> bool:
    """Do several draws of it differ?"""
    return any(part.drawn for part in parts_of(name))


def needs_severity(name: str) -> bool:
    """Is there none of it without a severity scale?"""
    return any(part.by_severity for part in parts_of(name))


def intervene(
    name: str,
    table: pd.DataFrame,
    cohort: Cohort,
    *,
    severity: str | None,
    seed: int,
    draw: int = 0,
    user_wordings: Mapping[str, Sequence[str]] | None = None,
) -> Changed:
    """Apply an intervention to items.

    Args:
        table: items; donors come from among them.
        cohort: for its wordings.
        severity: severity column, needed for ``severity=same``.
        seed, draw: which of the possible donors or wordings is drawn.
        user_wordings: question or question_id -> wordings, for ``wording[user]``.

    Raises InputError for an unknown name, or a severity or wordings that are needed and missing.
    """
    context = Context(table, cohort, severity, user_wordings)
    rows = table.assign(**dict.fromkeys(ADDED))
    for part in parts_of(name):
        rows = part.of_items(rows, context, np.random.default_rng([seed, zlib.crc32(part.name.encode()), draw]))
    return Changed(rows.reset_index(drop=True), len(table) - len(rows))


def describe() -> dict[str, str]:
    """name -> one line."""
    return dict(KNOWN)
