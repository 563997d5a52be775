"""The ECG taken away bit by bit: what each way costs in accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, difference
from causalecg.audits.interventions import NO_ECG, OPPOSITE, RANDOM, SAME_SEVERITY, SPOILT
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.statistics.mcnemar import mcnemar
from causalecg.audits.verdicts import NEGLIGIBLE, RELIANCE, few_clusters, share_verdict, worst
from structural_models.multiplicity import holm

RUNGS = (NO_ECG, *SPOILT, RANDOM, SAME_SEVERITY, OPPOSITE)


def ladder(look: Look) -> Finding:
    """Drop in accuracy, intact less changed, for every rung that was asked; a test of whole patients, Holm over the
    rungs, beside McNemar's, which takes items for independent.

    Where an oracle or a reference was asked the same, a rung's drop is due at 85 % of its drop, wherever that is not
    negligible (a spoilt ECG may still show the finding). Without one only a ladder without any drop fails.
    """
    rungs = [name for name in RUNGS if look.has(name)]
    if not rungs:
        raise NotAssessed("there are no answers with a changed ECG")
    made = [_rung(look, name) for name in rungs]
    rows = [row for row, _ in made]
    verdicts = [one for _, one in made if one is not None]
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["holm_p"] = float(p)
    smallest = min(rows, key=lambda row: row["drop"])
    asked = look.together("intact", rungs[0])
    boot = look.bootstrap(asked)
    columns = np.stack([look.answers("intact").correct, look.answers(rungs[0]).correct], axis=1)[asked]
    means = boot.means(columns)
    verdict: Verdict = worst(verdicts) if verdicts else "not assessed"
    if max(row["high"] for row in rows) < NEGLIGIBLE:
        verdict = "fail" if boot.clusters >= MINIMUM_CLUSTERS else "inconclusive"
    note = "" if verdicts else "Without an oracle or a reference only a ladder without any drop is judged. "
    return Finding(
        means.interval(difference(0, 1)),
        f"of each drop at least {RELIANCE:.0%} of the oracle's or reference's; fails when none is above {NEGLIGIBLE}",
        verdict,
        rows,
        few_clusters(boot) + note + f"Smallest drop: {smallest['drop']:.3f} under {smallest['rung']}.",
        look.paired_p(difference(0, 1), columns, boot, means),
        f"drop in accuracy, {rungs[0]},",
    )


def _rung(look: Look, name: str) -> tuple[dict[str, Any], Verdict | None]:
    intact, changed = look.answers("intact"), look.answers(name)
    oracle = look.companion(name)
    asked = intact.asked & changed.asked
    if oracle is not None:
        asked = asked & oracle.both
    if not asked.any():
        raise NotAssessed(f"no item has both an intact answer and one under {name}")
    columns = [intact.correct, changed.correct]
    if oracle is not None:
        columns += [oracle.intact.correct, oracle.changed.correct]
    stacked = np.stack(columns, axis=1)[asked]
    boot = look.bootstrap(asked, [changed])
    means = boot.means(stacked)
    drop = means.interval(difference(0, 1))
    test = mcnemar(stacked[:, 0] == 1, stacked[:, 1] == 1)
    row: dict[str, Any] = {"rung": name, "items": int(asked.sum()), "accuracy": means.share(1).estimate}
    row |= {"drop": drop.estimate, "low": drop.low, "high": drop.high}
    row |= {"p": look.paired_p(difference(0, 1), stacked, boot, means), "mid_p": test.mid_p, "exact_p": test.exact}
    if oracle is None:
        return row, None
    due = means.interval(difference(2, 3))
    contrast = means.interval(lambda m: m[..., 0] - m[..., 1] - RELIANCE * (m[..., 2] - m[..., 3]))
    row |= {"of": oracle.label, "its_drop": due.estimate}
    if due.low <= NEGLIGIBLE:
        return row, None
    return row, share_verdict(drop, due, contrast, boot)


AUDIT = Audit(
    "ecg_ladder",
    "What does each way of spoiling or exchanging the ECG cost in accuracy?",
    "drop in accuracy",
    "loss of accuracy on every rung: absent, flat, noise, scrambled, another patient's",
    ("intact",),
    ladder,
)
