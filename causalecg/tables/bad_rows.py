"""The rows of a table that cannot be understood: all of them, each with what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from causalecg.errors import InputError


@dataclass(frozen=True, order=True)
class BadRow:
    """``row``: from 1, the first below the header; ``says``: what is wrong and what to do, beginning "row N"."""

    row: int
    says: str


class BadRows:
    """Bad rows as they are found. ``name``: of the table; ``more``: how the others are found where several are bad."""

    def __init__(self, name: str, more: str = "") -> None:
        self.name, self.more = name, more
        self._found: dict[BadRow, None] = {}

    def note(self, row: int, what: str) -> None:
        """``what``: a sentence after "row N", such as " has no answer; fill it in" or ": item 3 is there twice"."""
        self._found[BadRow(row, f"row {row}{what}")] = None

    def each(self) -> list[BadRow]:
        """In the order of the rows, and of finding within a row."""
        return sorted(self._found, key=lambda bad: bad.row)

    def require_none(self) -> None:
        """InputError that names the first bad row, and how many there are."""
        bad = self.each()
        if not bad:
            return
        count = len({one.row for one in bad})
        more = f" ({count} rows are bad{self.more})" if count > 1 else ""
        raise InputError(f"{self.name}, {bad[0].says}{more}")
