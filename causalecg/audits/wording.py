"""Does the answer survive another wording of the same question?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.mcnemar import mcnemar
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.result import AuditResult, below, few_clusters, not_assessed

HELD_OUT = "wording[held_out]"
TOLERATED = 0.05
QUESTION = "Does it stay right when the same question is put in words that training never used?"


def adversarial_wording(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """Loss of accuracy, and share of changed answers, under every rewording that has been scored."""
    scored = [n for n in (HELD_OUT, "wording[style=other]", "wording[seen]") if outcomes.has(run_id, n)]
    if HELD_OUT not in scored or not outcomes.has(run_id, "intact"):
        why = f"there are no answers under {HELD_OUT}"
        return not_assessed("adversarial_wording", QUESTION, run_id, "drop in accuracy", why, required=True)
    intact = outcomes.answers(run_id, "intact")
    rows = []
    for name in scored:
        other = outcomes.answers(run_id, name)
        asked = intact.asked & other.asked
        changed = (intact.code != other.code).astype(np.float64)
        columns = np.stack([intact.correct, other.correct, changed], axis=1)[asked]
        boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
        estimate, drawn = boot.means(columns)
        drop = boot.interval(lambda m: m[..., 0] - m[..., 1], estimate, drawn)
        moved = boot.proportion(2, estimate, drawn)
        test = mcnemar(columns[:, 0] == 1, columns[:, 1] == 1)
        rows.append(
            {
                "wording": name,
                "items": int(asked.sum()),
                "accuracy_intact": float(estimate[0]),
                "accuracy_reworded": float(estimate[1]),
                "drop": drop.estimate,
                "low": drop.low,
                "high": drop.high,
                "answers_changed": moved.estimate,
                "changed_low": moved.low,
                "changed_high": moved.high,
                "mid_p": test.mid_p,
                "exact_p": test.exact,
            }
        )
        if name == HELD_OUT:
            headline, p, clusters = drop, test.mid_p, boot.clusters
    return AuditResult(
        name="adversarial_wording",
        question=QUESTION,
        run_id=run_id,
        estimate=headline.estimate,
        interval=(headline.low, headline.high),
        measure=f"drop in accuracy on {outcomes.split}",
        p_value=p,
        threshold=f"a drop below {TOLERATED}",
        verdict=below(headline, TOLERATED, clusters),
        required=True,
        table=pd.DataFrame(rows),
        figure={"kind": "forest"},
        note=few_clusters(clusters) + "Paired by item; p is McNemar's, mid-p.",
    )
