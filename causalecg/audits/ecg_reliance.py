"""Does the answer come from the ECG? The ECG is taken away, or another patient's put in its place."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.bootstrap import ClusterBootstrap, Interval
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.result import AuditResult, Verdict, few_clusters, not_assessed

OPPOSITE = "other_patient[answer=opposite]"
SAME_SEVERITY = "other_patient[answer=different,severity=same]"
RANDOM = "other_patient[answer=any]"
#: Share of what a sound reader of the ECG would show, below which a model leans on something else.
RELIANCE = 0.85
#: Effects below it are none.
NEGLIGIBLE = 0.05


def follow_rate(
    outcomes: Outcomes, run_id: str, *, seed: int, replicates: int, intervention: str = OPPOSITE
) -> AuditResult:
    """How often the answer is the donor's true answer once the donor's ECG is put in.

    What the model would have answered anyway is taken off: with f the follow rate, b the share of items whose intact
    answer already was the donor's, and a the intact accuracy, a model that answers from the ECG alone has f = a and
    therefore f - b = a - b; one that answers from the question has f = b. Demanded is (f - b) >= 0.85 (a - b), with
    the oracle's f - b in place of a - b where an oracle has been scored on the same items.
    """
    same = intervention == SAME_SEVERITY
    name = "same_severity" if same else "follow_rate"
    question = (
        "Given another patient's ECG of the same severity but another answer, does it give that patient's answer?"
        if same
        else "Given the ECG of a patient with the opposite answer, does it give that patient's answer?"
    )
    required = not same
    if not (outcomes.has(run_id, intervention) and outcomes.has(run_id, "intact")):
        why = f"there are no answers under {intervention}"
        return not_assessed(name, question, run_id, "follow rate", why, required=required)
    columns, asked, against = _follow_columns(outcomes, run_id, intervention)
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
    estimate, drawn = boot.means(columns[asked])
    follow, base, intact = (boot.proportion(i, estimate, drawn) for i in range(3))
    excess = boot.interval(lambda m: m[..., 0] - m[..., 1], estimate, drawn)
    due = boot.interval(lambda m: m[..., 3], estimate, drawn)
    contrast = boot.interval(lambda m: m[..., 0] - m[..., 1] - RELIANCE * m[..., 3], estimate, drawn)
    share = boot.interval(lambda m: (m[..., 0] - m[..., 1]) / m[..., 3], estimate, drawn)
    rows = [
        ("follow rate", follow),
        ("intact answer already the donor's", base),
        ("intact accuracy", intact),
        ("follow rate above that", excess),
        (f"the same of {against}", due),
        ("share", share),
    ]
    return AuditResult(
        name=name,
        question=question,
        run_id=run_id,
        estimate=follow.estimate,
        interval=(follow.low, follow.high),
        measure=f"follow rate on {outcomes.split}",
        p_value=None,
        threshold=f"follow rate, above what it answered anyway, at least {RELIANCE:.0%} of {against}'s",
        verdict=share_verdict(excess, due, contrast, boot),
        required=required,
        table=pd.DataFrame([{"what": what, **interval.as_dict()} for what, interval in rows]),
        figure={"kind": "forest"},
        note=few_clusters(boot.clusters)
        + f"{int(asked.sum())} of {len(outcomes.items)} items have such a donor; {boot.clusters} patients.",
    )


def _follow_columns(outcomes: Outcomes, run_id: str, intervention: str) -> tuple[np.ndarray, np.ndarray, str]:
    """(items, 4) follows, intact answer is the donor's, intact correct, what is due; who is asked; whose due it is."""
    swapped, intact = outcomes.answers(run_id, intervention), outcomes.answers(run_id, "intact")
    known = np.isfinite(swapped.follows) & intact.asked
    base = np.where(known, intact.code == swapped.expected, np.nan)
    due, against = intact.correct - base, "a reader of the ECG as accurate as itself"
    oracle = _oracle(outcomes, run_id, intervention)
    if oracle is not None:
        theirs, own = outcomes.answers(oracle, intervention), outcomes.answers(oracle, "intact")
        due = theirs.follows - (own.code == theirs.expected)
        known &= np.isfinite(theirs.follows) & own.asked
        against = f"the oracle ({oracle})"
    columns = np.stack([swapped.follows, base, intact.correct, due], axis=1)
    return columns, known, against


def random_ecg(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """Loss of accuracy when every item gets a random other patient's ECG, as a share of the oracle's loss."""
    question = "Does it lose accuracy when it is shown a random other patient's ECG?"
    if not (outcomes.has(run_id, RANDOM) and outcomes.has(run_id, "intact")):
        why = f"there are no answers under {RANDOM}"
        return not_assessed("random_ecg", question, run_id, "drop in accuracy", why, required=False)
    names = [run_id]
    oracle = _oracle(outcomes, run_id, RANDOM)
    names += [] if oracle is None else [oracle]
    drops = np.stack(
        [outcomes.answers(n, "intact").correct - outcomes.answers(n, RANDOM).correct for n in names], axis=1
    )
    asked = np.isfinite(drops).all(1)
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
    estimate, drawn = boot.means(drops[asked])
    drop = boot.interval(lambda m: m[..., 0], estimate, drawn)
    rows = [("drop in accuracy", drop)]
    if oracle is None:
        verdict: Verdict = "fail" if drop.high < NEGLIGIBLE else "not assessed"
        note = "A drop alone does not show that the ECG is read as it should be: that takes an oracle or a reference. "
        threshold = f"a drop above {NEGLIGIBLE}; to pass, a share of an oracle's"
    else:
        due = boot.interval(lambda m: m[..., 1], estimate, drawn)
        contrast = boot.interval(lambda m: m[..., 0] - RELIANCE * m[..., 1], estimate, drawn)
        share = boot.interval(lambda m: m[..., 0] / m[..., 1], estimate, drawn)
        rows += [(f"the same of the oracle ({oracle})", due), ("share", share)]
        verdict, note = share_verdict(drop, due, contrast, boot), ""
        threshold = f"at least {RELIANCE:.0%} of the oracle's drop"
    return AuditResult(
        name="random_ecg",
        question=question,
        run_id=run_id,
        estimate=drop.estimate,
        interval=(drop.low, drop.high),
        measure=f"drop in accuracy on {outcomes.split}",
        p_value=None,
        threshold=threshold,
        verdict=verdict,
        required=False,
        table=pd.DataFrame([{"what": what, **interval.as_dict()} for what, interval in rows]),
        figure={"kind": "forest"},
        note=few_clusters(boot.clusters) + note + f"{int(asked.sum())} items, {boot.clusters} patients.",
    )


def no_ecg(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """How often the answer stays the same when the ECG is taken away. Descriptive: no share of it is right or wrong."""
    question = "Without any ECG, how often does it give the same answer?"
    if not (outcomes.has(run_id, "no_ecg") and outcomes.has(run_id, "intact")):
        why = "there are no answers under no_ecg"
        return not_assessed("no_ecg", question, run_id, "same answer", why, required=False)
    intact, without = outcomes.answers(run_id, "intact"), outcomes.answers(run_id, "no_ecg")
    asked = intact.asked & without.asked
    columns = np.stack([(intact.code == without.code).astype(float), intact.correct, without.correct], axis=1)
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
    estimate, drawn = boot.means(columns[asked])
    same, right, blind = (boot.proportion(i, estimate, drawn) for i in range(3))
    drop = boot.interval(lambda m: m[..., 1] - m[..., 2], estimate, drawn)
    rows = [
        ("same answer without the ECG", same),
        ("intact accuracy", right),
        ("accuracy without the ECG", blind),
        ("drop", drop),
    ]
    return AuditResult(
        name="no_ecg",
        question=question,
        run_id=run_id,
        estimate=same.estimate,
        interval=(same.low, same.high),
        measure=f"same answer on {outcomes.split}",
        p_value=None,
        threshold=f"fails when the answer is the same throughout (above {1 - NEGLIGIBLE:.0%})",
        verdict="fail" if same.low > 1 - NEGLIGIBLE and boot.clusters >= 20 else "not assessed",
        required=False,
        table=pd.DataFrame([{"what": what, **interval.as_dict()} for what, interval in rows]),
        figure={"kind": "forest"},
        note="A sound model may keep its answer where the ECG is normal; only one that never changes is a failure.",
    )


def share_verdict(excess: Interval, due: Interval, contrast: Interval, boot: ClusterBootstrap) -> Verdict:
    """Is ``excess`` at least the demanded share of ``due`` (``contrast`` = excess - share x due)?

    Fail when the contrast is below zero, or the excess is negligible. Pass needs a ``due`` that is not negligible: a
    share of nothing shows nothing.
    """
    if not np.isfinite(contrast.low):
        return "not assessed"
    if boot.clusters < 20:
        return "inconclusive"
    if contrast.high < 0 or excess.high < NEGLIGIBLE:
        return "fail"
    return "pass" if contrast.low > 0 and due.low > NEGLIGIBLE and excess.low > NEGLIGIBLE else "inconclusive"


def _oracle(outcomes: Outcomes, run_id: str, intervention: str) -> str | None:
    """The oracle of the same seed, else the first, that was scored under the intervention; never the run itself."""
    runs = outcomes.score_set.runs
    able = [
        name
        for name in outcomes.score_set.of_role("oracle", "reference")
        if name != run_id and outcomes.has(name, intervention) and outcomes.has(name, "intact")
    ]
    seed = runs[run_id].get("seed")
    same = [name for name in able if runs[name].get("seed") == seed]
    return next(iter(same or able), None)
