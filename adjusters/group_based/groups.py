"""Groups of rows by what they hold: answer, style, severity, or any column.

A group is a combination of the values of several columns, written as their names joined by "-": "answer-style",
"answer-severity", "style", "answer-style-topic". The answer of a row is all its true candidates together, so that a
question of kind "set" belongs to the group of its whole set.

Groups of few rows are merged: such a row first keeps everything but its answer ("any other answer, asked in this
style"), and goes to one group of all that is rare where that is still too few. Groups are learned on training rows; in
others, a combination that training lacked goes where a rare one goes, and is in no group where there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from adjusters.contract import Adjuster, ContractError
from adjusters.table_columns import require_columns
from structural_models.tabulation import is_quantity

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

ANSWER, STYLE, SEVERITY = "answer", "style", "severity"
#: Stands for any value in the name of a merged group.
ANY = "*"
#: Name of the groups' column in a batch. Rows in no group have -1.
GROUP = "group_code"
_Key = tuple[str, ...]


def role_column(name: str, part: str, table: pd.DataFrame, estimand: Estimand | None) -> str:
    """The column that ``part`` means: "style" the treatment's, "severity" that of the role, else the column itself.

    Raises ContractError, in the name of the adjuster called ``name``, where there is none or it is not of levels.
    """
    column = part
    if part == STYLE and estimand is not None:
        column = estimand.roles.get("treatment", STYLE)
    if part == SEVERITY:
        if estimand is None or SEVERITY not in estimand.roles:
            raise ContractError(f"{name} cannot go by severity: no estimand names its column; declare a severity scale")
        column = estimand.roles[SEVERITY]
    require_columns(name, table, [column])
    if part == ANSWER:
        return column
    if table[column].isna().any():
        raise ContractError(f"{name}: column '{column}' is empty in {int(table[column].isna().sum())} rows; fill them")
    if is_quantity(table, column):
        raise ContractError(f"{name} needs levels, but column '{column}' is a quantity; cut it into levels first")
    return column


def learn_groups(
    name: str, parts: Sequence[str], table: pd.DataFrame, estimand: Estimand | None, smallest: int
) -> dict[str, Any]:
    """Learn the groups of training rows.

    Args:
        name: of the adjuster, for what it refuses.
        parts: what makes a group.
        smallest: groups of fewer rows are merged.

    Returns:
        JSON-able: ``columns`` (one per part), ``keys`` (a list of the parts' values per group, sorted), ``rows`` (of
        each group) and ``merged`` (the combinations that were too rare).

    Raises ContractError for a missing column, and where all rows are in one group.
    """
    if len(set(parts)) < len(parts) or not all(parts):
        raise ContractError(f"{name}'s groups are different columns joined by '-', not '{'-'.join(parts)}'")
    columns = [role_column(name, part, table, estimand) for part in parts]
    keys = _keys(table, columns)
    merged: set[_Key] = set()
    for step in _wider(columns):
        rare = {key for key, rows in Counter(keys).items() if rows < smallest}
        merged |= {key for key in rare if ANY not in key}
        keys = [step(key) if key in rare else key for key in keys]
    counts = Counter(keys)
    if len(counts) < 2:
        raise ContractError(f"{name}: all {len(table)} rows are in one group of {'-'.join(parts)}; choose other groups")
    order = sorted(counts)
    return {
        "columns": columns,
        "keys": [list(key) for key in order],
        "rows": [int(counts[key]) for key in order],
        "merged": [list(key) for key in sorted(merged)],
    }


def group_codes(groups: Mapping[str, Any], table: pd.DataFrame, name: str) -> np.ndarray:
    """(rows,) int64 position in ``groups["keys"]``; -1 for a row in none. ContractError for a missing column."""
    columns = groups["columns"]
    require_columns(name, table, columns)
    place = {tuple(key): code for code, key in enumerate(groups["keys"])}
    narrowed, all_rare = _wider(columns)
    known: dict[_Key, int] = {}

    def code(key: _Key) -> int:
        if key not in known:
            known[key] = place.get(key, place.get(narrowed(key), place.get(all_rare(key), -1)))
        return known[key]

    return np.array([code(key) for key in _keys(table, columns)], dtype=np.int64)


def inverse_frequency(codes: np.ndarray, groups: int) -> np.ndarray:
    """(rows,) float64 weights, mean one, under which all groups that occur count the same. Rows in no group: zero.

    ContractError where no row is in a group.
    """
    counts = np.bincount(codes[codes >= 0], minlength=groups)
    if not counts.any():
        raise ContractError(f"none of these {len(codes)} rows is in a group seen in training; look at their columns")
    weights = np.where(codes >= 0, 1.0 / np.maximum(counts, 1)[codes], 0.0)
    return np.asarray(weights / weights.mean(), dtype=np.float64)


class GroupAdjuster(Adjuster):
    """What strategies with groups have in common: the options ``groups`` and ``smallest``, and ``groups_``."""

    name: ClassVar[str]
    groups: str
    smallest: int
    groups_: dict[str, Any]

    def require(self, table: pd.DataFrame, estimand: Estimand | None) -> None:
        """The treatment's column is enough: without an estimand it is ``style``."""
        if estimand is not None:
            super().require(table, estimand)
        elif not len(table):
            raise ContractError(f"{self.name} was given a table without rows; choose a split that has items")

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        self.groups_ = learn_groups(self.name, self.groups.split("-"), table, estimand, self.smallest)
        return self

    def check_groups(self) -> None:
        """ContractError for options that no table could serve."""
        if not isinstance(self.smallest, int) or self.smallest < 1:
            raise ContractError(f"{self.name}'s smallest is a number of rows, at least 1, not {self.smallest}")
        if not isinstance(self.groups, str) or not self.groups:
            raise ContractError(f"{self.name}'s groups are columns joined by '-', such as answer-style")

    def codes(self, table: pd.DataFrame) -> np.ndarray:
        """(rows,) int64 group of each row, -1 = none."""
        return group_codes(self.groups_, table, self.name)


def _keys(table: pd.DataFrame, columns: Sequence[str]) -> list[_Key]:
    text = [
        ["|".join(sorted(map(str, answer))) for answer in table[column]]
        if column == ANSWER
        else table[column].astype(str).tolist()
        for column in columns
    ]
    return list(zip(*text, strict=True))


def _wider(columns: Sequence[str]) -> tuple[Callable[[_Key], _Key], Callable[[_Key], _Key]]:
    """Key -> key of the wider group that a rare one goes to: without its answer, and then of all that is rare."""
    answer = [column == ANSWER for column in columns]

    def without_answer(key: _Key) -> _Key:
        return tuple(ANY if drop else value for value, drop in zip(key, answer, strict=True))

    def all_rare(key: _Key) -> _Key:
        return (ANY,) * len(key)

    return without_answer, all_rare
