"""The bar that shows how far scoring is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(title: str, total: int, visible: bool) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many more items are done."""
    shown = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=not visible
    )
    with shown:
        task = shown.add_task(title, total=total)
        yield lambda more: shown.advance(task, more)
