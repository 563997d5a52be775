"""Is it right, and is it right more often than somebody who never saw an ECG?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from causalecg.audits.bootstrap import Interval
from causalecg.audits.mcnemar import mcnemar
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.result import AuditResult, above, few_clusters, not_assessed

QUESTION = "Is it right more often than the most frequent answer to each kind of question?"
BASELINE_ROLES = ("question_only", "ecg_only", "unadjusted", "oracle", "reference")


def accuracy(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """Exact-match accuracy beside the per-template majority answer and every run that plays a baseline's role."""
    if not outcomes.has(run_id, "intact"):
        return not_assessed("accuracy", QUESTION, run_id, "accuracy", "there are no intact answers", required=True)
    mine = outcomes.answers(run_id, "intact")
    others = [
        name for name in outcomes.score_set.of_role(*BASELINE_ROLES) if name != run_id and outcomes.has(name, "intact")
    ]
    asked = mine.asked
    values = [mine.correct, outcomes.majority(), *(outcomes.answers(name, "intact").correct for name in others)]
    stacked = np.stack(values, axis=1)[asked]
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
    estimate, drawn = boot.means(stacked)
    balanced = boot.means(stacked, outcomes.balance_weights(asked)[asked])
    names = [run_id, "majority answer per template", *others]
    rows = []
    for i, name in enumerate(names):
        plain, even = (boot.proportion(i, *pair) for pair in ((estimate, drawn), balanced))
        rows.append(_row(name, plain, even, boot.interval(_gain_over(i), estimate, drawn) if i else None))
    gain = boot.interval(_gain_over(1), estimate, drawn)
    own = boot.proportion(0, estimate, drawn)
    test = mcnemar(stacked[:, 0] == 1, stacked[:, 1] == 1)
    return AuditResult(
        name="accuracy",
        question=QUESTION,
        run_id=run_id,
        estimate=float(estimate[0]),
        interval=(own.low, own.high),
        measure=f"accuracy on {outcomes.split}",
        p_value=test.mid_p,
        threshold="more than the majority answer's accuracy",
        verdict=above(gain, 0.0, boot.clusters),
        required=True,
        table=pd.DataFrame(rows),
        figure={"kind": "forest"},
        note=few_clusters(boot.clusters)
        + f"{int(asked.sum())} items, {boot.clusters} patients"
        + (", two patients to an item" if boot.dyadic else "")
        + f"; McNemar against the majority answer: mid-p {test.mid_p:.3g}, exact {test.exact:.3g}.",
    )


def _gain_over(column: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda means: means[..., 0] - means[..., column]


def _row(name: str, plain: Interval, even: Interval, less: Interval | None) -> dict[str, object]:
    return {
        "who": name,
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
