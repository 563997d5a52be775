"""The association of treatment and outcome left within strata: a standardised risk ratio, and its E-value."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from structural_models.patient_bootstrap import PatientBootstrap
from structural_models.sensitivity.e_values import e_value, e_value_of_limit
from structural_models.sensitivity.risk_ratios import StandardisedRisk, combined_risk, ratio_limits, wilson_limits
from structural_models.treatment_cells import TreatmentCells

_DIGITS = 9


@dataclass(frozen=True)
class RiskRatio:
    """P(outcome | arm) / P(outcome | the other arms), standardised to the strata in which both occur.

    Attributes:
        arm, level: of the contrast.
        crude: the same before adjusting: standardised to ``within`` alone.
        risk, other: of the outcome with the arm and with the others, standardised to severity too.
        adjusted: their ratio.
        low, high: 95 % limits (1 - alpha in general) that hold for all contrasts together (Bonferroni), from the score
            limits of the cells, in which rows count for less by the design effect of the bootstrap over patients. They
            allow for chance in cells without a case too.
        contrasts: among how many it is one.
        e_value: of ``adjusted``.
        e_value_limit: of the limit closer to one.
    """

    arm: object
    level: object
    crude: float
    risk: float
    other: float
    adjusted: float
    low: float
    high: float
    contrasts: int
    e_value: float
    e_value_limit: float

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "arm": str(self.arm), "level": str(self.level)}


def strongest_risk_ratio(
    cells: TreatmentCells, arms: np.ndarray, levels: np.ndarray, bootstrap: PatientBootstrap, *, alpha: float = 0.05
) -> RiskRatio | None:
    """The first of :func:`risk_ratios`, None where there is none."""
    found = risk_ratios(cells, arms, levels, bootstrap, alpha=alpha)
    return found[0] if found else None


def risk_ratios(
    cells: TreatmentCells, arms: np.ndarray, levels: np.ndarray, bootstrap: PatientBootstrap, *, alpha: float = 0.05
) -> tuple[RiskRatio, ...]:
    """Of every arm against the others (of two arms, the second against the first) and every outcome that is frequent.

    Args:
        arms, levels: what the codes of ``cells`` stand for.

    Returns them with the two risks that lie furthest apart first, by their limits; of equal ones, the larger ratio.
    Empty where no stratum has two arms and a frequent outcome.
    """
    from scipy.stats import norm

    contrasts = _Contrasts.of(cells, cells.s)
    counted = contrasts.counted(np.ones(len(cells.f)))
    made = contrasts.occurs(counted)
    if len(arms) == 2:
        made[: len(levels)] = False
    if not made.any():
        return ()
    critical = float(norm.ppf(1 - alpha / (2 * made.sum())))
    effect = _design_effects(contrasts, counted, bootstrap)
    risk, other = contrasts.risks(counted, critical, effect)
    low, high = ratio_limits(risk, other)
    before = _Contrasts.of(cells, cells.t)
    crude = before.risks(before.counted(np.ones(len(cells.f))), critical, np.ones_like(effect))
    # The two outcomes of a binary answer lie equally far apart, but for rounding; the rarer one has the larger ratio.
    evidence = np.round(_distance(risk, other), _DIGITS)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.abs(np.log(risk.estimate) - np.log(other.estimate))
    order = np.lexsort((-logs, -evidence))
    return tuple(
        RiskRatio(
            arm=arms[at // len(levels)],
            level=levels[at % len(levels)],
            crude=_ratio(*crude, at),
            risk=float(risk.estimate[at]),
            other=float(other.estimate[at]),
            adjusted=_ratio(risk, other, at),
            low=float(low[at]),
            high=float(high[at]),
            contrasts=int(made.sum()),
            e_value=e_value(_ratio(risk, other, at)),
            e_value_limit=e_value_of_limit(float(low[at]), float(high[at])),
        )
        for at in order[made[order]]
    )


def _ratio(risk: StandardisedRisk, other: StandardisedRisk, at: int) -> float:
    with np.errstate(divide="ignore"):
        return float(np.divide(risk.estimate[at], other.estimate[at]))


def _distance(risk: StandardisedRisk, other: StandardisedRisk) -> np.ndarray:
    """How far apart two risks lie, in units of the limit of their difference that faces zero (MOVER)."""
    above = np.hypot(risk.estimate - risk.low, other.high - other.estimate)
    below = np.hypot(risk.high - risk.estimate, other.estimate - other.low)
    gap = risk.estimate - other.estimate
    reach = np.where(gap > 0, above, below)
    return np.abs(np.divide(gap, reach, out=np.zeros_like(gap), where=reach > 0))


def _design_effects(contrasts: _Contrasts, counted: _Counted, bootstrap: PatientBootstrap) -> np.ndarray:
    """(contrasts,) variance of the difference of the risks over the bootstrap, per binomial variance; at least one.

    Where no cell shows both cases and others there is no variance to compare: the largest of the other contrasts'.
    """
    plain = contrasts.binomial_variance(counted)
    number, mean, squares = np.zeros(len(plain)), np.zeros(len(plain)), np.zeros(len(plain))
    for weights in bootstrap:
        drawn = contrasts.difference(contrasts.counted(weights))
        there = np.isfinite(drawn)
        number += there
        step = np.where(there, drawn - mean, 0.0)
        mean += np.divide(step, number, out=np.zeros_like(step), where=there)
        squares += step * np.where(there, drawn - mean, 0.0)
    spread = np.divide(squares, number - 1, out=np.zeros_like(squares), where=number > 1)
    effect = np.maximum(np.divide(spread, plain, out=np.zeros_like(plain), where=plain > 0), 1.0)
    return np.where(plain > 0, effect, effect.max(initial=1.0))


@dataclass(frozen=True)
class _Counted:
    """Per cell: rows of the arm and of the others, how many of each have the outcome, and the stratum's weight where
    both occur; per contrast, the weight of all its cells."""

    own: np.ndarray
    own_cases: np.ndarray
    rest: np.ndarray
    rest_cases: np.ndarray
    weight: np.ndarray
    mass: np.ndarray


@dataclass(frozen=True)
class _Contrasts:
    """Every (stratum, arm, frequent outcome) that can occur, and which (arm, outcome) each belongs to."""

    cells: TreatmentCells
    strata: np.ndarray
    kept: np.ndarray
    keys: np.ndarray
    own_cell: np.ndarray
    stratum: np.ndarray
    arm: np.ndarray
    level: np.ndarray
    levels: int
    size: int

    @classmethod
    def of(cls, cells: TreatmentCells, strata: np.ndarray) -> _Contrasts:
        levels, arms, size = int(cells.a.max()) + 1, cells.arms, int(strata.max()) + 1
        kept = np.flatnonzero(cells.frequent)
        # The arms of a stratum's t, and the outcomes frequent there.
        known = np.unique(cells.t[kept] * levels + cells.a[kept])
        of_t = np.zeros((len(cells.by_t), levels), dtype=bool)
        of_t[known // levels, known % levels] = True
        t_of = np.empty(size, dtype=np.int64)
        t_of[strata] = cells.t
        found = np.nonzero((cells.by_t > 0)[t_of][:, :, None] & of_t[t_of][:, None, :])
        stratum, arm, level = (codes.astype(np.int64) for codes in found)
        keys = (stratum * arms + arm) * levels + level
        own_cell = np.searchsorted(keys, (strata[kept] * arms + cells.f[kept]) * levels + cells.a[kept])
        return cls(cells, strata, kept, keys, own_cell, stratum, arm, level, levels, size)

    def counted(self, weights: np.ndarray) -> _Counted:
        """From (rows,) weights."""
        by_arm = self.cells.counts(self.strata, self.size, weights)
        total = by_arm.sum(1)[self.stratum]
        cases = np.bincount(self.own_cell, weights[self.kept], minlength=len(self.keys))
        at = self.stratum * self.levels + self.level
        both = np.bincount(at, cases, minlength=self.size * self.levels)[at]
        own = by_arm[self.stratum, self.arm]
        rest = total - own
        weight = np.where((own > 0) & (rest > 0), total, 0.0)
        mass = self._summed(weight)
        share = np.divide(weight, mass[self._contrast], out=np.zeros_like(weight), where=weight > 0)
        return _Counted(own, cases, rest, np.maximum(both - cases, 0.0), share, mass)

    def occurs(self, counted: _Counted) -> np.ndarray:
        """(contrasts,) bool: is there a case of the outcome in a stratum with both sides?"""
        return np.asarray(self._summed(counted.weight * (counted.own_cases + counted.rest_cases)) > 0)

    def difference(self, counted: _Counted) -> np.ndarray:
        """(contrasts,) of the two standardised risks; NaN where no stratum has both sides."""
        gap = self._summed(counted.weight * (_shares(counted.own_cases, counted.own) - _rest(counted)))
        return np.where(counted.mass > 0, gap, np.nan)

    def binomial_variance(self, counted: _Counted) -> np.ndarray:
        """(contrasts,) of the difference, had every row been drawn for itself."""
        p, q = _shares(counted.own_cases, counted.own), _rest(counted)
        each = _shares(p * (1 - p), counted.own) + _shares(q * (1 - q), counted.rest)
        return self._summed(counted.weight**2 * each)

    def risks(
        self, counted: _Counted, critical: float, effect: np.ndarray
    ) -> tuple[StandardisedRisk, StandardisedRisk]:
        """(contrasts,) risks of the arm and of the others, rows counting as rows / effect."""
        of_cell = effect[self._contrast]
        sides = ((counted.own_cases, counted.own), (counted.rest_cases, counted.rest))
        found = []
        for cases, rows in sides:
            p = _shares(cases, rows)
            low, high = wilson_limits(cases / of_cell, rows / of_cell, critical)
            squared = counted.weight**2
            found.append(
                combined_risk(
                    self._summed(counted.weight * p),
                    self._summed(squared * (p - low) ** 2),
                    self._summed(squared * (high - p) ** 2),
                )
            )
        return found[0], found[1]

    @property
    def _contrast(self) -> np.ndarray:
        return self.arm * self.levels + self.level

    def _summed(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._contrast, values, minlength=self.cells.arms * self.levels)


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _rest(counted: _Counted) -> np.ndarray:
    return _shares(counted.rest_cases, counted.rest)
