"""Of two ECGs, does the answer depend on both, and on which is which?"""

from __future__ import annotations

from causalecg.audits.audit import Audit, Finding, Look, described
from causalecg.audits.interventions import OF_PAIRS
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.verdicts import NEGLIGIBLE, few_clusters, unknown_donors


def both_ecgs(look: Look) -> Finding:
    """Share of answers changed when the first, or the second, of two ECGs is another patient's, and when the two change
    places. A comparison that never changes with one of its ECGs does not compare."""
    first, second, order = OF_PAIRS
    rows, shares, boots, note = [], [], [], ""
    for name, what in ((first, "the first is another patient's"), (second, "the second is another patient's")):
        asked = look.together("intact", name)
        changed = look.answers(name)
        boot = look.bootstrap(asked, [changed])
        share = boot.means((look.answers("intact").code != changed.code).astype(float)[asked]).share(0)
        rows.append(described(f"answers changed: {what}", share, items=int(asked.sum())))
        shares.append(share)
        boots.append(boot)
        note = unknown_donors(changed, asked)
    if look.has(order):
        asked = look.together("intact", order)
        means = look.bootstrap(asked).means(
            (look.answers("intact").code != look.answers(order).code).astype(float)[asked]
        )
        rows.append(described("answers changed: the two in the other order", means.share(0), items=int(asked.sum())))
    least = min(shares, key=lambda share: share.estimate)
    verdict: Verdict = "inconclusive"
    if min(boot.clusters for boot in boots) >= MINIMUM_CLUSTERS:
        if any(share.high < NEGLIGIBLE for share in shares):
            verdict = "fail"
        elif all(share.low > NEGLIGIBLE for share in shares):
            verdict = "pass"
    return Finding(
        least,
        f"either ECG changes more than {NEGLIGIBLE:.0%} of the answers",
        verdict,
        rows,
        few_clusters(boots[0]) + "The smaller of the two shares heads this. " + note,
    )


AUDIT = Audit(
    "both_ecgs",
    "Does a comparison of two ECGs depend on both of them?",
    "answers changed by the less heeded ECG",
    "answers to comparisons changed by the first ECG, the second, and their order",
    ("intact", *OF_PAIRS[:2]),
    both_ecgs,
    further=True,
)
