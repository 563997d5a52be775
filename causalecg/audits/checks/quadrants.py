"""Wording-consistent or not, ECG-reliant or not: four quadrants."""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described
from causalecg.audits.interventions import HELD_OUT, OPPOSITE
from causalecg.audits.result import Verdict
from causalecg.audits.verdicts import RELIANCE, few_clusters, share_verdict, unknown_donors

QUADRANTS = (
    "ideal: consistent, reliant",
    "fragile: not consistent, reliant",
    "dangerous: consistent, not reliant",
    "worst: neither",
)


def quadrants(look: Look) -> Finding:
    """An item is consistent when its answer is the same in held-out words, and relies on the ECG when it changes
    under an opposite-answer donor: taking the ECG away would not do, as a sound balanced model then gives a constant
    answer, unchanged on half of the items. The share of ideal items is due at 85 % of the oracle's or reference's.

    Source: the quadrants are those of arXiv 2603.20985, with another definition of reliance.
    """
    asked = look.together("intact", OPPOSITE, HELD_OUT)
    oracle = look.companion(OPPOSITE)
    theirs = None
    if oracle is not None and look.outcomes.has(oracle.run_id, HELD_OUT):
        theirs = Look(look.outcomes, oracle.run_id, look.seed, look.replicates)
        both = asked & theirs.together("intact", OPPOSITE, HELD_OUT)
        if not both.any():
            raise NotAssessed("the oracle shares no item")
        asked = both
    mine, right = _membership(look), look.answers("intact").correct
    columns = [*mine.T, *(mine * right[:, None]).T, (1 - mine[:, 0] - mine[:, 1]) * right]
    if theirs is not None:
        columns += [*_membership(theirs).T]
    swapped = [look.answers(OPPOSITE), *([] if theirs is None else [theirs.answers(OPPOSITE)])]
    boot = look.bootstrap(asked, swapped)
    means = boot.means(np.stack(columns, axis=1)[asked])
    rows = [
        described(
            name,
            means.share(i),
            who=look.run_id,
            accuracy=float(means.estimate[4 + i] / max(means.estimate[i], 1e-300)),
        )
        for i, name in enumerate(QUADRANTS)
    ]
    rows.append(described("right without relying on the ECG", means.share(8), who=look.run_id))
    verdict: Verdict = "not assessed"
    note, whose = "Without an oracle or a reference there is nothing to hold this against. ", "an oracle"
    if theirs is not None and oracle is not None:
        rows += [described(name, means.share(9 + i), who=oracle.label) for i, name in enumerate(QUADRANTS)]
        contrast = means.interval(lambda m: m[..., 0] - RELIANCE * m[..., 9])
        verdict, note, whose = share_verdict(means.share(0), means.share(9), contrast, boot), "", f"the {oracle.label}"
    return Finding(
        means.share(0),
        f"at least {RELIANCE:.0%} of {whose}'s",
        verdict,
        rows,
        few_clusters(boot) + note + unknown_donors(swapped[0], asked).strip(),
    )


def _membership(look: Look) -> np.ndarray:
    """(items, 4) 0 or 1."""
    intact = look.answers("intact").code
    same = (intact == look.answers(HELD_OUT).code).astype(np.float64)
    moves = (intact != look.answers(OPPOSITE).code).astype(np.float64)
    return np.stack([same * moves, (1 - same) * moves, same * (1 - moves), (1 - same) * (1 - moves)], axis=1)


AUDIT = Audit(
    "quadrants",
    "On how many items does the answer stay with the wording and move with the ECG?",
    "consistent and reliant",
    "consistent in other words or not, relying on the ECG or not",
    ("intact", OPPOSITE, HELD_OUT),
    quadrants,
)
