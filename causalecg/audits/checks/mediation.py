"""How much of the answer's log-odds comes from the question alone?"""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described, difference
from causalecg.audits.interventions import NO_ECG, NOTHING, RANDOM, RANDOM_NO_QUESTION
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.means import Interval, Statistic
from causalecg.audits.verdicts import RELIANCE, below, few_clusters

#: Two references for the ECG: none at all, and the population's, a random patient's.
REFERENCES = {"no ECG": (NO_ECG, NOTHING), "a random patient's ECG": (RANDOM, RANDOM_NO_QUESTION)}


def mediation(look: Look) -> Finding:
    """Effects on Y, the log-odds of the true answer, of the question q and the ECG e against none (q*) and a reference
    ECG (e*):

        total effect TE = Y(q, e) - Y(q*, e*)
        the question's direct effect NDE = Y(q, e*) - Y(q*, e*)
        what the ECG adds TIE = TE - NDE = Y(q, e) - Y(q, e*)

    NDE / TE is what the question earns by itself. It may exceed the oracle's or reference's share by less than 15
    points.

    Source: Pearl 2001; for the question of a multimodal model Niu et al. 2021 (CF-VQA), eqs. 5 to 7.
    """
    rows: list[dict[str, object]] = []
    first: tuple[Interval, Verdict, str] | None = None
    boot = None
    for reference, (blind, nothing) in REFERENCES.items():
        needed = ("intact", blind, nothing)
        if look.outcomes.lacks(look.run_id, *needed) is not None:
            continue
        mine = _columns(look, needed)
        oracle = look.companion(blind)
        theirs = None
        if oracle is not None and look.outcomes.lacks(oracle.run_id, *needed) is None:
            theirs = _columns(Look(look.outcomes, oracle.run_id, look.seed, look.replicates), needed)
        every = mine if theirs is None else np.concatenate([mine, theirs], axis=1)
        asked = np.isfinite(every).all(1)
        if not asked.any():
            continue
        boot = look.bootstrap(asked, [look.answers(blind)] if blind == RANDOM else [])
        means = boot.means(every[asked])
        share = means.interval(_share(0))
        rows += [
            described("total effect", means.interval(difference(0, 2)), reference=reference),
            described("direct effect of the question", means.interval(difference(1, 2)), reference=reference),
            described("what the ECG adds", means.interval(difference(0, 1)), reference=reference),
            described("the question's share", share, reference=reference),
        ]
        verdict: Verdict = "not assessed"
        whose = "an oracle"
        if theirs is not None and oracle is not None:
            whose = f"the {oracle.label}"
            excess = means.interval(lambda m: _share(0)(m) - _share(3)(m))
            rows.append(described(f"the same of {whose}", means.interval(_share(3)), reference=reference))
            verdict = below(excess, 1 - RELIANCE, boot)
        if first is None:
            first = (share, verdict, whose)
    if first is None or boot is None:
        raise NotAssessed(
            f"log-likelihoods under {NO_ECG} and {NOTHING}, or {RANDOM} and {RANDOM_NO_QUESTION}, are not there"
        )
    note = "" if first[1] != "not assessed" else "Without an oracle or a reference it is only described. "
    return Finding(
        first[0],
        f"less than {1 - RELIANCE:.2f} above {first[2]}'s",
        first[1],
        rows,
        few_clusters(boot) + note + "On log-odds of the true answer, in natural logarithms.",
    )


def _columns(look: Look, needed: tuple[str, ...]) -> np.ndarray:
    """(items, 3) log-odds Y(q, e), Y(q, e*), Y(q*, e*)."""
    return np.stack([look.outcomes.log_odds(look.run_id, name) for name in needed], axis=1)


def _share(start: int) -> Statistic:
    return lambda m: (m[..., start + 1] - m[..., start + 2]) / (m[..., start] - m[..., start + 2])


AUDIT = Audit(
    "mediation",
    "What share of the answer's log-odds does the question earn without the ECG?",
    "the question's share of the total effect",
    "total and direct effect of the question on log-odds, and what the ECG adds",
    ("intact",),
    mediation,
    further=True,
)
