"""What was estimated of one part of a table: means of every arm, seen and under do, and how they vary together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from structural_models.effects.cells import Part
from structural_models.effects.limits import Limits, drawn_limits, normal_limits

#: What an outcome that is a number is called in tables.
NUMBER = "mean"


@dataclass(frozen=True)
class ArmMeans:
    """Means of one part.

    Attributes:
        part: the cells they are of.
        seen, done: (arms, outcomes) P(outcome | arm), P(outcome | do(arm)); NaN where nothing can be said.
        covariance: (outcomes, 2 arms, 2 arms) of the two, one after the other; or ``None``, and
        draws: (draws, 2, arms, outcomes) of a bootstrap or a posterior.
    """

    part: Part
    seen: np.ndarray
    done: np.ndarray
    covariance: np.ndarray | None
    draws: np.ndarray | None

    @cached_property
    def rows(self) -> np.ndarray:
        """(arms,) rows of each arm."""
        cells = self.part.cells
        return np.bincount(cells.arm, cells.counts, minlength=len(cells.arms))

    @cached_property
    def occurs(self) -> np.ndarray:
        """(arms, outcomes) bool: the answer space of each arm."""
        cells = self.part.cells
        if cells.outcomes is None:
            return np.ones((len(cells.arms), 1), dtype=bool)
        out = np.zeros((len(cells.arms), len(cells.outcomes)), dtype=bool)
        out[cells.arm, cells.value] = True
        return out

    @property
    def outcome_names(self) -> Sequence[object]:
        outcomes = self.part.cells.outcomes
        return [NUMBER] if outcomes is None else list(outcomes.values)

    def limits(self, outcome: int, level: float, *, seen: dict[int, float], done: dict[int, float]) -> Limits:
        """Of a linear combination of means of one outcome; ``seen`` and ``done`` map arms to factors."""
        estimate = sum(f * self.seen[a, outcome] for a, f in seen.items())
        estimate += sum(f * self.done[a, outcome] for a, f in done.items())
        if self.draws is not None:
            drawn = self.draws[..., outcome]
            total = sum((f * drawn[:, 0, a] for a, f in seen.items()), np.zeros(len(drawn)))
            return drawn_limits(total + sum(f * drawn[:, 1, a] for a, f in done.items()), level)
        assert self.covariance is not None
        at = [*seen, *(len(self.done) + arm for arm in done)]
        factors = np.array([*seen.values(), *done.values()])
        block = self.covariance[outcome][np.ix_(at, at)]
        return normal_limits(float(estimate), float(factors @ block @ factors), level)

    def log_ratio_limits(self, outcome: int, level: float, first: int, second: int) -> Limits:
        """Of log P(outcome | do(first)) - log P(outcome | do(second)); by the delta method without draws."""
        a, b = self.done[first, outcome], self.done[second, outcome]
        if not (a > 0 and b > 0):
            return Limits(float("nan"), float("nan"), float("nan"))
        if self.draws is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                drawn = np.log(self.draws[:, 1, first, outcome]) - np.log(self.draws[:, 1, second, outcome])
            return drawn_limits(drawn, level)
        assert self.covariance is not None
        at = [len(self.done) + first, len(self.done) + second]
        factors = np.array([1 / a, -1 / b])
        block = self.covariance[outcome][np.ix_(at, at)]
        return normal_limits(float(np.log(a / b)), float(factors @ block @ factors), level)
