"""The association of treatment and outcome left within strata: a standardised risk ratio, and its E-value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from structural_models.e_values import e_value, e_value_of_limit
from structural_models.patient_bootstrap import PatientBootstrap
from structural_models.treatment_cells import TreatmentCells

_ROUNDING = 1e-12


@dataclass(frozen=True)
class RiskRatio:
    """P(outcome | arm) / P(outcome | the other arms), standardised to the strata in which both occur.

    Attributes:
        arm, level: of the contrast whose log ratio is the most standard errors from zero, among those whose ratio is
            neither 0 nor infinite, where there are any.
        crude: the same before adjusting: standardised to ``within`` alone.
        adjusted: standardised to severity too.
        low, high: 95 % limits (1 - alpha in general) that hold for all contrasts together (Bonferroni); log-normal with
            the standard error of the bootstrap over patients, which sees no chance in a cell whose few rows agree. NaN
            where the ratio is 0 or infinite.
        contrasts: among how many it is the strongest.
        e_value: of ``adjusted``.
        e_value_limit: of the limit closer to one; NaN where there are no limits.
    """

    arm: object
    level: object
    crude: float
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
    """Over every arm against the others (of two arms, the second against the first) and every outcome that is frequent.

    Args:
        arms, levels: what the codes of ``cells`` stand for.

    Returns None where no stratum has two arms and a frequent outcome.
    """
    from scipy.stats import norm

    adjusted = _log_ratios(cells, cells.s)
    crude = _log_ratios(cells, cells.t)
    logs = adjusted(np.ones(len(cells.f)))
    if len(arms) == 2:
        logs[: len(levels)] = np.nan
    made = np.flatnonzero(~np.isnan(logs))
    if not len(made):
        return None
    error = _standard_errors(adjusted, made, bootstrap)
    finite = np.isfinite(logs[made])
    evidence = np.where(finite, np.abs(logs[made]) / np.maximum(error, _ROUNDING), -1.0)
    at = int(made[int(np.nan_to_num(evidence, nan=-1.0).argmax())])
    log_ratio = float(logs[at])
    low = high = limit = float("nan")
    if np.isfinite(log_ratio):
        reach = float(norm.ppf(1 - alpha / (2 * len(made))) * error[made == at][0])
        if np.isfinite(reach):
            low, high = float(np.exp(log_ratio - reach)), float(np.exp(log_ratio + reach))
            limit = e_value_of_limit(low, high)
    ratio = float(np.exp(log_ratio))
    return RiskRatio(
        arm=arms[at // len(levels)],
        level=levels[at % len(levels)],
        crude=float(np.exp(crude(np.ones(len(cells.f)))[at])),
        adjusted=ratio,
        low=low,
        high=high,
        contrasts=len(made),
        e_value=e_value(ratio),
        e_value_limit=limit,
    )


def _standard_errors(
    ratios: Callable[[np.ndarray], np.ndarray], made: np.ndarray, bootstrap: PatientBootstrap
) -> np.ndarray:
    """(made,) of log ratios, over the replicates in which they are finite; NaN where these are fewer than two."""
    number, mean, squares = np.zeros(len(made)), np.zeros(len(made)), np.zeros(len(made))
    for weights in bootstrap:
        drawn = ratios(weights)[made]
        there = np.isfinite(drawn)
        number += there
        step = np.where(there, drawn - mean, 0.0)
        mean += np.divide(step, number, out=np.zeros_like(step), where=there)
        squares += step * np.where(there, drawn - mean, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(number > 1, np.sqrt(squares / (number - 1)), np.nan))


def _log_ratios(cells: TreatmentCells, strata: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From (rows,) weights to (arms x levels,) log risk ratios, NaN where there is no such contrast."""
    levels, arms, size = int(cells.a.max()) + 1, cells.arms, int(strata.max()) + 1
    kept = np.flatnonzero(cells.frequent)
    # Every (stratum, arm, frequent outcome) that can occur: the arms of a stratum's t, and the outcomes frequent there.
    known = np.unique(cells.t[kept] * levels + cells.a[kept])
    of_t = np.zeros((len(cells.by_t), levels), dtype=bool)
    of_t[known // levels, known % levels] = True
    t_of = np.empty(size, dtype=np.int64)
    t_of[strata] = cells.t
    stratum, arm, level = np.nonzero((cells.by_t > 0)[t_of][:, :, None] & of_t[t_of][:, None, :])
    stratum, arm, level = (codes.astype(np.int64) for codes in (stratum, arm, level))
    keys = (stratum * arms + arm) * levels + level
    own_cell = np.searchsorted(keys, (strata[kept] * arms + cells.f[kept]) * levels + cells.a[kept])
    contrast = arm * levels + level

    def ratios(weights: np.ndarray) -> np.ndarray:
        by_arm = cells.counts(strata, size, weights)
        total = by_arm.sum(1)
        here = np.bincount(own_cell, weights[kept], minlength=len(keys))
        both = np.bincount(stratum * levels + level, here, minlength=size * levels)[stratum * levels + level]
        own = by_arm[stratum, arm]
        rest = total[stratum] - own
        ok = (own > 0) & (rest > 0)
        mass = np.where(ok, total[stratum], 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            risk = np.bincount(contrast, np.where(ok, mass * here / own, 0.0), minlength=arms * levels)
            other = np.bincount(contrast, np.where(ok, mass * (both - here) / rest, 0.0), minlength=arms * levels)
            return np.asarray(np.log(risk) - np.log(np.maximum(other, 0.0)))

    return ratios
