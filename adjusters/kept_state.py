"""Which state a stage with ``keep_best`` leaves behind."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn


def clearly_lower(before: Tensor, after: Tensor) -> bool:
    """Whether (rows,) losses fell on average by more than two standard errors of the paired difference."""
    fall = (before - after).double()
    return bool(fall.mean() > 2 * fall.std() / len(fall) ** 0.5)


class KeptState:
    """Of a stage with ``keep_best``: the state it began with, until one is clearly better.

    Args:
        objective: in the state that the stage begins with.
        losses: (rows,) validation losses of the state as it is, weighted as the stage's loss is.
    """

    def __init__(self, objective: nn.Module, losses: Callable[[], Tensor]) -> None:
        self._objective, self._losses = objective, losses
        self._began = losses()
        self._lowest = float(self._began.mean())
        self._state = copy.deepcopy(objective.state_dict())

    def look(self) -> None:
        """Keep the state as it is where it is better than all since, and :func:`clearly_lower` than the first."""
        each = self._losses()
        if float(each.mean()) < self._lowest and clearly_lower(self._began, each):
            self._lowest, self._state = float(each.mean()), copy.deepcopy(self._objective.state_dict())

    def put_back(self) -> None:
        self._objective.load_state_dict(self._state)
