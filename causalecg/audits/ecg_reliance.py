"""Does the answer come from the ECG? The ECG is taken away, or another patient's put in its place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from causalecg.audits.bootstrap import MINIMUM_CLUSTERS, ClusterBootstrap, Interval
from causalecg.audits.companions import ORACLES, bystanders, companion
from causalecg.audits.interventions import OPPOSITE, RANDOM, SAME_SEVERITY
from causalecg.audits.outcomes import Answers, Outcomes
from causalecg.audits.result import AuditResult, Verdict, few_clusters, not_assessed, unknown_donors

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
    why = outcomes.lacks(run_id, intervention, "intact")
    if why is not None:
        return not_assessed(name, question, run_id, "follow rate", why, required=required)
    columns, asked, against, swapped = _follow_columns(outcomes, run_id, intervention)
    if not asked.any():
        why = f"no item has an intact answer and, under {intervention}, a known answer of the donor (answer_expected)"
        return not_assessed(name, question, run_id, "follow rate", why, required=required)
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates, swapped=swapped)
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
    return AuditResult.of(
        name,
        question,
        run_id,
        f"follow rate on {outcomes.split}",
        follow,
        threshold=f"follow rate, above what it answered anyway, at least {RELIANCE:.0%} of {against}'s",
        verdict=share_verdict(excess, due, contrast, boot),
        rows=[{"what": what, **interval.as_dict()} for what, interval in rows],
        note=few_clusters(boot)
        + f"{int(asked.sum())} of {len(outcomes.items)} items have such a donor; {_counted(boot)}."
        + unknown_donors(swapped[0], asked),
        required=required,
    )


def _follow_columns(
    outcomes: Outcomes, run_id: str, intervention: str
) -> tuple[np.ndarray, np.ndarray, str, list[Answers]]:
    """(items, 4) follows, intact answer is the donor's, intact correct, what is due; who is asked; whose due it is; and
    the answers to swapped ECGs that went in."""
    swapped, intact = outcomes.answers(run_id, intervention), outcomes.answers(run_id, "intact")
    known = np.isfinite(swapped.follows) & intact.asked
    base = np.where(known, intact.code == swapped.expected, np.nan)
    due, against = intact.correct - base, "a reader of the ECG as accurate as itself"
    used = [swapped]
    oracle = companion(outcomes, run_id, intervention, *ORACLES)
    if oracle is not None:
        theirs = oracle.changed
        shared = known & np.isfinite(theirs.follows) & oracle.intact.asked
        if shared.any():
            due, known = theirs.follows - (oracle.intact.code == theirs.expected), shared
            against = f"the {oracle.label}"
            used.append(theirs)
    columns = np.stack([swapped.follows, base, intact.correct, due], axis=1)
    return columns, known, against, used


def random_ecg(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """Loss of accuracy when every item gets a random other patient's ECG, as a share of the oracle's loss. The majority
    answer and a question-only run, which cannot lose any, stand beside it."""
    question = "Does it lose accuracy when it is shown a random other patient's ECG?"
    why = outcomes.lacks(run_id, RANDOM, "intact")
    if why is not None:
        return not_assessed("random_ecg", question, run_id, "drop in accuracy", why, required=False)
    intact, swapped = outcomes.answers(run_id, "intact"), outcomes.answers(run_id, RANDOM)
    oracle = companion(outcomes, run_id, RANDOM, *ORACLES)
    asked = intact.asked & swapped.asked & (True if oracle is None else oracle.both)
    if not asked.any():
        why = f"no item has both an intact answer and one under {RANDOM}"
        return not_assessed("random_ecg", question, run_id, "drop in accuracy", why, required=False)
    others = bystanders(outcomes, run_id, RANDOM)
    columns = np.stack(
        [intact.correct, swapped.correct, *(column for _, before, after in others for column in (before, after))],
        axis=1,
    )
    used = [swapped] if oracle is None else [swapped, oracle.changed]
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates, swapped=used)
    estimate, drawn = boot.means(columns[asked])
    drops = [boot.interval(_drop(i), estimate, drawn) for i in range(0, columns.shape[1], 2)]
    drop, due = drops[0], drops[-1]
    rows = [
        ("drop in accuracy", drop),
        ("intact accuracy", boot.proportion(0, estimate, drawn)),
        ("accuracy with a random ECG", boot.proportion(1, estimate, drawn)),
        ("accuracy of the majority answer per template, with either ECG", boot.proportion(2, estimate, drawn)),
        *((f"drop of the {label}", drops[i]) for i, (label, _, _) in enumerate(others[1:], start=2)),
    ]
    if oracle is None:
        verdict: Verdict = "not assessed"
        if drop.high < NEGLIGIBLE:
            verdict = "fail" if boot.clusters >= MINIMUM_CLUSTERS else "inconclusive"
        note = "A drop alone does not show that the ECG is read as it should be: that takes an oracle or a reference. "
        threshold = f"a drop above {NEGLIGIBLE}; to pass, a share of an oracle's"
    else:
        last = columns.shape[1] - 2
        contrast = boot.interval(lambda m: _drop(0)(m) - RELIANCE * _drop(last)(m), estimate, drawn)
        rows.append(("share", boot.interval(lambda m: _drop(0)(m) / _drop(last)(m), estimate, drawn)))
        verdict, note = share_verdict(drop, due, contrast, boot), ""
        threshold = f"at least {RELIANCE:.0%} of the drop of the {oracle.label}"
    return AuditResult.of(
        "random_ecg",
        question,
        run_id,
        f"drop in accuracy on {outcomes.split}",
        drop,
        threshold=threshold,
        verdict=verdict,
        rows=[{"what": what, **interval.as_dict()} for what, interval in rows],
        note=few_clusters(boot)
        + note
        + f"{int(asked.sum())} items, {_counted(boot)}."
        + unknown_donors(swapped, asked),
    )


def no_ecg(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """How often the answer stays the same when the ECG is taken away.

    No share of it is right or wrong, but a model that never changes its answer does not look. That is judged with the
    true answers of a question weighing the same: where nearly all ECGs are normal, a sound reader, too, hardly ever
    changes its answer.
    """
    question = "Without any ECG, how often does it give the same answer?"
    why = outcomes.lacks(run_id, "no_ecg", "intact")
    if why is not None:
        return not_assessed("no_ecg", question, run_id, "same answer", why, required=False)
    intact, without = outcomes.answers(run_id, "intact"), outcomes.answers(run_id, "no_ecg")
    asked = intact.asked & without.asked
    if not asked.any():
        why = "no item has both an intact answer and one under no_ecg"
        return not_assessed("no_ecg", question, run_id, "same answer", why, required=False)
    columns = np.stack([(intact.code == without.code).astype(float), intact.correct, without.correct], axis=1)
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
    estimate, drawn = boot.means(columns[asked])
    same, right, blind = (boot.proportion(i, estimate, drawn) for i in range(3))
    drop = boot.interval(lambda m: m[..., 1] - m[..., 2], estimate, drawn)
    weights = outcomes.balance_weights(asked)[asked]
    even = boot.proportion(0, *boot.means(columns[asked][:, :1], weights))
    rows = [
        ("same answer without the ECG", same),
        ("the same, answers balanced", even),
        ("intact accuracy", right),
        ("accuracy without the ECG", blind),
        ("drop", drop),
    ]
    rarer = len(np.unique(outcomes.patients[asked & ~outcomes.commonest(asked)]))
    enough = min(rarer, boot.clusters) >= MINIMUM_CLUSTERS
    return AuditResult.of(
        "no_ecg",
        question,
        run_id,
        f"same answer on {outcomes.split}",
        same,
        threshold=f"fails when, answers balanced, it is the same throughout (above {1 - NEGLIGIBLE:.0%})",
        verdict="fail" if enough and even.low > 1 - NEGLIGIBLE else "not assessed",
        rows=[{"what": what, **interval.as_dict()} for what, interval in rows],
        note="A sound model may keep its answer where the ECG is normal; only one that never changes is a failure.",
    )


def _drop(column: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda means: means[..., column] - means[..., column + 1]


def _counted(boot: ClusterBootstrap) -> str:
    return f"{boot.own} patients" + (f", {boot.donors} donor patients" if boot.donors else "")


def share_verdict(excess: Interval, due: Interval, contrast: Interval, boot: ClusterBootstrap) -> Verdict:
    """Is ``excess`` at least the demanded share of ``due`` (``contrast`` = excess - share x due)?

    Fail when the contrast is below zero, or the excess is negligible. Pass needs a ``due`` that is not negligible: a
    share of nothing shows nothing.
    """
    if not np.isfinite(contrast.low):
        return "not assessed"
    if boot.clusters < MINIMUM_CLUSTERS:
        return "inconclusive"
    if contrast.high < 0 or excess.high < NEGLIGIBLE:
        return "fail"
    return "pass" if contrast.low > 0 and due.low > NEGLIGIBLE and excess.low > NEGLIGIBLE else "inconclusive"
