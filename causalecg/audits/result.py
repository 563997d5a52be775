"""What an audit says, and the rule by which it says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from causalecg.audits.bootstrap import MINIMUM_CLUSTERS, ClusterBootstrap, Interval

if TYPE_CHECKING:
    from causalecg.audits.outcomes import Answers

Verdict = Literal["pass", "fail", "inconclusive", "not assessed"]
#: Audits on which the overall verdict depends, whichever were chosen.
REQUIRED = ("accuracy", "follow_rate", "adversarial_wording")
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
    note: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        question: str,
        run_id: str,
        measure: str,
        headline: Interval,
        *,
        threshold: str,
        verdict: Verdict,
        rows: Iterable[Mapping[str, Any]],
        note: str,
        required: bool = False,
        p_value: float | None = None,
    ) -> AuditResult:
        """With the headline's estimate and limits, and a table of ``rows``."""
        limits, table = (headline.low, headline.high), pd.DataFrame(list(rows))
        return cls(
            name,
            question,
            run_id,
            headline.estimate,
            limits,
            measure,
            p_value,
            threshold,
            verdict,
            required,
            table,
            note,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; NaN becomes null."""
        rows = self.table.astype(object).to_dict("records")
        return {
            "name": self.name,
            "question": self.question,
            "run_id": self.run_id,
            "measure": self.measure,
            "estimate": _finite(self.estimate),
            "interval": None if self.interval is None else [_finite(limit) for limit in self.interval],
            "p_value": _finite(self.p_value),
            "threshold": self.threshold,
            "verdict": self.verdict,
            "required": self.required,
            "table": [{key: _finite(value) for key, value in row.items()} for row in rows],
            "note": self.note,
        }


def _finite(value: Any) -> Any:
    if value is None or pd.isna(value):
        return None
    return None if isinstance(value, float) and not np.isfinite(value) else value


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


def not_assessed(name: str, question: str, run_id: str, measure: str, why: str, *, required: bool) -> AuditResult:
    return AuditResult(
        name, question, run_id, float("nan"), None, measure, None, "", "not assessed", required, pd.DataFrame(), why
    )


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
