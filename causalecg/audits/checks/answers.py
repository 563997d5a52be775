"""What was answered to what, and how many questions got no answer at all."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.audit import Audit, Finding, Look
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters

_SHOWN = 12
_TEXTS = 5
_ANSWERED = ("answered",)


def answers(look: Look) -> Finding:
    """Confusion of true and given answers, intact items; what is no answer (empty, unparsed, abstained, an error) is a
    class of its own for each reason, and counts as wrong everywhere."""
    outcomes = look.outcomes
    rows = outcomes.rows(look.run_id, "intact")
    at = outcomes.places(rows)
    true = [_joined(answer) for answer in outcomes.items["answer"].iloc[at]]
    given = [
        _joined(answer) if status in _ANSWERED else f"no answer: {status}"
        for answer, status in zip(rows["answer_given"], rows["status"], strict=True)
    ]
    counts = pd.crosstab(_pooled(true), _pooled(given))
    silent = np.full(len(outcomes.items), np.nan)
    silent[at] = (~rows["status"].isin(_ANSWERED)).to_numpy(dtype=np.float64)
    asked = np.isfinite(silent)
    boot = look.bootstrap(asked)
    share = boot.means(silent[asked]).share(0)
    unparsed = rows[rows["status"] == "unparsed"]
    texts = [] if "text" not in rows.columns else [str(text)[:80] for text in unparsed["text"].dropna().head(_TEXTS)]
    return Finding(
        share,
        f"less than {NEGLIGIBLE:.0%} of the questions without an answer",
        below(share, NEGLIGIBLE, boot),
        [{"true answer": name, **{str(k): int(v) for k, v in row.items()}} for name, row in counts.iterrows()],
        few_clusters(boot) + ("Not understood: " + "; ".join(f"“{text}”" for text in texts) if texts else ""),
    )


def _joined(answer: object) -> str:
    return (
        ", ".join(sorted(map(str, answer))) or "(none)" if isinstance(answer, (list, tuple, np.ndarray)) else "(none)"
    )


def _pooled(values: list[str]) -> pd.Series:
    """The most frequent values, and what is no answer; the rest as one."""
    column = pd.Series(values, dtype=object)
    kept = set(column.value_counts().index[:_SHOWN]) | {v for v in values if v.startswith("no answer: ")}
    return column.where(column.isin(kept), "(other)")


AUDIT = Audit(
    "answers",
    "How many questions get no answer, and which answers are taken for which?",
    "questions without an answer",
    "true against given answers; no answer is a class of its own",
    ("intact",),
    answers,
)
