"""Is it as sure as it is right, and does it stop being sure when the ECG is taken away?"""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described, difference
from causalecg.audits.interventions import NO_ECG
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters

_BINS = 15
#: Errors that may be among the answers given, for the coverage.
_RISK = 0.05


def confidence(look: Look) -> Finding:
    """Confidence = the likeliest candidate's probability (kind one). Without an ECG it should fall to what the majority
    answer earns. Besides: Brier score, debiased calibration error, area under the risk-coverage curve, and the share of
    questions that can be answered with at most 5 % errors, the surest first.

    Source: Kumar, Liang & Ma 2019 (debiased calibration error, squared, equal-mass bins); Geifman & El-Yaniv 2017
    (selective risk); Brier 1950 in the form of the sum over candidates.
    """
    outcomes, run = look.outcomes, look.run_id
    sure, blind = outcomes.confidence(run, "intact"), outcomes.confidence(run, NO_ECG)
    intact = look.answers("intact")
    asked = look.together("intact", NO_ECG) & np.isfinite(sure) & np.isfinite(blind)
    if not asked.any():
        raise NotAssessed("there are no log-likelihoods (kind one)")
    right = intact.correct
    table = outcomes.probabilities(run, "intact")
    truth = np.zeros_like(table)
    place = outcomes.true_place
    truth[np.flatnonzero(place >= 0), place[place >= 0]] = 1.0
    brier = np.nansum((table - truth) ** 2, axis=1)
    columns = np.stack([blind, outcomes.majority(), sure, right, brier], axis=1)[asked]
    boot = look.bootstrap(asked)
    means = boot.means(columns)
    excess = means.interval(difference(0, 1))
    area, coverage = risk_coverage(sure[asked], right[asked])
    rows = [
        described("confidence without the ECG", means.share(0)),
        described("accuracy of the majority answer", means.share(1)),
        described("confidence without the ECG, above that", excess),
        described("confidence with the ECG", means.share(2)),
        described("confidence less accuracy, with the ECG", means.interval(difference(2, 3))),
        described("Brier score", means.interval(lambda m: m[..., 4])),
        {
            "what": f"calibration error, debiased, {_BINS} bins",
            "estimate": calibration_error(sure[asked], right[asked]),
        },
        {"what": "area under the risk-coverage curve", "estimate": area},
        {"what": f"share answered with at most {_RISK:.0%} errors", "estimate": coverage},
    ]
    return Finding(
        excess,
        f"less than {NEGLIGIBLE} above the majority answer's accuracy",
        below(excess, NEGLIGIBLE, boot),
        rows,
        few_clusters(boot) + f"{int(asked.sum())} items with log-likelihoods.",
    )


def risk_coverage(sure: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """(area under the risk-coverage curve, largest coverage with a risk of at most 5 %), the surest answered first.

    Ties in confidence are answered together: their errors are spread evenly over them.
    """
    order = np.argsort(-sure, kind="stable")
    level = np.unique(-sure[order], return_inverse=True)[1]
    wrong = 1 - right[order]
    even = (np.bincount(level, wrong) / np.bincount(level))[level]
    covered = np.arange(1, len(sure) + 1)
    risk = np.cumsum(even) / covered
    last = np.flatnonzero(np.append(np.diff(level) > 0, True))
    able = last[risk[last] <= _RISK]
    return float(risk.mean()), float((able.max() + 1) / len(sure)) if len(able) else 0.0


def calibration_error(sure: np.ndarray, right: np.ndarray, bins: int = _BINS) -> float:
    """Root of the squared calibration error over bins of equal mass, less what chance adds; zero where that is more."""
    parts = [part for part in np.array_split(np.argsort(sure, kind="stable"), bins) if len(part) > 1]
    total = sum(len(part) for part in parts)
    if not total:
        return float("nan")
    squared = 0.0
    for part in parts:
        p = right[part].mean()
        squared += len(part) / total * ((sure[part].mean() - p) ** 2 - p * (1 - p) / (len(part) - 1))
    return float(np.sqrt(max(squared, 0.0)))


AUDIT = Audit(
    "confidence",
    "Without any ECG, is it surer of its answer than the majority answer would be right?",
    "confidence without the ECG, above the majority answer's accuracy,",
    "calibration, selective prediction, and confidence without any ECG",
    ("intact", NO_ECG),
    confidence,
)
