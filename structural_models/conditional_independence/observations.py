"""What has been observed of the nodes of a graph: columns of a table, arrays beside it, and whose rows they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from structural_models.errors import TableError
from structural_models.stratified_independence import checked_groups
from structural_models.tabulation import is_quantity, require_rows


@dataclass(frozen=True)
class Observations:
    """Rows to test independences on.

    Attributes:
        table: columns of levels, or of quantities (any float type), without gaps.
        columns: node -> column.
        arrays: node -> (rows, dim) finite numbers, e.g. an embedding of the ECG.
        groups: (rows,) integer patient of each row, or (rows, some) where a row has several; negative = none.
        within: columns of levels held fixed in every test, beside what an independence itself is given.
        untestable: node -> why nothing can be said about it; what is held ``within`` belongs here.

    Raises:
        TableError: no rows, an array or groups that do not fit the rows, or numbers that are not finite.
    """

    table: pd.DataFrame
    columns: Mapping[str, str]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    groups: np.ndarray | None = None
    within: tuple[str, ...] = ()
    untestable: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_rows(self.table)
        for node, values in self.arrays.items():
            if np.ndim(values) != 2 or len(values) != len(self.table) or not np.shape(values)[1]:
                raise TableError(
                    f"the array of '{node}' must be (rows, dim) with {len(self.table)} rows, not of shape "
                    f"{np.shape(values)}"
                )
            if not np.isfinite(values).all():
                raise TableError(f"the array of '{node}' holds numbers that are not finite; drop these rows first")

    @cached_property
    def members(self) -> np.ndarray:
        """(rows, some) patient codes, -1 = none; every row has at least one, a row without a patient its own."""
        rows = len(self.table)
        groups = np.full((rows, 1), -1) if self.groups is None else self.groups
        members = checked_groups(groups, rows)
        alone = (members < 0).all(axis=1)
        members[alone, 0] = members.max(initial=-1) + 1 + np.arange(int(alone.sum()))
        return members

    def why_not(self, nodes: Sequence[str]) -> str | None:
        """Why an independence of these nodes cannot be tested, or None."""
        for node in nodes:
            if node in self.untestable:
                return self.untestable[node]
            if node not in self.arrays and node not in self.columns:
                return f"{node} has no column"
            if node not in self.arrays and self.columns[node] not in self.table.columns:
                return f"{node} has no column: there is no '{self.columns[node]}'"
        return None

    def has_levels(self, node: str) -> bool:
        return node not in self.arrays and not is_quantity(self.table, self.columns[node])
