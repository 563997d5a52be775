"""Two styles of asking for one finding: calm and urgent.

Every wording is an opening and a closing around the same question. Held-out wordings recombine openings and closings
that the training wordings also use, so that they are new sentences without new words: a language model trained from
scratch cannot know a word it has never seen, and failing on one would say nothing about shortcuts.
"""

from __future__ import annotations

import pandas as pd

STYLES = ("calm", "urgent")

_ASK = (
    "does this ECG show {finding}?",
    "is {finding} present in this ECG?",
    "can {finding} be seen in this ECG?",
)
_COMPARE = (
    "does the second ECG show {finding} where the first does not?",
    "is {finding} present in the second ECG but not in the first?",
    "can {finding} be seen in the second ECG and not in the first?",
)
_OPENINGS = {
    "calm": ("For the routine file,", "As part of a regular check,", "When there is time,", "For the record,"),
    "urgent": ("Urgent:", "Please answer at once:", "Emergency call,", "The patient is unstable:"),
}
_PER_STYLE = len(_ASK) * len(_OPENINGS["calm"])
#: Of each style's wordings these are held out; each opening and each question form still occurs in training.
_HELD_OUT = (1, 6, 11)


def render(style: str, wording: int, finding: str, *, comparison: bool = False) -> str:
    """The text of wording 0..11 of a style, about a finding in one ECG, or new in the second of two. KeyError for an
    unknown style."""
    ask = _COMPARE if comparison else _ASK
    openings = _OPENINGS[style]
    if not 0 <= wording < _PER_STYLE:
        raise IndexError(f"style {style} has wordings 0..{_PER_STYLE - 1}, not {wording}")
    return f"{openings[wording % len(openings)]} {ask[wording // len(openings)].format(finding=finding)}"


def training_wordings() -> list[int]:
    """Wordings used in training, the same numbers in both styles."""
    return [w for w in range(_PER_STYLE) if w not in _HELD_OUT]


def wording_table(questions: dict[str, str], *, comparisons: bool = False) -> pd.DataFrame:
    """All wordings of some canonical questions, in the schema's columns.

    Args:
        questions: question_id -> the finding asked about, as text.
        comparisons: whether it is asked of two ECGs.
    """
    rows = [
        {
            "question_id": question_id,
            "wording_id": f"{style}-{wording:02d}",
            "style": style,
            "held_out": wording in _HELD_OUT,
            "question": render(style, wording, finding, comparison=comparisons),
        }
        for question_id, finding in questions.items()
        for style in STYLES
        for wording in range(_PER_STYLE)
    ]
    return pd.DataFrame(rows)
