"""How many questions got no answer at all, and which answers were given for which."""

from __future__ import annotations

import numpy as np

from causalecg.audits.answer_confusion import confusion, unparsed_texts
from causalecg.audits.audit import Audit, Finding, Look
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters


def answers(look: Look) -> Finding:
    """The share of intact items without an answer (empty, unparsed, abstained or an error: wrong everywhere), and the
    table of :func:`answer_confusion.confusion`; the note quotes texts that could not be read."""
    outcomes = look.outcomes
    rows = outcomes.rows(look.run_id, "intact")
    at = outcomes.places(rows)
    silent = np.full(len(outcomes.items), np.nan)
    silent[at] = (rows["status"] != "answered").to_numpy(dtype=np.float64)
    asked = np.isfinite(silent)
    boot = look.bootstrap(asked)
    share = boot.means(silent[asked]).share(0)
    counts = rows.loc[rows["status"] != "answered", "status"].value_counts().sort_index()
    said = ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
    quoted = [f"{item}: “{text}”" for item, text in unparsed_texts(outcomes, look.run_id)]
    return Finding(
        share,
        f"less than {NEGLIGIBLE:.0%} of the questions without an answer",
        below(share, NEGLIGIBLE, boot),
        [
            {str(name): value for name, value in row.items()}
            for row in confusion(outcomes, look.run_id).to_dict("records")
        ],
        f"{few_clusters(boot)} Without an answer: {said}, of {int(asked.sum())} items."
        + (f" Texts that could not be read (the first {len(quoted)}): {'; '.join(quoted)}." if quoted else ""),
    )


AUDIT = Audit(
    "answers",
    "How often is there no answer to be read, and which answers are given for which?",
    "questions without an answer",
    "true against given answers; no answer is a class of its own",
    ("intact",),
    answers,
)
