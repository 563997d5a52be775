"""The bar that shows how far training is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def training_bar(title: str, visible: bool) -> Iterator[Callable[[str, int, int, int, int], None]]:
    """Gives a function of (stage name, epoch, epochs, step, steps)."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), disable=not visible
    )
    with bar:
        task = bar.add_task(title, total=None)

        def report(stage: str, epoch: int, epochs: int, step: int, steps: int) -> None:
            named = f"{title}: {stage}, epoch {epoch + 1} of {epochs}"
            bar.update(task, description=named, total=epochs * steps, completed=epoch * steps + step)

        yield report
