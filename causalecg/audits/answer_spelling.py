"""Answers that are right but for their case and spaces, which count as wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def spelt_otherwise(rows: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Run -> how many of its answers are none of the table's true ones, but one of them in other case or with other
    spaces. Where candidates are named an answer has to be one of them, and none is counted."""
    true = {one for column in ("answer", "answer_expected") for names in rows[column] for one in names or []}
    plain = {_plain(one): one for one in sorted(true)}
    found: dict[str, list[str]] = {}
    for run, given, names in zip(rows["run_id"], rows["answer_given"], rows["candidates"], strict=True):
        strange = [one for one in given if names is None and one not in true and _plain(one) in plain]
        if strange:
            found.setdefault(run, []).append(strange[0])
    return {
        run: f"{len(wrong)} answers count as wrong that differ from a true one in case or spaces only, e.g. "
        f"'{wrong[0]}' from '{plain[_plain(wrong[0])]}'; spell them alike, or put them into a column text and name "
        "the candidates."
        for run, wrong in found.items()
    }


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
