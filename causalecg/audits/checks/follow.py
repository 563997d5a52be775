"""Given another patient's ECG, does the model give that patient's answer?"""

from __future__ import annotations

from functools import partial

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, column, counted, described, difference
from causalecg.audits.interventions import OPPOSITE, SAME_SEVERITY
from causalecg.audits.outcomes import Answers
from causalecg.audits.verdicts import RELIANCE, few_clusters, share_verdict, unknown_donors

#: The number that is judged, in the audit's table.
EXCESS = "follow rate above that"


def follow_rate(look: Look, intervention: str) -> Finding:
    """How often the answer is the donor's true answer once the donor's ECG is put in.

    What the model would have answered anyway is taken off: with f the follow rate, b the share of items whose intact
    answer already was the donor's, and a the intact accuracy, a model that answers from the ECG alone has f = a and
    therefore f - b = a - b; one that answers from the question has f = b. Demanded is (f - b) >= 0.85 (a - b), with
    the oracle's f - b in place of a - b where an oracle has been scored on the same items.
    """
    columns, asked, against, swapped = _columns(look, intervention)
    if not asked.any():
        raise NotAssessed(
            f"no item has an intact answer and, under {intervention}, a known answer of the donor (answer_expected)"
        )
    boot = look.bootstrap(asked, swapped)
    means = boot.means(columns[asked])
    excess, due = means.interval(difference(0, 1)), means.interval(column(3))
    contrast = means.interval(lambda m: m[..., 0] - m[..., 1] - RELIANCE * m[..., 3])
    follow = means.share(0)
    return Finding(
        follow,
        f"follow rate, above what it answered anyway, at least {RELIANCE:.0%} of {against}'s",
        share_verdict(excess, due, contrast, boot),
        [
            described("follow rate", follow),
            described("intact answer already the donor's", means.share(1)),
            described("intact accuracy", means.share(2)),
            described(EXCESS, excess),
            described(f"the same of {against}", due),
            described("share", means.interval(lambda m: (m[..., 0] - m[..., 1]) / m[..., 3])),
        ],
        few_clusters(boot)
        + f"{int(asked.sum())} of {len(look.outcomes.items)} items have such a donor; {counted(boot)}."
        + unknown_donors(swapped[0], asked),
        look.paired_p(difference(0, 1), columns[asked], boot, means),
    )


def _columns(look: Look, intervention: str) -> tuple[np.ndarray, np.ndarray, str, list[Answers]]:
    """(items, 4) follows, intact answer is the donor's, intact correct, what is due; who is asked; whose due it is; and
    the answers to swapped ECGs that went in."""
    swapped, intact = look.answers(intervention), look.answers("intact")
    known = np.isfinite(swapped.follows) & intact.asked
    base = np.where(known, intact.code == swapped.expected, np.nan)
    due, against = intact.correct - base, "a reader of the ECG as accurate as itself"
    used = [swapped]
    oracle = look.companion(intervention)
    if oracle is not None:
        theirs = oracle.changed
        shared = known & np.isfinite(theirs.follows) & oracle.intact.asked
        if shared.any():
            due, known = theirs.follows - (oracle.intact.code == theirs.expected), shared
            against = f"the {oracle.label}"
            used.append(theirs)
    return np.stack([swapped.follows, base, intact.correct, due], axis=1), known, against, used


FOLLOW_RATE = Audit(
    "follow_rate",
    "Given the ECG of a patient with the opposite answer, does it give that patient's answer?",
    "follow rate",
    "does the answer follow the ECG of a patient with the opposite answer?",
    ("intact", OPPOSITE),
    partial(follow_rate, intervention=OPPOSITE),
    required=True,
)
SAME = Audit(
    "same_severity",
    "Given another patient's ECG of the same severity but another answer, does it give that patient's answer?",
    "follow rate",
    "does it follow an ECG of the same severity but another answer?",
    ("intact", SAME_SEVERITY),
    partial(follow_rate, intervention=SAME_SEVERITY),
)
