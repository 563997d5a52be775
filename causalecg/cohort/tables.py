"""CSV tables of other people, row by row: one broken row costs that row, not the table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from causalecg.errors import InputError

#: A quoted field may run over so many lines; past that, its quote was never closed.
_LONGEST_ROW = 20


@dataclass(frozen=True)
class Rows:
    """``good``: (line, {column: text}) per row; ``bad``: (line, reason) of the others."""

    good: list[tuple[int, dict[str, str]]]
    bad: list[tuple[int, str]]


def read_rows(path: Path, needed: Sequence[str]) -> Rows:
    """Rows of a CSV file with a header, as text.

    A row with too many or too few fields, an unclosed quote, or bytes that are not UTF-8 is bad; reading goes on at
    the next line. Raises InputError where the file is empty or lacks a needed column.
    """
    lines = path.read_bytes().decode("utf-8-sig", errors="surrogateescape").split("\n")
    header, at = _row(lines, 0) if lines[0].strip() else (None, 1)
    if header is None:
        raise InputError(f"{path} has no header row; put the original file in its place")
    missing = [name for name in needed if name not in header]
    if missing:
        raise InputError(f"{path} lacks the column(s) {', '.join(missing)}; put the original file in its place")
    good: list[tuple[int, dict[str, str]]] = []
    bad: list[tuple[int, str]] = []
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        fields, after = _row(lines, at)
        reason = _reason(fields, len(header))
        if reason is None and fields is not None:
            good.append((at + 1, dict(zip(header, fields, strict=True))))
            at = after
        else:
            bad.append((at + 1, str(reason)))
            at += 1
    return Rows(good, bad)


def _row(lines: list[str], at: int) -> tuple[list[str] | None, int]:
    """Fields of the row that starts at a line, and the line after it; ``None`` where a quote is never closed."""
    text = ""
    for after in range(at, min(at + _LONGEST_ROW, len(lines))):
        text += lines[after].rstrip("\r") + "\n"
        if text.count('"') % 2 == 0:
            try:
                return next(csv.reader(text.splitlines(keepends=True))), after + 1
            except csv.Error:
                return None, after + 1
    return None, at + 1


def _reason(fields: list[str] | None, wanted: int) -> str | None:
    if fields is None:
        return "a quote is not closed, or a field is too long"
    if len(fields) != wanted:
        return f"{len(fields)} fields instead of {wanted}"
    if any("\ud800" <= character <= "\udfff" for field in fields for character in field):
        return "not UTF-8"
    return None
