"""What a prompt says of the patient before it asks: age and sex, from the ECG table.

The text stands in the items column ``metadata`` and is put before the question by
:class:`~causalecg.cohort.batches.TableBatches`, so that another wording of a question, or another patient's ECG, leaves
it as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from causalecg.cohort.ptbxl import OLDEST
from causalecg.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "metadata"
_PLACES = ("First", "Second")


def _age(value: object) -> str:
    years = float(value)  # type: ignore[arg-type]
    if years != years:
        return ""
    return f"age {years:.0f}" if years < OLDEST else f"age {OLDEST:.0f} or above"


def _sex(value: object) -> str:
    return str(value) if value in ("female", "male") else ""


#: column of the ECG table -> its words, "" where the value is not known.
FIELDS: Mapping[str, Callable[[object], str]] = {"age": _age, "sex": _sex}


def require_fields(fields: Sequence[str]) -> None:
    """Raise InputError for a field that no prompt can hold, or one that is named twice."""
    for name in fields:
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(FIELDS)}"
            raise InputError(f"there is no metadata '{name}'; {hint}")
    if len(set(fields)) < len(fields):
        raise InputError(f"metadata {', '.join(fields)} names a field twice; name each once")


def with_metadata(items: pd.DataFrame, ecgs: pd.DataFrame, fields: Sequence[str]) -> pd.DataFrame:
    """The items with the column ``metadata``; unchanged where no field is asked for.

    "Age 63, female." for one ECG, "First ECG: age 63, female. Second ECG: male." for two. What is not known is left
    out; where nothing is known of any ECG the text is empty. Ages of 90 are "90 or above", since PTB-XL codes them so.

    Args:
        items: with ``ecg_ids``.
        ecgs: with ``ecg_id`` and the columns asked for.
        fields: of :data:`FIELDS`, in the order they are to be told.

    Raises InputError as :func:`require_fields`.
    """
    if not fields:
        return items
    require_fields(fields)
    told = [
        ", ".join(words for name, value in zip(fields, row, strict=True) if (words := FIELDS[name](value)))
        for row in zip(*(ecgs[name] for name in fields), strict=True)
    ]
    of_ecg = dict(zip(ecgs["ecg_id"], told, strict=True))
    return items.assign(**{COLUMN: [_sentence([of_ecg[ecg_id] for ecg_id in ids]) for ids in items["ecg_ids"]]})


def _sentence(told: Sequence[str]) -> str:
    if len(told) == 1:
        return f"{told[0][:1].upper()}{told[0][1:]}." if told[0] else ""
    return " ".join(f"{place} ECG: {text}." for place, text in zip(_PLACES, told, strict=True) if text)


def prompts(table: pd.DataFrame) -> tuple[list[str | None], tuple[str, ...]]:
    """What each item's text is, ``None`` where the question is withheld, and what it says before it asks.

    The second is empty where no item says anything. A withheld question is told without its metadata.
    """
    asked = [None if q is None or q != q else str(q) for q in table["question"]]
    if COLUMN not in table.columns:
        return asked, ()
    before = tuple(
        "" if m is None or m != m or q is None else str(m) for m, q in zip(table[COLUMN], asked, strict=True)
    )
    if not any(before):
        return asked, ()
    return [q if q is None or not m else f"{m} {q}" for q, m in zip(asked, before, strict=True)], before
