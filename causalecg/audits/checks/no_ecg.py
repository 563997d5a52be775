"""The ECG taken away: does the answer change, and is what remains a question-only model?"""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, described, difference
from causalecg.audits.interventions import NO_ECG
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.statistics.equivalence import equivalence
from causalecg.audits.verdicts import NEGLIGIBLE


def no_ecg(look: Look) -> Finding:
    """How often the answer stays the same when the ECG is taken away.

    No share of it is right or wrong, but a model that never changes its answer does not look. That is judged with the
    true answers of a question weighing the same: where nearly all ECGs are normal, a sound reader, too, hardly ever
    changes its answer. Where a question-only run is there, its accuracy is compared with that of the blind model, by an
    equivalence test: what a model can do without the ECG is what that one does.
    """
    outcomes = look.outcomes
    asked = look.together("intact", NO_ECG)
    intact, without = look.answers("intact"), look.answers(NO_ECG)
    columns = [(intact.code == without.code).astype(float), intact.correct, without.correct]
    words = look.companion(NO_ECG, "question_only")
    if words is not None:
        there = words.intact.asked
        columns += [np.where(there, without.correct, np.nan), np.where(there, words.intact.correct, np.nan)]
    stacked = np.stack(columns, axis=1)[asked]
    boot = look.bootstrap(asked)
    means = boot.means(stacked)
    same = means.share(0)
    even = boot.means(stacked[:, :1], outcomes.balance_weights(asked)[asked]).share(0)
    rows = [
        described("same answer without the ECG", same),
        described("the same, answers balanced", even),
        described("intact accuracy", means.share(1)),
        described("accuracy without the ECG", means.share(2)),
        described("drop", means.interval(difference(1, 2))),
    ]
    note = "A sound model may keep its answer where the ECG is normal; only one that never changes is a failure."
    if words is not None:
        less = means.interval(difference(3, 4))
        rows.append(described(f"accuracy without the ECG less that of the {words.label}", less))
        p = equivalence(less.estimate, means.standard_error(difference(3, 4)), NEGLIGIBLE, boot.clusters - 1)
        note += f" As accurate as the {words.label} to within {NEGLIGIBLE}: p = {p:.3g} (two one-sided tests)."
    rarer = len(np.unique(outcomes.patients[asked & ~outcomes.commonest(asked)]))
    enough = min(rarer, boot.clusters) >= MINIMUM_CLUSTERS
    return Finding(
        same,
        f"fails when, answers balanced, it is the same throughout (above {1 - NEGLIGIBLE:.0%})",
        "fail" if enough and even.low > 1 - NEGLIGIBLE else "not assessed",
        rows,
        note,
        look.paired_p(difference(1, 2), stacked, boot, means),
    )


AUDIT = Audit(
    "no_ecg",
    "Without any ECG, how often does it give the same answer?",
    "same answer",
    "how often the answer stays the same without any ECG",
    ("intact", NO_ECG),
    no_ecg,
)
