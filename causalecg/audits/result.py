"""What an audit says, and the rule by which it says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

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
        p_value: of a test of no effect, where there is one; unadjusted.
        p_adjusted: the same with all audits of the run in view (Benjamini & Hochberg); set by the suite.
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
    p_adjusted: float | None = None

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
            "p_adjusted": _finite(self.p_adjusted),
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
