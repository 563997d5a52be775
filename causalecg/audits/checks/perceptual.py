"""Perceptual score: what exchanging the ECGs between patients costs, as a share of what there is to lose."""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described
from causalecg.audits.interventions import RANDOM
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.verdicts import NEGLIGIBLE, RELIANCE, few_clusters, share_verdict

#: Fewer exchanges leave much of their own chance in the score.
EXCHANGES = 20


def perceptual_score(look: Look) -> Finding:
    """(v - E v_pi) / Z with v the accuracy with the right ECG, v_pi that with another patient's, averaged over
    exchanges, and Z = v (share of the accuracy) or Z = 1 - v(majority) (share of what there is to learn).

    Only the second term is permuted: with both permuted, or a mean divided by the number of items once more, the score
    comes out near zero for every model.

    Source: Gat, Schwartz & Schwing 2021, "Perceptual score", eqs. 3 and 4.
    """
    outcomes = look.outcomes
    numbers = outcomes.draws(look.run_id, RANDOM)
    swapped = [look.answers(RANDOM, draw) for draw in numbers]
    intact = look.answers("intact")
    asked = intact.asked & np.stack([a.asked for a in swapped]).all(0)
    if not asked.any():
        raise NotAssessed(f"no item has an intact answer and one in every draw of {RANDOM}")
    oracle = look.companion(RANDOM)
    columns = [intact.correct, np.mean([a.correct for a in swapped], axis=0), outcomes.majority()]
    if oracle is not None:
        draws = [outcomes.answers(oracle.run_id, RANDOM, d) for d in outcomes.draws(oracle.run_id, RANDOM)]
        theirs = np.nanmean(np.stack([a.correct for a in draws]), axis=0)
        if (asked & np.isfinite(theirs) & oracle.intact.asked).any():
            asked = asked & np.isfinite(theirs) & oracle.intact.asked
            columns += [oracle.intact.correct, theirs]
    stacked = np.stack(columns, axis=1)[asked]
    boot = look.bootstrap(asked, swapped[:1])
    means = boot.means(stacked)

    def score(m: np.ndarray, start: int = 0) -> np.ndarray:
        return (m[..., start] - m[..., start + 1]) / m[..., start]

    headline = means.interval(score)
    per_draw = np.array([a.correct[asked].mean() for a in swapped])
    rows = [
        described("perceptual score, of the accuracy", headline),
        described(
            "perceptual score, of what the majority answer leaves",
            means.interval(lambda m: (m[..., 0] - m[..., 1]) / (1 - m[..., 2])),
        ),
        described("accuracy", means.share(0)),
        described("accuracy with exchanged ECGs", means.share(1)),
    ]
    note = "Without an oracle or a reference only a score near zero is judged. "
    verdict: Verdict = "not assessed"
    if headline.high < NEGLIGIBLE:
        verdict = "fail" if boot.clusters >= MINIMUM_CLUSTERS else "inconclusive"
    if len(columns) == 5 and oracle is not None:
        rows.append(described(f"perceptual score of the {oracle.label}", means.interval(lambda m: score(m, 3))))
        contrast = means.interval(lambda m: score(m) - RELIANCE * score(m, 3))
        verdict, note = share_verdict(headline, means.interval(lambda m: score(m, 3)), contrast, boot), ""
    if len(swapped) > 1:
        error = per_draw.std(ddof=1) / len(swapped) ** 0.5
        note += f"{len(swapped)} exchanges; their own chance adds {error:.4f} (standard error). "
    if len(swapped) < EXCHANGES:
        note += f"At least {EXCHANGES} exchanges are advised ('causalecg score --interventions full')."
    return Finding(
        headline,
        f"at least {RELIANCE:.0%} of the oracle's or reference's; fails below {NEGLIGIBLE}",
        verdict,
        rows,
        few_clusters(boot) + note,
        look.paired_p(lambda m: m[..., 0] - m[..., 1], stacked, boot, means),
    )


AUDIT = Audit(
    "perceptual_score",
    "What share of its accuracy is lost when ECGs are exchanged between patients?",
    "perceptual score",
    "share of the accuracy lost when ECGs are exchanged, over many exchanges",
    ("intact", RANDOM),
    perceptual_score,
    further=True,
    prefers="test_unbiased",
)
