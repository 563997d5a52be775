"""What an audit says, and the rule by which it says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from causalecg.audits.bootstrap import MINIMUM_CLUSTERS, Interval

Verdict = Literal["pass", "fail", "inconclusive", "not assessed"]
#: Exit codes of the command line.
EXIT_CODES: dict[str, int] = {"pass": 0, "fail": 1, "inconclusive": 3, "not assessed": 3}


@dataclass(frozen=True)
class AuditResult:
    """One audit of one run.

    Attributes:
        name, question: of the audit; the question in plain words.
        run_id: whom it is about.
        estimate, interval: the headline number and its 95 % limits; NaN and ``None`` when not assessed.
        measure: what the headline number is, e.g. "follow rate".
        p_value: of a paired test, where there is one.
        threshold: what had to be cleared, as a sentence.
        verdict: pass only if the interval clears the threshold, fail only if it excludes it.
        required: whether the overall verdict depends on it.
        table: the numbers behind it.
        figure: {"kind": ..., ...} data a figure can be drawn from; empty = none.
        note: what a reader must know besides.
    """

    name: str
    question: str
    run_id: str
    estimate: float
    interval: tuple[float, float] | None
    measure: str
    p_value: float | None
    threshold: str
    verdict: Verdict
    required: bool
    table: pd.DataFrame
    figure: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; NaN becomes null."""
        rows = self.table.astype(object).to_dict("records")
        return {
            "name": self.name,
            "question": self.question,
            "run_id": self.run_id,
            "measure": self.measure,
            "estimate": self.estimate if np.isfinite(self.estimate) else None,
            "interval": None if self.interval is None else list(self.interval),
            "p_value": self.p_value,
            "threshold": self.threshold,
            "verdict": self.verdict,
            "required": self.required,
            "table": [{key: None if pd.isna(value) else value for key, value in row.items()} for row in rows],
            "note": self.note,
        }


def above(interval: Interval, threshold: float, clusters: int) -> Verdict:
    """Pass when the interval lies above the threshold, fail when below, else inconclusive."""
    if not np.isfinite(interval.low):
        return "not assessed"
    if clusters < MINIMUM_CLUSTERS:
        return "inconclusive"
    if interval.low > threshold:
        return "pass"
    return "fail" if interval.high < threshold else "inconclusive"


def below(interval: Interval, threshold: float, clusters: int) -> Verdict:
    """The same the other way round."""
    mirrored = Interval(-interval.estimate, -interval.high, -interval.low)
    return above(mirrored, -threshold, clusters)


def not_assessed(name: str, question: str, run_id: str, measure: str, why: str, *, required: bool) -> AuditResult:
    return AuditResult(
        name, question, run_id, float("nan"), None, measure, None, "", "not assessed", required, pd.DataFrame(), {}, why
    )


def few_clusters(clusters: int) -> str:
    if clusters >= MINIMUM_CLUSTERS:
        return ""
    return f"Only {clusters} patients: too few for an interval to be trusted, so there is no verdict. "


def overall(results: list[AuditResult]) -> Verdict:
    """Of the required audits: fail when one fails; else the worst of inconclusive and not assessed; else pass."""
    verdicts = {result.verdict for result in results if result.required}
    for verdict in ("fail", "not assessed", "inconclusive"):
        if verdict in verdicts:
            return verdict
    return "pass" if verdicts else "not assessed"
