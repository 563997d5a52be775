"""Is it right, and is it right more often than somebody who never saw an ECG?"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from causalecg.audits.bootstrap import REPLICATES, Interval
from causalecg.audits.mcnemar import mcnemar
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.result import AuditResult, above, few_clusters, not_assessed
from causalecg.audits.score_set import ScoreSet

QUESTION = "Is it right more often than the most frequent answer to each kind of question?"
BASELINE_ROLES = ("question_only", "ecg_only", "unadjusted", "oracle", "reference")


def accuracy(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """Exact-match accuracy beside the per-template majority answer and every run that plays a baseline's role.

    Each of these is compared on the items that both were asked.
    """
    if not outcomes.has(run_id, "intact"):
        return not_assessed("accuracy", QUESTION, run_id, "accuracy", "there are no intact answers", required=True)
    mine = outcomes.answers(run_id, "intact")
    asked = mine.asked
    others = [("majority answer per template", asked, outcomes.majority())]
    for name in outcomes.score_set.of_role(*BASELINE_ROLES):
        if name != run_id and outcomes.has(name, "intact"):
            theirs = outcomes.answers(name, "intact")
            if (asked & theirs.asked).any():
                others.append((name, asked & theirs.asked, theirs.correct))
    sides = [("", asked, mine.correct)]
    for name, both, correct in others:
        sides += [(name, both, np.where(both, correct, np.nan)), (name, both, np.where(both, mine.correct, np.nan))]
    stacked = np.stack([column for _, _, column in sides], axis=1)[asked]
    weights = np.stack([outcomes.balance_weights(both) for _, both, _ in sides], axis=1)[asked]
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
    estimate, drawn = boot.means(stacked)
    balanced = boot.means(stacked, weights)
    rows = []
    for i, (name, both, _) in [(0, (run_id, asked, None)), *((1 + 2 * k, other) for k, other in enumerate(others))]:
        plain, even = (boot.proportion(i, *pair) for pair in ((estimate, drawn), balanced))
        rows.append(_row(name, int(both.sum()), plain, even, boot.interval(_gain(i), estimate, drawn) if i else None))
    gain = boot.interval(_gain(1), estimate, drawn)
    own = boot.proportion(0, estimate, drawn)
    test = mcnemar(stacked[:, 0] == 1, stacked[:, 1] == 1)
    silent = int((asked & (mine.code < 0)).sum())
    return AuditResult.of(
        "accuracy",
        QUESTION,
        run_id,
        f"accuracy on {outcomes.split}",
        own,
        threshold="more than the majority answer's accuracy",
        verdict=above(gain, 0.0, boot),
        rows=rows,
        note=few_clusters(boot)
        + f"{int(asked.sum())} items, {boot.own} patients"
        + (", two patients to an item" if boot.dyadic else "")
        + (f"; {silent} items without an answer count as wrong" if silent else "")
        + f"; McNemar against the majority answer: mid-p {test.mid_p:.3g}, exact {test.exact:.3g}.",
        required=True,
        p_value=test.mid_p,
    )


def accuracy_by_split(
    score_set: ScoreSet, runs: Iterable[str], *, seed: int, replicates: int = REPLICATES
) -> dict[str, dict[str, Interval]]:
    """run -> split -> accuracy, on every split on which the run has intact answers."""
    found: dict[str, dict[str, Interval]] = {name: {} for name in runs}
    for split in score_set.splits():
        outcomes = Outcomes(score_set, split)
        for name, splits in found.items():
            if outcomes.has(name, "intact"):
                mine = outcomes.answers(name, "intact")
                boot = outcomes.bootstrap(mine.asked, seed=seed, replicates=replicates)
                splits[split] = boot.proportion(0, *boot.means(mine.correct[mine.asked]))
    return found


def _gain(column: int) -> Callable[[np.ndarray], np.ndarray]:
    """The run's own accuracy on the shared items, in the column after the other's, less the other's."""
    return lambda means: means[..., column + 1] - means[..., column]


def _row(name: str, items: int, plain: Interval, even: Interval, less: Interval | None) -> dict[str, object]:
    return {
        "who": name,
        "items": items,
        "accuracy": plain.estimate,
        "low": plain.low,
        "high": plain.high,
        "answer_balanced": even.estimate,
        "balanced_low": even.low,
        "balanced_high": even.high,
        "gain": None if less is None else less.estimate,
        "gain_low": None if less is None else less.low,
        "gain_high": None if less is None else less.high,
    }
