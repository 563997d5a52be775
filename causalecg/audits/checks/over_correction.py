"""Has adjustment overshot? Accuracy where the shortcut is wrong, against where it is right."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.verdicts import NEGLIGIBLE, few_clusters


def over_correction(look: Look) -> Finding:
    """Accuracy on anti-aligned items less accuracy with both kinds weighing the same.

    An item is aligned when its true answer is the one that training gave most often to its question in its style. Below
    zero a shortcut is left; above zero it has been turned round. The oracle's or reference's is taken off where there
    is one: severity that shows in the ECG makes one kind harder for everybody.
    """
    outcomes = look.outcomes
    if "shortcut_answer" not in outcomes.items.columns:
        raise NotAssessed("it is not known what training answered in each style (shortcut_answer)")
    shortcut = outcomes.codes(outcomes.items["shortcut_answer"])
    mine = look.answers("intact")
    asked = mine.asked & (shortcut >= 0) & _undecided(outcomes.items)
    if not asked.any():
        raise NotAssessed("no question was asked in several styles that training answered differently")
    aligned = outcomes.true == shortcut
    columns = [np.where(aligned, mine.correct, np.nan), np.where(aligned, np.nan, mine.correct)]
    oracle = look.companion("intact")
    if oracle is not None and (asked & oracle.intact.asked).any():
        asked = asked & oracle.intact.asked
        theirs = oracle.intact.correct
        columns += [np.where(aligned, theirs, np.nan), np.where(aligned, np.nan, theirs)]
    if not (asked & aligned).any() or not (asked & ~aligned).any():
        raise NotAssessed("all items are of one kind: the shortcut is right on all of them, or on none")
    anti = len(np.unique(outcomes.patients[asked & ~aligned]))
    boot = look.bootstrap(asked)
    means = boot.means(np.stack(columns, axis=1)[asked])
    both = len(columns) == 4

    def gap(m: np.ndarray) -> np.ndarray:
        own = (m[..., 1] - m[..., 0]) / 2
        return own - (m[..., 3] - m[..., 2]) / 2 if both else own

    found = means.interval(gap)
    rows = [
        described("accuracy where the shortcut is right", means.share(0), items=int((asked & aligned).sum())),
        described("accuracy where it is wrong", means.share(1), items=int((asked & ~aligned).sum())),
        described("anti-aligned less unbiased", means.interval(lambda m: (m[..., 1] - m[..., 0]) / 2)),
    ]
    if both and oracle is not None:
        rows.append(described(f"the same of the {oracle.label}", means.interval(lambda m: (m[..., 3] - m[..., 2]) / 2)))
        rows.append(described("difference", found))
    verdict: Verdict = "inconclusive"
    note = ""
    if min(boot.clusters, anti) >= MINIMUM_CLUSTERS:
        if found.high < -NEGLIGIBLE:
            verdict, note = "fail", "A shortcut is left. "
        elif found.low > NEGLIGIBLE:
            verdict, note = "fail", "Over-corrected: right more often where the shortcut is wrong. "
        elif found.low > -NEGLIGIBLE and found.high < NEGLIGIBLE:
            verdict = "pass"
    return Finding(
        found,
        f"within {NEGLIGIBLE} of zero" + (" or of the oracle's" if both else ""),
        verdict,
        rows,
        few_clusters(boot) + note + f"{anti} patients where the shortcut is wrong.",
    )


def _undecided(items: pd.DataFrame) -> np.ndarray:
    """(items,) bool: does the shortcut's answer to the question depend on the style?"""
    answers = items["shortcut_answer"].map(lambda a: None if a is None else "|".join(a), na_action="ignore")
    return (answers.groupby(items["question_id"]).transform("nunique") > 1).to_numpy()


AUDIT = Audit(
    "over_correction",
    "Is it as often right where training's shortcut is wrong as where it is right?",
    "anti-aligned less unbiased accuracy",
    "accuracy where the shortcut is wrong against where it is right",
    ("intact",),
    over_correction,
    prefers="test_unbiased",
)
