"""Answers about an ECG that is not there."""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, described, difference
from causalecg.audits.interventions import NO_ECG
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters


def mirage(look: Look) -> Finding:
    """Mirage score: accuracy without the ECG over accuracy with it. Mirage rate: the share of questions without an ECG
    that are answered without saying that there is none. MG = accuracy with less without the ECG; ML = what the model
    gains without the ECG over a question-only run, at least zero.

    Judged is how much more often the blind model is right than the majority answer: with the finding invisible there is
    nothing else to know, unless the wording gives the answer away. One that never looks at the ECG passes: where it is
    not clearly better with the ECG the note says so. "Answerable blind" are the items that any run of the
    table answers rightly without the ECG; accuracy on the others is given.

    Source: arXiv 2603.21687 (mirage score, B-clean subset); MMStar (Chen et al. 2024) for MG and ML.
    """
    outcomes = look.outcomes
    asked = look.together("intact", NO_ECG)
    intact, blind = look.answers("intact"), look.answers(NO_ECG)
    rows_asked = outcomes.rows(look.run_id, NO_ECG)
    spoke = np.full(len(outcomes.items), np.nan)
    spoke[outcomes.places(rows_asked)] = (rows_asked["status"] == "answered").to_numpy(dtype=np.float64)
    majority = outcomes.majority()
    known = np.zeros(len(outcomes.items), dtype=bool)
    for run in outcomes.score_set.runs:
        if outcomes.has(run, NO_ECG):
            known |= np.nan_to_num(outcomes.answers(run, NO_ECG).correct) == 1
    hard = np.where(known, np.nan, intact.correct)
    columns = [intact.correct, blind.correct, majority, spoke, hard]
    words = look.companion(NO_ECG, "question_only")
    if words is not None:
        there = words.intact.asked
        columns += [np.where(there, blind.correct, np.nan), np.where(there, words.intact.correct, np.nan)]
    stacked = np.stack(columns, axis=1)[asked]
    boot = look.bootstrap(asked)
    means = boot.means(stacked)
    excess = means.interval(difference(1, 2))
    gain = means.interval(difference(0, 1))
    rows = [
        described(
            "accuracy without the ECG over accuracy with it (mirage score)",
            means.interval(lambda m: m[..., 1] / m[..., 0]),
        ),
        described("answered without saying that there is no ECG (mirage rate)", means.share(3)),
        described("accuracy with the ECG", means.share(0)),
        described("accuracy without the ECG", means.share(1)),
        described("the same, less the majority answer's", excess),
        described("gain by the ECG (MG)", gain),
        described(f"accuracy on the {int((asked & ~known).sum())} items nobody answers blind", means.share(4)),
    ]
    if words is not None:
        leak = means.interval(lambda m: np.maximum(m[..., 5] - m[..., 6], 0.0))
        rows.append(described(f"leak: more than the {words.label} without the ECG (ML)", leak))
    ignores = "It is not clearly better with the ECG than without: a pass does not say that it reads the ECG. "
    return Finding(
        means.interval(lambda m: m[..., 1] / m[..., 0]),
        f"without the ECG right less than {NEGLIGIBLE} more often than the majority answer",
        below(excess, NEGLIGIBLE, boot),
        rows,
        few_clusters(boot) + ("" if gain.low > NEGLIGIBLE else ignores),
        look.paired_p(difference(1, 2), stacked, boot, means),
    )


AUDIT = Audit(
    "mirage",
    "Without any ECG, is it still right, and does it answer as if there were one?",
    "mirage score",
    "accuracy and answers without any ECG, against what the majority answer earns",
    ("intact", NO_ECG),
    mirage,
)
