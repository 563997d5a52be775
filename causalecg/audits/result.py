"""What an audit says, and the rule by which it says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from structural_models.json_values import plain

Verdict = Literal["pass", "fail", "inconclusive", "not assessed"]
#: Exit codes of the command line.
EXIT_CODES: dict[str, int] = {"pass": 0, "fail": 1, "inconclusive": 3, "not assessed": 3}


@dataclass(frozen=True)
class AuditResult:
    """One audit of one run.

    Attributes:
        name, question: of the audit; the question in plain words.
        run_id: whom it is about.
        estimate, interval: the headline number and its 95 % limits; NaN and ``None`` where it could not be made.
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
        record = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "table"}
        return plain({**record, "table": self.table.astype(object).to_dict("records")})
