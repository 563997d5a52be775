"""What P(A | do(Q)) would be if severity was recorded wrongly, and how often it must be for a conclusion to tip.

Errors are non-differential: given the true severity, what is recorded depends on nothing else. Then the counts as
recorded are the true ones times the misclassification matrix, and inverting it gives the true ones back. Where that
leaves a negative count, chance or a wrong matrix is at work; the counts of greatest likelihood among those that are not
negative are taken instead, and the share of rows so moved is reported.

Sources: Barron 1977, "The effects of misclassification on the estimation of relative risk" (matrix method); Greenland &
Lash 2008, "Bias analysis"; Dempster, Laird & Rubin 1977 (EM, for the likelihood); Varadhan & Roland 2008 (its leaps).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from structural_models.errors import TableError
from structural_models.json_values import plain
from structural_models.sensitivity.answer_counts import checked_counts

#: rate -> (true level, recorded level) probabilities.
Family = Callable[[float], np.ndarray]
Errors = Literal["uniform", "adjacent"]
#: EM stops here, or column by column where a step moves less than this share of it.
_STEPS = 500
_TOLERANCE = 1e-8
_ROUNDING = 1e-12


def misclassification_matrix(levels: int, rate: float, errors: Errors = "uniform") -> np.ndarray:
    """(true, recorded) probabilities in which every level is recorded wrongly with probability ``rate``.

    Args:
        levels: of severity, two or more.
        errors: "uniform" = as any other level; "adjacent" = as one of the neighbouring levels, both alike.

    Raises TableError for fewer levels, or a rate that no matrix can be inverted at: 1 - 1 / levels and more for
    "uniform", 1/2 and more for "adjacent".
    """
    if levels < 2:
        raise TableError(f"one level cannot be mistaken for another; severity has {levels}")
    bound = {"uniform": 1 - 1 / levels, "adjacent": 0.5}.get(errors)
    if bound is None:
        raise TableError(f"no errors are called '{errors}'; choose uniform or adjacent")
    if not 0 <= rate < bound:
        raise TableError(f"the misclassification rate must lie from 0 to below {bound:g}, not at {rate}")
    apart = np.abs(np.subtract.outer(np.arange(levels), np.arange(levels)))
    wrong = (apart > 0 if errors == "uniform" else apart == 1).astype(np.float64)
    return np.asarray((1 - rate) * np.eye(levels) + rate * wrong / wrong.sum(1, keepdims=True))


@dataclass(frozen=True)
class CorrectedCounts:
    """``counts``: as they would be without error, (held fixed, severities, arms, answers), none negative.
    ``moved``: share of rows that had to be moved for it; 0 = the inverse as it is."""

    counts: np.ndarray
    moved: float


def corrected_counts(counts: np.ndarray, matrix: np.ndarray) -> CorrectedCounts:
    """Counts by true severity.

    Args:
        counts: (held fixed, recorded severities, arms, answers) rows.
        matrix: (true, recorded) severities; every row sums to one, and it can be inverted.

    Raises TableError for counts or a matrix that are none.
    """
    n = checked_counts(counts, axes=4)
    m = _checked_matrix(matrix, n.shape[1])
    exact = np.einsum("tjqa,js->tsqa", n, np.linalg.inv(m))
    short = exact.min(1) < -_ROUNDING * n.sum()
    if not short.any():
        return CorrectedCounts(np.maximum(exact, 0.0), 0.0)
    out = np.maximum(exact, 0.0)
    t, q, a = np.nonzero(short)
    out[t, :, q, a] = _most_likely(n[t, :, q, a], m)
    return CorrectedCounts(out, float(np.abs(out - exact).sum() / 2 / n.sum()))


@dataclass(frozen=True)
class MisclassificationCurve:
    """P(A | do(Q)) over misclassification rates.

    Attributes:
        rates: (rates,).
        risks: (rates, arms, answers) P(A = a | do(Q = q)), standardised to what is held fixed and true severity.
        observed: (arms, answers) P(A = a | Q = q), standardised to what is held fixed alone.
        moved: (rates,) as in :class:`CorrectedCounts`.
        left_out: (rates,) share of rows in strata in which, corrected, some arm does not occur; not standardised to.
    """

    rates: np.ndarray
    risks: np.ndarray
    observed: np.ndarray
    moved: np.ndarray
    left_out: np.ndarray

    def contrast(self, arm: int, other: int, answer: int) -> np.ndarray:
        """(rates,) P(answer | do(arm)) - P(answer | do(other))."""
        return np.asarray(self.risks[:, arm, answer] - self.risks[:, other, answer])

    def bias(self, arm: int, answer: int) -> np.ndarray:
        """(rates,) confounding bias P(answer | arm) - P(answer | do(arm))."""
        return np.asarray(self.observed[arm, answer] - self.risks[:, arm, answer])

    def to_dict(self) -> dict[str, Any]:
        names = ("rates", "risks", "observed", "moved", "left_out")
        cleaned: dict[str, Any] = plain({name: getattr(self, name) for name in names})
        return cleaned


def misclassification_curve(counts: np.ndarray, rates: np.ndarray, family: Family) -> MisclassificationCurve:
    """The curve over ``rates``.

    Args:
        counts: (held fixed, recorded severities, arms, answers) rows. A value of what is held fixed in which some arm
            does not occur is left out throughout.
        rates: (rates,).
        family: rate -> misclassification matrix, e.g. of :func:`misclassification_matrix`.

    Raises TableError for counts or a matrix that are none, or where no value of what is held fixed has every arm.
    """
    n = _with_every_arm(counts)
    grid = np.atleast_1d(np.asarray(rates, dtype=np.float64))
    found = [corrected_counts(n, family(float(rate))) for rate in grid]
    standardised = [_risks(one.counts) for one in found]
    return MisclassificationCurve(
        rates=grid,
        risks=np.stack([risks for risks, _ in standardised]),
        observed=_risks(n.sum(1, keepdims=True))[0],
        moved=np.array([one.moved for one in found]),
        left_out=np.array([left for _, left in standardised]),
    )


def tipping_rate(
    counts: np.ndarray,
    family: Family,
    arm: int,
    answer: int,
    *,
    other: int | None = None,
    most: float,
    points: int = 41,
) -> float | None:
    """The least rate at which a contrast (or, without ``other``, the confounding bias of ``arm``) is zero.

    Args:
        most: no further than this rate.
        points: the curve is followed over so many rates for a change of sign, then solved within.

    Returns None where it keeps its sign; 0.0 where it is zero as recorded. Raises as :func:`misclassification_curve`.
    """
    from scipy.optimize import brentq

    def value(rate: float) -> float:
        curve = misclassification_curve(counts, np.array([rate]), family)
        return float((curve.bias(arm, answer) if other is None else curve.contrast(arm, other, answer))[0])

    grid = np.linspace(0.0, most, points)
    values = [value(float(rate)) for rate in grid]
    if abs(values[0]) <= _ROUNDING:
        return 0.0
    for i in range(1, points):
        if not np.isfinite(values[i]):
            return None
        if values[i - 1] * values[i] <= 0:
            return float(brentq(value, grid[i - 1], grid[i], xtol=1e-12))
    return None


def _checked_matrix(matrix: np.ndarray, levels: int) -> np.ndarray:
    m = np.asarray(matrix, dtype=np.float64)
    if m.shape != (levels, levels) or not (m >= 0).all() or not np.allclose(m.sum(1), 1.0, atol=1e-9):
        raise TableError(
            f"a misclassification matrix of {levels} severities is {levels} x {levels}, at least 0, and every row "
            f"(true severity) sums to one; got shape {m.shape}"
        )
    if np.linalg.cond(m) > 1e10:
        raise TableError("the misclassification matrix cannot be inverted: what is recorded tells too little")
    return m


def _most_likely(recorded: np.ndarray, m: np.ndarray) -> np.ndarray:
    """(columns, levels) counts at least zero, of the same sums, under which ``recorded`` is likeliest."""
    total = recorded.sum(1, keepdims=True)
    if m.shape[0] == 2:
        exact = recorded @ np.linalg.inv(m)
        return np.asarray(np.clip(exact, 0.0, total))
    true = np.broadcast_to(total / len(m), recorded.shape).copy()
    moving = np.flatnonzero(total[:, 0] > 0)
    for _ in range(_STEPS):
        seen, start = recorded[moving], true[moving]
        once = _em_step(start, seen, m)
        twice = _em_step(once, seen, m)
        first, second = once - start, twice - 2 * once + start
        far = np.sqrt(np.square(first).sum(1) / np.maximum(np.square(second).sum(1), 1e-300))[:, None]
        # A share that is once zero would stay so.
        leap = np.maximum(start + 2 * far * first + far**2 * second, 0.01 * twice)
        leap *= total[moving] / leap.sum(1, keepdims=True)
        # Where the leap is for the worse, two plain steps.
        better = _log_likelihood(leap, seen, m) >= _log_likelihood(twice, seen, m)
        true[moving] = np.where(better[:, None], leap, twice)
        moving = moving[np.abs(first).max(1) > _TOLERANCE * total[moving, 0]]
        if not len(moving):
            break
    return true


def _em_step(true: np.ndarray, recorded: np.ndarray, m: np.ndarray) -> np.ndarray:
    image = true @ m
    return np.asarray(true * (np.divide(recorded, image, out=np.zeros_like(recorded), where=image > 0) @ m.T))


def _log_likelihood(true: np.ndarray, recorded: np.ndarray, m: np.ndarray) -> np.ndarray:
    """(columns,); recorded counts of zero add nothing."""
    with np.errstate(divide="ignore"):
        logs = np.log(true @ m)
    return np.asarray(np.where(recorded > 0, recorded * logs, 0.0).sum(1))


def _with_every_arm(counts: np.ndarray) -> np.ndarray:
    n = checked_counts(counts, axes=4)
    whole = (n.sum((1, 3)) > 0).all(-1)
    if not whole.any():
        raise TableError("nowhere do all arms occur with the rest held fixed; there is nothing to standardise to")
    return np.asarray(n[whole])


def _risks(n: np.ndarray) -> tuple[np.ndarray, float]:
    """(arms, answers) risks standardised to (held fixed, severity), and the share of rows in strata without an arm."""
    by_arm = n.sum(-1)
    there = (by_arm > _ROUNDING * n.sum()).all(-1)
    weight = np.where(there, by_arm.sum(-1), 0.0)
    if not weight.any():
        return np.full(n.shape[2:], np.nan), 1.0
    share = np.divide(n, by_arm[..., None], out=np.zeros_like(n), where=by_arm[..., None] > 0)
    risks = np.einsum("ts,tsqa->qa", weight, share) / weight.sum()
    return risks, float(1 - weight.sum() / n.sum())
