"""From intervals to verdicts: pass only if the interval clears the threshold, fail only if it excludes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from causalecg.audits.result import AuditResult, Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS, ClusterBootstrap
from causalecg.audits.statistics.means import Interval

if TYPE_CHECKING:
    from causalecg.audits.outcomes import Answers

#: Audits on which the overall verdict depends, whichever were chosen.
REQUIRED = ("accuracy", "follow_rate", "adversarial_wording")
#: Share of what a sound reader of the ECG would show, below which a model leans on something else.
RELIANCE = 0.85
#: Effects below it are none.
NEGLIGIBLE = 0.05


def above(interval: Interval, threshold: float, boot: ClusterBootstrap) -> Verdict:
    """Pass when the interval lies above the threshold, fail when below, else inconclusive."""
    if not np.isfinite(interval.low):
        return "not assessed"
    if boot.clusters < MINIMUM_CLUSTERS:
        return "inconclusive"
    if interval.low > threshold:
        return "pass"
    return "fail" if interval.high < threshold else "inconclusive"


def below(interval: Interval, threshold: float, boot: ClusterBootstrap) -> Verdict:
    """The same the other way round."""
    mirrored = Interval(-interval.estimate, -interval.high, -interval.low)
    return above(mirrored, -threshold, boot)


def share_verdict(excess: Interval, due: Interval, contrast: Interval, boot: ClusterBootstrap) -> Verdict:
    """Is ``excess`` at least the demanded share of ``due`` (``contrast`` = excess - share x due)?

    Fail when the contrast is below zero, or the excess is negligible. Pass needs a ``due`` that is not negligible: a
    share of nothing shows nothing.
    """
    if not np.isfinite(contrast.low):
        return "not assessed"
    if boot.clusters < MINIMUM_CLUSTERS:
        return "inconclusive"
    if contrast.high < 0 or excess.high < NEGLIGIBLE:
        return "fail"
    return "pass" if contrast.low > 0 and due.low > NEGLIGIBLE and excess.low > NEGLIGIBLE else "inconclusive"


def few_clusters(boot: ClusterBootstrap) -> str:
    if boot.clusters >= MINIMUM_CLUSTERS:
        return ""
    who = f"{boot.own} patients" if boot.own < MINIMUM_CLUSTERS else f"{boot.donors} donor patients"
    return f"Only {who}: too few for an interval to be trusted, so there is no verdict. "


def unknown_donors(swapped: Answers, asked: np.ndarray) -> str:
    """A sentence on items whose donor is not named, so that it cannot be resampled."""
    unknown = int((swapped.donors[asked] < 0).all(1).sum())
    if not unknown:
        return ""
    return (
        f" The donors of {unknown} items are not named (donor_patient_id, or donor_ecg_ids of items in the table): "
        "only the items' own patients are resampled there, and where few donors serve many items the interval is too "
        "narrow."
    )


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Fail before not assessed before inconclusive before pass; not assessed when there is none."""
    found = set(verdicts)
    order: tuple[Verdict, ...] = ("fail", "not assessed", "inconclusive", "pass")
    return next((verdict for verdict in order if verdict in found), "not assessed")


def overall(results: Iterable[AuditResult]) -> Verdict:
    """Of one run: the worst verdict of :data:`REQUIRED`, of which one that was not made is not assessed."""
    found = {result.name: result.verdict for result in results}
    return worst([found.get(name, "not assessed") for name in REQUIRED])
