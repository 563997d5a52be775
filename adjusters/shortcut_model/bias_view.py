"""What a bias model may see of an item: a view of its question, as an integer code per row.

A strategy that goes by such a code finds it in ``Batch.columns``, in training and validation rows. Its placebo then has
the codes dealt to other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
import pandas as pd

from adjusters.checksum_folds import checksum_folds
from adjusters.contract import ContractError

if TYPE_CHECKING:
    from structural_models.estimand import Estimand

BiasView = Literal["style", "template", "type", "question"]
#: Name of the column of codes.
CODE = "bias_view"
_COLUMN = {"style": "style", "template": "template_id", "type": "question_type", "question": "question"}


@dataclass(frozen=True)
class ViewColumns:
    """The column that is the view, and the one within which it is looked at (``None`` = across all items)."""

    view: str
    within: str | None

    @classmethod
    def of(
        cls, name: str, table: pd.DataFrame, estimand: Estimand | None, bias_view: BiasView, by: str | None
    ) -> ViewColumns:
        """By the estimand's roles: its treatment is the style. ``by``: a role or column. ContractError: one is missing
        from ``table``, or empty in some rows."""
        roles = {} if estimand is None else estimand.roles
        view = roles.get("treatment", _COLUMN["style"]) if bias_view == "style" else _COLUMN[bias_view]
        found = cls(view, None if by is None else roles.get(by, by))
        for column in found.all:
            if column not in table.columns:
                hint = "; use by=none to look across all items" if column == found.within else ""
                raise ContractError(f"{name} needs the column '{column}', which the table lacks{hint}")
            if table[column].isna().any():
                raise ContractError(f"{name}: column '{column}' is empty in {int(table[column].isna().sum())} rows")
        return found

    @property
    def all(self) -> tuple[str, ...]:
        return (self.view,) if self.within is None else (self.view, self.within)

    def keys(self, table: pd.DataFrame) -> list[tuple[str, str, str]]:
        """Per row: kind of item, what it is looked at within ("" = nothing), view."""
        within = [""] * len(table) if self.within is None else table[self.within].astype(str).tolist()
        return list(zip(table["kind"].tolist(), within, table[self.view].astype(str).tolist(), strict=True))


@dataclass(frozen=True)
class Codes:
    """Codes of views. Every view has a place, then every topic, for views that training lacked, then one place for all
    else. Each place has ``folds`` codes, one for each fold of patients.

    Attributes:
        views: [kind, topic, view] of those seen in training, sorted.
        folds: of patients, see :func:`adjusters.checksum_folds.checksum_folds`.
    """

    views: Sequence[Sequence[str]]
    folds: int = 1

    @classmethod
    def seen_in(cls, table: pd.DataFrame, columns: ViewColumns, folds: int) -> Codes:
        return cls([list(key) for key in sorted(set(columns.keys(table)))], folds)

    @property
    def topics(self) -> list[tuple[str, str]]:
        """(kind, topic) of the views, sorted."""
        return sorted({(kind, topic) for kind, topic, _ in self.views})

    @property
    def places(self) -> int:
        return len(self.views) + len(self.topics) + 1

    @property
    def texts(self) -> list[str | None]:
        """(places * folds,) the view behind each code, ``None`` where it is not known."""
        names: list[str | None] = [view for _, _, view in self.views]
        names += [None] * (self.places - len(names))
        return [name for name in names for _ in range(self.folds)]

    def folds_of(self, table: pd.DataFrame) -> np.ndarray:
        """(rows,) int64 fold of each row's first patient."""
        return checksum_folds(table, self.folds)

    def places_of(self, table: pd.DataFrame, columns: ViewColumns) -> np.ndarray:
        """(rows,) int64."""
        place = {tuple(key): i for i, key in enumerate(self.views)}
        topic = {key: len(self.views) + i for i, key in enumerate(self.topics)}
        found = [place.get(key, topic.get(key[:2], self.places - 1)) for key in columns.keys(table)]
        return np.array(found, dtype=np.int64)

    def of(self, table: pd.DataFrame, columns: ViewColumns) -> np.ndarray:
        """(rows,) int64 codes."""
        return self.places_of(table, columns) * self.folds + self.folds_of(table)


def checked_view(name: str, bias_view: str) -> BiasView:
    """Raises ContractError for what is no view."""
    if bias_view not in get_args(BiasView):
        raise ContractError(f"{name}'s bias_view is {', '.join(get_args(BiasView))}, not '{bias_view}'")
    return cast(BiasView, bias_view)
