"""Accuracy by severity, and the group that fares worst, with limits that hold for all groups at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.statistics.means import UNKNOWN, Interval, Means
from causalecg.audits.verdicts import NEGLIGIBLE, few_clusters

#: Smaller groups are counted, not judged.
SMALLEST = 30


def severity_groups(look: Look) -> Finding:
    """In every severity group: accuracy, and, the true answers of a question weighing the same within the group, how
    much more it is than that of the majority answer per template. Weighed otherwise, nobody would beat "no" among the
    healthy: there severity all but gives the answer, and who goes by severity, or by a wording that goes with it, is
    right nearly always.

    Simultaneous limits by the maximum of the studentised deviations over the groups, each replicate of the bootstrap.
    A group where fewer than 20 patients have another answer than the commonest is described, not judged.

    Source: Romano & Wolf 2005 (max-t); Hall 1992, section 4.2 for its use with the bootstrap.
    """
    outcomes = look.outcomes
    level = _levels(outcomes.items)
    if level is None:
        raise NotAssessed("the items have no severity")
    mine = look.answers("intact")
    asked = mine.asked & level.notna().to_numpy()
    sizes = level[asked].value_counts()
    groups = [group for group in sorted(sizes.index, key=str) if sizes[group] >= SMALLEST]
    if len(groups) < 2:
        raise NotAssessed(f"fewer than two severity groups have {SMALLEST} items")
    members = [asked & (level == group).to_numpy() for group in groups]
    weights = np.sum([outcomes.balance_weights(inside) for inside in members], axis=0)
    rarer = [len(np.unique(outcomes.patients[m & (weights > 0) & ~outcomes.commonest(m)])) for m in members]
    boot = look.bootstrap(asked)
    right = simultaneous(boot.means(_within(mine.correct, members)[asked]))
    judged = [at for at, few in enumerate(rarer) if few >= MINIMUM_CLUSTERS]
    more = [UNKNOWN] * len(groups)
    if judged:
        gains = _within(mine.correct - outcomes.majority(), [members[at] for at in judged])
        for at, found in zip(judged, simultaneous(boot.means(gains[asked], weights[asked])), strict=True):
            more[at] = found
    rows = [
        {
            "severity": str(group),
            "items": int(sizes[group]),
            "accuracy": one.estimate,
            "low": max(one.low, 0.0),
            "high": min(one.high, 1.0),
            "balanced_gain": other.estimate,
            "gain_low": other.low,
            "gain_high": other.high,
            "patients_with_rarer_answer": few,
        }
        for group, one, other, few in zip(groups, right, more, rarer, strict=True)
    ]
    worst = min(right, key=lambda interval: interval.estimate)
    verdict: Verdict = "inconclusive"
    if boot.clusters >= MINIMUM_CLUSTERS:
        if any(interval.high < NEGLIGIBLE for interval in more):
            verdict = "fail"
        elif all(interval.low > 0 for interval in more):
            verdict = "pass"
    small = [f"{group} ({sizes[group]})" for group in sizes.index if sizes[group] < SMALLEST]
    gap = max(r.estimate for r in right) - worst.estimate
    return Finding(
        Interval(worst.estimate, max(worst.low, 0.0), min(worst.high, 1.0)),
        f"answers balanced, in every group right more often than the majority answer; fails below {NEGLIGIBLE}",
        verdict,
        rows,
        few_clusters(boot)
        + f"Limits hold for all groups at once. Largest gap between groups: {gap:.3f}."
        + (f" Too small to judge: {', '.join(small)}." if small else ""),
    )


def _within(values: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """(items, groups) values in the group's column, NaN elsewhere."""
    return np.stack([np.where(inside, values, np.nan) for inside in members], axis=1)


def simultaneous(means: Means) -> list[Interval]:
    """Intervals that cover all column means at once."""
    deviation = means.drawn - means.estimate
    error = np.nanstd(deviation, axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.nanmax(np.abs(deviation) / error, axis=1)
    reach = float(np.nanquantile(largest, means.level)) if np.isfinite(largest).any() else 0.0
    return [
        Interval(float(centre), float(centre - reach * e), float(centre + reach * e))
        for centre, e in zip(means.estimate, error, strict=True)
    ]


def _levels(items: pd.DataFrame) -> pd.Series | None:
    """Severity as the items have it, missing where it is not defined; the first scale where there are several."""
    names = [name for name in items.columns if name.startswith("severity_") and not name.endswith(("_1", "_2"))]
    if not names:
        return None
    level = items[names[0]]
    if pd.api.types.is_numeric_dtype(level):
        level = level.where(level >= 0)
    return level if level.notna().any() else None


AUDIT = Audit(
    "severity_groups",
    "Answers balanced, is it right more often than the majority answer in every severity group?",
    "accuracy of the worst severity group",
    "accuracy by severity, worst group, limits that hold for all groups at once",
    ("intact",),
    severity_groups,
    prefers="test_unbiased",
)
