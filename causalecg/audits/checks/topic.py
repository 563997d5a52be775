"""What the topic of the question does to the answer: it may be legitimate, and adjustment must keep it."""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described
from causalecg.audits.checks.style import distance
from causalecg.audits.interventions import OTHER_TOPIC
from causalecg.audits.result import Verdict
from causalecg.audits.verdicts import NEGLIGIBLE, RELIANCE, few_clusters, share_verdict


def topic_effect(look: Look) -> Finding:
    """E|p(. | do T = t', E) - p(. | do T = t, E)| in total variation, for topics with the same candidates.

    An adjuster that erases whatever the question knows erases this too: due is 85 % of the oracle's or reference's.
    """
    mine = distance(look, OTHER_TOPIC)
    asked = look.together("intact", OTHER_TOPIC) & np.isfinite(mine)
    if not asked.any():
        raise NotAssessed("there are no log-likelihoods (kind one)")
    columns, whose = [mine], "an oracle"
    oracle = look.companion(OTHER_TOPIC)
    if oracle is not None:
        theirs = distance(Look(look.outcomes, oracle.run_id, look.seed, look.replicates), OTHER_TOPIC)
        if (asked & np.isfinite(theirs)).any():
            asked, whose = asked & np.isfinite(theirs), f"the {oracle.label}"
            columns.append(theirs)
    boot = look.bootstrap(asked)
    means = boot.means(np.stack(columns, axis=1)[asked])
    effect = means.share(0)
    rows = [described("topic effect", effect, items=int(asked.sum()))]
    verdict: Verdict = "not assessed"
    if len(columns) == 2:
        rows.append(described(f"of {whose}", means.share(1), items=int(asked.sum())))
        contrast = means.interval(lambda m: m[..., 0] - RELIANCE * m[..., 1])
        # Where the topic has no effect there is none to keep.
        if means.share(1).high > NEGLIGIBLE:
            verdict = share_verdict(effect, means.share(1), contrast, boot)
    return Finding(
        effect,
        f"at least {RELIANCE:.0%} of {whose}'s",
        verdict,
        rows,
        few_clusters(boot) + ("" if len(columns) == 2 else "Without an oracle or a reference it is only described."),
    )


AUDIT = Audit(
    "topic_effect",
    "How far does the answer move when the same ECG is asked about another topic?",
    "topic effect",
    "change of the answer's probabilities with the topic, which adjustment must keep",
    ("intact", OTHER_TOPIC),
    topic_effect,
    further=True,
)
