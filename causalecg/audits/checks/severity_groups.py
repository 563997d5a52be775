"""Accuracy by severity, and the group that fares worst, with limits that hold for all groups at once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.statistics.means import Interval, Means
from causalecg.audits.verdicts import few_clusters

#: Smaller groups are counted, not judged.
SMALLEST = 30


def severity_groups(look: Look) -> Finding:
    """In every severity group: accuracy, and how much more it is than that of the majority answer per template.

    Simultaneous limits by the maximum of the studentised deviations over the groups, each replicate of the bootstrap.

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
    gain = mine.correct - outcomes.majority()
    inside = [np.where((level == group).to_numpy(), 1.0, np.nan) for group in groups]
    columns = [values * part for part in inside for values in (mine.correct, gain)]
    boot = look.bootstrap(asked)
    means = boot.means(np.stack(columns, axis=1)[asked])
    right = simultaneous(means, range(0, len(columns), 2))
    more = simultaneous(means, range(1, len(columns), 2))
    rows = [
        {
            "severity": str(group),
            "items": int(sizes[group]),
            "accuracy": one.estimate,
            "low": max(one.low, 0.0),
            "high": min(one.high, 1.0),
            "gain": other.estimate,
            "gain_low": other.low,
            "gain_high": other.high,
        }
        for group, one, other in zip(groups, right, more, strict=True)
    ]
    worst = min(right, key=lambda interval: interval.estimate)
    verdict: Verdict = "inconclusive"
    if boot.clusters >= MINIMUM_CLUSTERS:
        if any(interval.high < 0 for interval in more):
            verdict = "fail"
        elif all(interval.low > 0 for interval in more):
            verdict = "pass"
    small = [f"{group} ({sizes[group]})" for group in sizes.index if sizes[group] < SMALLEST]
    gap = max(r.estimate for r in right) - worst.estimate
    return Finding(
        Interval(worst.estimate, max(worst.low, 0.0), min(worst.high, 1.0)),
        "in every group right more often than the majority answer",
        verdict,
        rows,
        few_clusters(boot)
        + f"Limits hold for all groups at once. Largest gap between groups: {gap:.3f}."
        + (f" Too small to judge: {', '.join(small)}." if small else ""),
    )


def simultaneous(means: Means, columns: range) -> list[Interval]:
    """Intervals that cover all these column means at once."""
    at = list(columns)
    deviation = means.drawn[:, at] - means.estimate[at]
    error = np.nanstd(deviation, axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.nanmax(np.abs(deviation) / error, axis=1)
    reach = float(np.nanquantile(largest, means.level)) if np.isfinite(largest).any() else 0.0
    return [
        Interval(float(means.estimate[i]), float(means.estimate[i] - reach * e), float(means.estimate[i] + reach * e))
        for i, e in zip(at, error, strict=True)
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
    "Is it right more often than the majority answer in every severity group?",
    "accuracy of the worst severity group",
    "accuracy by severity, worst group, limits that hold for all groups at once",
    ("intact",),
    severity_groups,
    prefers="test_unbiased",
)
