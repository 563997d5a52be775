"""Columns that a strategy cannot do without."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from adjusters.errors import ContractError

if TYPE_CHECKING:
    import pandas as pd


def require_columns(name: str, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raises ContractError, one sentence, where ``table`` lacks some of ``columns``.

    Args:
        name: of the adjuster, as it is asked for.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing:
        which = f"column '{missing[0]}'" if len(missing) == 1 else f"columns {', '.join(map(repr, missing))}"
        raise ContractError(f"{name} needs the {which}, which the table lacks; add what is missing to the items table")
