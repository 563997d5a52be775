"""Are the arms alike in their covariates, before and after weighting, and is every arm possible everywhere?

Convention (that of R's cobalt): a standardised mean difference is divided by the *unweighted* sample's
sqrt(mean over arms of the arm's variance), before and after weighting alike, so that a smaller number means closer
means and never a larger spread. Every level of a covariate counts as an indicator with variance p(1 - p); a quantity
(float column) has the sample variance with n - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from structural_models.errors import TableError
from structural_models.tabulation import coded, distinct_rows, is_quantity, require_rows
from structural_models.weights import checked_weights, effective_sample_size

_ROUNDING = 1e-12
BALANCE_COLUMNS = (
    "covariate",
    "level",
    "smd_before",
    "smd_after",
    "pairwise_smd_before",
    "pairwise_smd_after",
    "variance_ratio_before",
    "variance_ratio_after",
    "worst_arm",
)


def balance_table(
    table: pd.DataFrame,
    treatment: str,
    covariates: Sequence[str],
    weights: np.ndarray | None = None,
    *,
    target: Literal["sample", "weighted"] = "sample",
) -> pd.DataFrame:
    """Standardised mean differences of every covariate level.

    Args:
        weights: (rows,) as used; None leaves the "after" columns NaN.
        target: what arms are compared with after weighting: the whole sample as it is (inverse-probability weights), or
            the whole weighted sample (overlap weights, whose population is another one).

    Returns:
        One row per covariate level ("" for a quantity), in the order given, with

        * smd_before, smd_after: the largest absolute difference between an arm and the target, over the arms;
        * pairwise_smd_before, pairwise_smd_after: the largest difference between two arms;
        * variance_ratio_before, variance_ratio_after: the largest ratio of two arms' variances; NaN for levels;
        * worst_arm: the arm that is furthest from the target (after weighting, where weights are given).

        A difference of constants that vary between arms is infinite.

    Raises:
        TableError: no rows, a column missing or with gaps, weights that are none, or an arm of weight zero.
    """
    require_rows(table)
    arm, arms = coded(table, treatment)
    even = np.ones(len(table))
    after = None if weights is None else checked_weights(weights, len(table))
    if after is not None and (np.bincount(arm, after, minlength=len(arms)) == 0).any():
        raise TableError(f"an arm of '{treatment}' has weight zero throughout; its balance cannot be told")
    records: list[dict[str, object]] = []
    for name in covariates:
        features = _features(table, name, arm, len(arms))
        before = features(even)
        then = dict.fromkeys(before) if after is None else features(after)
        for level, moments in before.items():
            compared = _compare(moments, then[level], target, arms.values)
            records.append({"covariate": name, "level": level, **compared})
    return pd.DataFrame(records, columns=list(BALANCE_COLUMNS))


@dataclass(frozen=True)
class _Moments:
    """Of one feature: (arms,) means and variances, and the mean of all rows."""

    means: np.ndarray
    variances: np.ndarray
    overall: float
    indicator: bool


def _features(
    table: pd.DataFrame, name: str, arm: np.ndarray, arms: int
) -> Callable[[np.ndarray], dict[object, _Moments]]:
    """From weights to the moments of every level of a covariate ("" where it is a quantity)."""
    if is_quantity(table, name):
        values = table[name].to_numpy(dtype=np.float64)
        return lambda weights: {"": _quantity(arm, arms, values, weights)}
    codes, levels = coded(table, name)
    return lambda weights: dict(zip(levels.values, _shares(arm, arms, codes, len(levels), weights), strict=True))


def _quantity(arm: np.ndarray, arms: int, values: np.ndarray, weights: np.ndarray) -> _Moments:
    total = np.bincount(arm, weights, minlength=arms)
    means = np.bincount(arm, weights * values, minlength=arms) / total
    squares = np.bincount(arm, weights * (values - means[arm]) ** 2, minlength=arms)
    # Unbiased for weights of any scale; with equal weights this divides by n - 1.
    freedom = total - np.bincount(arm, weights**2, minlength=arms) / total
    variances = np.divide(squares, freedom, out=np.zeros(arms), where=freedom > 0)
    return _Moments(means, variances, float(np.average(values, weights=weights)), indicator=False)


def _shares(arm: np.ndarray, arms: int, codes: np.ndarray, levels: int, weights: np.ndarray) -> list[_Moments]:
    mass = np.bincount(arm * levels + codes, weights, minlength=arms * levels).reshape(arms, levels)
    share = mass / mass.sum(axis=1, keepdims=True)
    overall = mass.sum(axis=0) / mass.sum()
    return [_Moments(p, p * (1 - p), float(m), indicator=True) for p, m in zip(share.T, overall, strict=True)]


def _compare(
    before: _Moments, after: _Moments | None, target: Literal["sample", "weighted"], arms: np.ndarray
) -> dict[str, object]:
    scale = float(np.sqrt(before.variances.mean()))
    if scale <= _ROUNDING * abs(before.overall):
        scale = 0.0
    distance = np.abs(before.means - before.overall)
    out: dict[str, object] = {
        "smd_before": _standardised(distance.max(), scale),
        "pairwise_smd_before": _standardised(np.ptp(before.means), scale),
        "variance_ratio_before": _variance_ratio(before),
        "smd_after": np.nan,
        "pairwise_smd_after": np.nan,
        "variance_ratio_after": np.nan,
    }
    if after is not None:
        distance = np.abs(after.means - (before.overall if target == "sample" else after.overall))
        out["smd_after"] = _standardised(distance.max(), scale)
        out["pairwise_smd_after"] = _standardised(np.ptp(after.means), scale)
        out["variance_ratio_after"] = _variance_ratio(after)
    out["worst_arm"] = arms[int(distance.argmax())]
    return out


def _standardised(difference: float, scale: float) -> float:
    if scale > 0:
        return float(difference / scale)
    return 0.0 if difference <= _ROUNDING else float("inf")


def _variance_ratio(moments: _Moments) -> float:
    if moments.indicator or moments.variances.min() <= 0:
        return float("nan")
    return float(moments.variances.max() / moments.variances.min())


def arm_summary(table: pd.DataFrame, treatment: str, weights: np.ndarray | None = None) -> pd.DataFrame:
    """Columns arm, rows, weight (sum), ess (Kish), ess_share (of the arm's rows); one row per arm, sorted.

    An arm of weight zero has an effective sample size of zero. Raises TableError as :func:`balance_table`.
    """
    require_rows(table)
    arm, arms = coded(table, treatment)
    w = np.ones(len(table)) if weights is None else checked_weights(weights, len(table))
    w = w / w.max()
    rows, total, squares = (np.bincount(arm, x, minlength=len(arms)) for x in (None, w, w**2))
    ess = np.divide(total**2, squares, out=np.zeros(len(arms)), where=squares > 0)
    scale = 1.0 if weights is None else float(np.max(weights))
    return pd.DataFrame(
        {"arm": arms.values, "rows": rows, "weight": total * scale, "ess": ess, "ess_share": ess / rows}
    )


@dataclass(frozen=True)
class Overlap:
    """Positivity, as far as the sample shows it.

    Attributes:
        min_propensity: smallest share of an arm in a stratum.
        share_below: share of the rows whose stratum has an arm below the threshold.
        threshold: what counts as too rare.
        thin: the (stratum, arm) cells below the threshold: the covariates, then arm, rows, stratum_rows, propensity;
            emptiest first.
        ess_share: (Kish) share of the rows left by stabilised inverse-probability weights.
    """

    min_propensity: float
    share_below: float
    threshold: float
    thin: pd.DataFrame
    ess_share: float

    @property
    def empty(self) -> pd.DataFrame:
        """The cells without a single row: nothing can be weighted there."""
        return self.thin[self.thin["rows"] == 0].reset_index(drop=True)


def overlap_summary(
    table: pd.DataFrame, treatment: str, covariates: Sequence[str], *, threshold: float = 0.01
) -> Overlap:
    """Where some arm (almost) never occurs. Strata are the distinct combinations of the covariates.

    Raises TableError for no rows, or a column that is missing or has gaps.
    """
    require_rows(table)
    arm, arms = coded(table, treatment)
    first, stratum = distinct_rows(table, covariates)
    shape = (len(first), len(arms))
    counts = np.bincount(stratum * shape[1] + arm, minlength=shape[0] * shape[1]).reshape(shape)
    sizes = counts.sum(axis=1)
    share = counts / sizes[:, None]
    at, which = np.nonzero(share < threshold)
    thin = table.iloc[first[at]][list(covariates)].reset_index(drop=True)
    thin = thin.assign(
        arm=arms.values[which], rows=counts[at, which], stratum_rows=sizes[at], propensity=share[at, which]
    )
    weights = (counts.sum(axis=0) / len(table))[arm] / share[stratum, arm]
    return Overlap(
        min_propensity=float(share.min()),
        share_below=float(sizes[(share < threshold).any(axis=1)].sum() / len(table)),
        threshold=threshold,
        thin=thin.sort_values(["propensity", *covariates, "arm"], ignore_index=True),
        ess_share=effective_sample_size(weights) / len(table),
    )
