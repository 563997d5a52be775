"""Right or wrong, looking or not: four quadrants."""

from __future__ import annotations

import numpy as np

from causalecg.audits.companions import ORACLES, companion
from causalecg.audits.ecg_reliance import NEGLIGIBLE
from causalecg.audits.interventions import OPPOSITE
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.result import AuditResult, Verdict, below, few_clusters, not_assessed, unknown_donors

QUESTION = (
    "How often is it right without looking: right, with an answer that an opposite patient's ECG does not change?"
)
QUADRANTS = ("right, looks", "right, does not look", "wrong, looks", "wrong, does not look")


def quadrants(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """An item relies on the ECG when its answer changes under an opposite-answer donor. The excess of "right, does not
    look" over the oracle's is what a shortcut earns."""
    why = outcomes.lacks(run_id, OPPOSITE, "intact")
    if why is not None:
        return not_assessed("quadrants", QUESTION, run_id, "right, does not look", why, required=False)
    columns = _columns(outcomes, run_id)
    found = companion(outcomes, run_id, OPPOSITE, *ORACLES)
    oracle = None if found is None else found.run_id
    every = columns if oracle is None else np.concatenate([columns, _columns(outcomes, oracle)], axis=1)
    asked = np.isfinite(every).all(1)
    if not asked.any():
        why = f"no item has both an intact answer and one under {OPPOSITE}"
        return not_assessed("quadrants", QUESTION, run_id, "right, does not look", why, required=False)
    swapped = [outcomes.answers(name, OPPOSITE) for name in (run_id, oracle) if name is not None]
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates, swapped=swapped)
    estimate, drawn = boot.means(every[asked])
    shares = [boot.proportion(i, estimate, drawn) for i in range(every.shape[1])]
    rows = [{"who": run_id, "quadrant": q, **shares[i].as_dict()} for i, q in enumerate(QUADRANTS)]
    headline, note = shares[1], "Without an oracle there is nothing to hold this against. "
    verdict: Verdict = "not assessed"
    if found is not None:
        rows += [{"who": found.label, "quadrant": q, **shares[4 + i].as_dict()} for i, q in enumerate(QUADRANTS)]
        excess = boot.interval(lambda m: m[..., 1] - m[..., 5], estimate, drawn)
        rows.append({"who": f"excess over the {found.label}", "quadrant": QUADRANTS[1], **excess.as_dict()})
        verdict, note = below(excess, NEGLIGIBLE, boot), ""
    return AuditResult.of(
        "quadrants",
        QUESTION,
        run_id,
        f"right without looking on {outcomes.split}",
        headline,
        threshold=f"less than {NEGLIGIBLE} more than the {'oracle' if found is None else found.role}",
        verdict=verdict,
        rows=rows,
        note=few_clusters(boot) + note + unknown_donors(swapped[0], asked).strip(),
    )


def _columns(outcomes: Outcomes, run_id: str) -> np.ndarray:
    intact, swapped = outcomes.answers(run_id, "intact"), outcomes.answers(run_id, OPPOSITE)
    right, looks = intact.correct, (intact.code != swapped.code).astype(np.float64)
    there = np.where(intact.asked & swapped.asked, 1.0, np.nan)
    return (
        np.stack([right * looks, right * (1 - looks), (1 - right) * looks, (1 - right) * (1 - looks)], 1)
        * there[:, None]
    )
