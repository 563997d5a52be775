"""Which patients go to one side of a border, so that given numbers of items of every cell end up there.

An item is on a side where all of its patients are; an item whose patients are on both sides is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_PASSES = 30
#: Shares of the patients that a search starts with on the wanted side, those with the most wanted items first.
_STARTS = (0.0, 0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Sides:
    """``chosen``: (items,) bool, on the wanted side; ``lost``: (items,) bool, on neither."""

    chosen: np.ndarray
    lost: np.ndarray


def choose_patients(
    patients: Sequence[Sequence[str]], cell: np.ndarray, wanted: np.ndarray, *, rng: np.random.Generator
) -> Sides:
    """Choose patients so that about ``wanted[c]`` items of cell c are on the wanted side, and all others off it.

    Patients are moved one by one, in random order, while that lowers the sum over cells of the squared distance of both
    sides from their aims, divided by the cell's items. Where every item has one patient the search starts with nobody
    on the wanted side and usually ends within a few items of the aim; where items have two, moving a patient loses
    items, so several starts are tried and the best is kept.

    Args:
        patients: one or two per item.
        cell: (items,) codes from 0.
        wanted: (cells,) numbers of items.

    Same generator, same choice.
    """
    names = sorted({name for both in patients for name in both})
    code = {name: number for number, name in enumerate(names)}
    members = [tuple({code[name] for name in both}) for both in patients]
    items_of: list[list[int]] = [[] for _ in names]
    for item, both in enumerate(members):
        for patient in both:
            items_of[patient].append(item)
    size = np.bincount(cell, minlength=len(wanted))
    appeal = (wanted / np.maximum(size, 1))[cell]
    liking = np.array([appeal[items].mean() for items in items_of]) + 1e-9 * rng.random(len(names))
    starts = _STARTS if any(len(both) > 1 for both in members) else (0.0,)
    best: tuple[float, np.ndarray] | None = None
    for start in starts:
        side = np.zeros(len(names), dtype=np.int64)
        side[np.argsort(-liking, kind="stable")[: round(start * len(names))]] = 1
        search = _Search(members, items_of, cell.tolist(), wanted.tolist(), size.tolist(), side.tolist())
        search.run(rng)
        cost = search.cost()
        if best is None or cost < best[0]:
            best = cost, np.array(search.side)
    assert best is not None
    side = best[1]
    on = np.array([sum(side[p] for p in both) for both in members])
    whole = np.array([len(both) for both in members])
    return Sides(on == whole, (on > 0) & (on < whole))


class _Search:
    def __init__(
        self,
        members: list[tuple[int, ...]],
        items_of: list[list[int]],
        cell: list[int],
        wanted: list[float],
        size: list[int],
        side: list[int],
    ) -> None:
        self.members, self.items_of, self.cell, self.side = members, items_of, cell, side
        self.weight = [1 / max(n, 1) for n in size]
        #: per cell, what is missing on either side: aim less what is there.
        self.missing = [[n - x for n, x in zip(size, wanted, strict=True)], list(wanted)]
        for item, both in enumerate(members):
            where = self._place(both)
            if where is not None:
                self.missing[where][cell[item]] -= 1

    def _place(self, both: tuple[int, ...]) -> int | None:
        first = self.side[both[0]]
        return first if len(both) == 1 or self.side[both[1]] == first else None

    def cost(self) -> float:
        return sum(w * (a * a + b * b) for w, a, b in zip(self.weight, *self.missing, strict=True))

    def run(self, rng: np.random.Generator) -> None:
        for _ in range(_PASSES):
            moved = 0
            for patient in rng.permutation(len(self.side)).tolist():
                moved += self._move(patient)
            if not moved:
                return

    def _move(self, patient: int) -> bool:
        """Move a patient to the other side if that lowers the cost."""
        here = self.side[patient]
        change: dict[tuple[int, int], int] = {}
        for item in self.items_of[patient]:
            both = self.members[item]
            other = next((p for p in both if p != patient), None)
            cell = self.cell[item]
            for side, more in ((here, -1), (1 - here, 1)):
                if other is None or self.side[other] == side:
                    change[side, cell] = change.get((side, cell), 0) + more
        gain = 0.0
        for (side, cell), more in change.items():
            missing = self.missing[side][cell]
            gain += self.weight[cell] * (missing * missing - (missing - more) ** 2)
        if gain <= 1e-12:
            return False
        self.side[patient] = 1 - here
        for (side, cell), more in change.items():
            self.missing[side][cell] -= more
        return True
