"""CSV tables of other people, row by row: one broken row costs that row, not the table."""

from __future__ import annotations

import csv
import gzip
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, cast

from causalecg.errors import InputError

#: A quoted field may run over so many lines; past that, its quote was never closed.
_LONGEST_ROW = 20


@dataclass(frozen=True)
class Rows:
    """``good``: (line, {column: text}) per row; ``bad``: (line, reason) of the others."""

    good: list[tuple[int, dict[str, str]]]
    bad: list[tuple[int, str]]


def read_rows(path: Path, needed: Sequence[str]) -> Rows:
    """Rows of a CSV file with a header, as text; see :func:`iterate_rows`."""
    found = Rows([], [])
    for line, row in iterate_rows(path, needed):
        if isinstance(row, str):
            found.bad.append((line, row))
        else:
            found.good.append((line, row))
    return found


def iterate_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | str]]:
    """(line, row) of a CSV file with a header, one at a time; of a bad row the reason.

    A row with too many or too few fields, an unclosed quote, or bytes that are not UTF-8 is bad; reading goes on at
    the next line. Raises InputError where the file is empty or lacks a needed column.
    """
    with _opened(path) as file:
        lines = _Lines(file)
        first = lines.ahead(1)
        header, length = _row(lines) if first and first[0].strip() else (None, 0)
        lines.skip(length)
        if header is None:
            raise InputError(f"{path} has no header row; put the original file in its place")
        missing = [name for name in needed if name not in header]
        if missing:
            raise InputError(f"{path} lacks the column(s) {', '.join(missing)}; put the original file in its place")
        while lines.ahead(1):
            line = lines.number
            if not lines.ahead(1)[0].strip():
                lines.skip(1)
                continue
            fields, length = _row(lines)
            reason = _reason(fields, len(header))
            if reason is None and fields is not None:
                lines.skip(length)
                yield line, dict(zip(header, fields, strict=True))
            else:
                lines.skip(1)
                yield line, str(reason)


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return path.open("rb")


class _Lines:
    """Lines of a file with a look ahead; ``number`` is that of the next one, the first being 1."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = iter(file)
        self._next: deque[str] = deque()
        self.number = 1

    def ahead(self, count: int) -> list[str]:
        """Up to ``count`` lines to come, without their ends."""
        while len(self._next) < count:
            raw = next(self._file, None)
            if raw is None:
                break
            first = self.number == 1 and not self._next
            text = raw.removesuffix(b"\n").decode("utf-8-sig" if first else "utf-8", errors="surrogateescape")
            self._next.append(text)
        return list(islice(self._next, count))

    def skip(self, count: int) -> None:
        for _ in range(count):
            self._next.popleft()
        self.number += count


def _row(lines: _Lines) -> tuple[list[str] | None, int]:
    """Fields of the row that begins at the next line, and how many lines it has; ``None`` where a quote is never
    closed."""
    for count in range(1, _LONGEST_ROW + 1):
        found = lines.ahead(count)
        if len(found) < count:
            break
        text = "".join(line.rstrip("\r") + "\n" for line in found)
        if text.count('"') % 2 == 0:
            try:
                return next(csv.reader(text.splitlines(keepends=True))), count
            except csv.Error:
                return None, count
    return None, 1


def _reason(fields: list[str] | None, wanted: int) -> str | None:
    if fields is None:
        return "a quote is not closed, or a field is too long"
    if len(fields) != wanted:
        return f"{len(fields)} fields instead of {wanted}"
    if any("\ud800" <= character <= "\udfff" for field in fields for character in field):
        return "not UTF-8"
    return None
