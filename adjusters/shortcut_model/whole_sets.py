"""A whole set as one answer, in place of a yes or no to each of its candidates.

What a view tells of a set is not what it tells of each candidate: two candidates that are always true together are one
question, not two. With whole sets as answers nothing is assumed of how candidates go together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adjusters.shortcut_model.answer_counts import AnswerCounts

if TYPE_CHECKING:
    import pandas as pd

#: Kind of a row whose set is one answer.
WHOLE = "whole set"


def named(answer: Sequence[str]) -> str:
    """A set as a text, in whatever order it is given."""
    return json.dumps(sorted(answer), ensure_ascii=False)


def as_whole_sets(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a set's text as answer, and sole candidate, of its rows of kind "set"; the others as they are."""
    is_set = (table["kind"] == "set").to_numpy()
    found = table.assign(kind=np.where(is_set, WHOLE, table["kind"]))
    for column in ("answer", "candidates"):
        rows = zip(is_set, table[column], table["answer"], strict=True)
        found[column] = [[named(answer)] if whole else names for whole, names, answer in rows]
    return found


class Competitors:
    """The answers that compete in an item: its candidates, or the sets of its topic that its candidates allow.

    Args:
        counts: of a table :func:`as_whole_sets`.
    """

    def __init__(self, counts: AnswerCounts) -> None:
        self.place = {name: i for i, name in enumerate(counts.answers)}
        self._sets: dict[str, set[int]] = {}
        for view, _, place, _, _ in counts.entries.tolist():
            kind, topic, _ = counts.codes.views[view]
            if kind == WHOLE:
                self._sets.setdefault(topic, set()).add(place)
        self._members = {p: frozenset(json.loads(counts.answers[p])) for one in self._sets.values() for p in one}
        self._allowed: dict[tuple[str, frozenset[str]], list[int]] = {}

    def __call__(
        self, kind: str, topic: str, candidates: Sequence[str], answer: Sequence[str]
    ) -> tuple[list[int], np.ndarray]:
        """Columns of the answers' tables, that of strangers among them, and which of these are true: (answers,) bool.

        Args:
            kind: as in a table :func:`as_whole_sets`; ``candidates`` and ``answer`` as in the table before.
        """
        stranger = len(self.place)
        if kind != WHOLE:
            return [self.place.get(name, stranger) for name in candidates], np.isin(candidates, list(answer))
        own = self.place.get(named(answer), stranger)
        others = [place for place in self._of(topic, frozenset(candidates)) if place != own]
        return [own, *others], np.arange(1 + len(others)) == 0

    def _of(self, topic: str, candidates: frozenset[str]) -> list[int]:
        if (topic, candidates) not in self._allowed:
            places = sorted(self._sets.get(topic, ()))
            self._allowed[topic, candidates] = [p for p in places if self._members[p] <= candidates]
        return self._allowed[topic, candidates]
