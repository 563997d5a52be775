"""How the accuracy is shared between the ECG and the question, exactly: two players, four evaluations."""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, described
from causalecg.audits.interventions import NO_ECG, NO_QUESTION, NOTHING
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.statistics.means import Statistic
from causalecg.audits.verdicts import NEGLIGIBLE, RELIANCE, few_clusters, share_verdict

_NEEDED = ("intact", NO_ECG, NO_QUESTION, NOTHING)


def shapley(look: Look) -> Finding:
    """phi(ECG) = [(v(E, Q) - v(Q)) + (v(E) - v(0))] / 2 and phi(question) = [(v(E, Q) - v(E)) + (v(Q) - v(0))] / 2,
    v being accuracy; they sum to v(E, Q) - v(0) exactly. The ECG's part is due at 85 % of the oracle's or reference's.

    Source: Shapley 1953.
    """
    asked = look.together(*_NEEDED)
    columns = [look.answers(name).correct for name in _NEEDED]
    oracle = look.companion(NO_ECG)
    if oracle is not None and look.outcomes.lacks(oracle.run_id, *_NEEDED) is None:
        theirs = [look.outcomes.answers(oracle.run_id, name) for name in _NEEDED]
        both = asked & np.stack([a.asked for a in theirs]).all(0)
        if both.any():
            asked = both
            columns += [a.correct for a in theirs]
    boot = look.bootstrap(asked)
    means = boot.means(np.stack(columns, axis=1)[asked])
    ecg = means.interval(_part(0, 1, 2))
    rows = [
        described("the ECG's part", ecg),
        described("the question's part", means.interval(_part(0, 2, 1))),
        described("accuracy with both", means.share(0)),
        described("with the question alone", means.share(1)),
        described("with the ECG alone", means.share(2)),
        described("with neither", means.share(3)),
    ]
    verdict: Verdict = "not assessed"
    note = "Without an oracle or a reference only a part near zero is judged. "
    if ecg.high < NEGLIGIBLE:
        verdict = "fail" if boot.clusters >= MINIMUM_CLUSTERS else "inconclusive"
    if len(columns) == 8 and oracle is not None:
        due = means.interval(_part(4, 5, 6))
        rows.append(described(f"the ECG's part for the {oracle.label}", due))
        contrast = means.interval(lambda m: _part(0, 1, 2)(m) - RELIANCE * _part(4, 5, 6)(m))
        verdict, note = share_verdict(ecg, due, contrast, boot), ""
    return Finding(
        ecg,
        f"at least {RELIANCE:.0%} of the oracle's or reference's; fails below {NEGLIGIBLE}",
        verdict,
        rows,
        few_clusters(boot) + note,
    )


def _part(whole: int, without: int, alone: int) -> Statistic:
    """Of the player that column ``without`` lacks and column ``alone`` has alone; column ``whole`` + 3 has neither."""
    return lambda m: ((m[..., whole] - m[..., without]) + (m[..., alone] - m[..., whole + 3])) / 2


AUDIT = Audit(
    "shapley",
    "How much of its accuracy is the ECG's part, how much the question's?",
    "the ECG's part of the accuracy",
    "accuracy shared between ECG and question, exactly (Shapley)",
    _NEEDED,
    shapley,
    further=True,
    prefers="test_unbiased",
)
