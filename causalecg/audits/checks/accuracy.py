"""Is it right, and is it right more often than somebody who never saw an ECG?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from causalecg.audits.audit import Audit, Finding, Look, difference
from causalecg.audits.score_set import ScoreSet
from causalecg.audits.statistics.bootstrap import REPLICATES
from causalecg.audits.statistics.mcnemar import mcnemar
from causalecg.audits.statistics.means import UNKNOWN, Interval
from causalecg.audits.statistics.two_way import two_way_interval
from causalecg.audits.verdicts import above, few_clusters
from causalecg.errors import InputError

BASELINE_ROLES = ("question_only", "ecg_only", "unadjusted", "oracle", "reference")


def accuracy(look: Look) -> Finding:
    """Exact-match accuracy beside the majority answer, overall and per template, and every run that plays a baseline's
    role. Each of these is compared on the items that both were asked.

    The last column generalises over templates as well as patients, where there are at least twenty templates.
    """
    outcomes, run_id = look.outcomes, look.run_id
    mine = look.answers("intact")
    asked = mine.asked
    others = [
        ("majority answer per template", asked, outcomes.majority()),
        ("most frequent answer of all", asked, (outcomes.true == np.bincount(outcomes.true[asked]).argmax()) * 1.0),
    ]
    for name in outcomes.score_set.of_role(*BASELINE_ROLES):
        if name != run_id and outcomes.has(name, "intact"):
            theirs = outcomes.answers(name, "intact")
            if (asked & theirs.asked).any():
                others.append((name, asked & theirs.asked, theirs.correct))
    sides = [(run_id, asked, mine.correct)]
    for name, both, correct in others:
        sides += [(name, both, np.where(both, correct, np.nan)), (name, both, np.where(both, mine.correct, np.nan))]
    stacked = np.stack([values for _, _, values in sides], axis=1)[asked]
    weights = np.stack([outcomes.balance_weights(both) for _, both, _ in sides], axis=1)[asked]
    boot = look.bootstrap(asked)
    plain, even = boot.means(stacked), boot.means(stacked, weights)
    templates = np.unique(outcomes.items["template_id"][asked].astype(str), return_inverse=True)[1]
    rows = []
    for i in [0, *range(1, len(sides), 2)]:
        name, both, _ = sides[i]
        gain = plain.interval(difference(i + 1, i)) if i else None
        wide = UNKNOWN if boot.dyadic else two_way_interval(stacked[:, i], boot.members[:, 0], templates)
        rows.append(_row(name, int(both.sum()), plain.share(i), even.share(i), gain, wide))
    gain = plain.interval(difference(2, 1))
    test = mcnemar(stacked[:, 0] == 1, stacked[:, 1] == 1)
    silent = int((asked & (mine.code < 0)).sum())
    return Finding(
        plain.share(0),
        "more than the majority answer's accuracy",
        above(gain, 0.0, boot),
        rows,
        few_clusters(boot)
        + f"{int(asked.sum())} items, {boot.own} patients"
        + (", two patients to an item" if boot.dyadic else "")
        + (f"; {silent} items without an answer count as wrong" if silent else "")
        + f"; McNemar against the majority answer: mid-p {test.mid_p:.3g}, exact {test.exact:.3g}, "
        "items taken for independent.",
        look.paired_p(difference(2, 1), stacked, boot, plain),
    )


AUDIT = Audit(
    "accuracy",
    "Is it right more often than the most frequent answer to each kind of question?",
    "accuracy",
    "exact-match accuracy beside the majority answer, question-only model and oracle",
    ("intact",),
    accuracy,
    required=True,
)


def accuracy_by_split(
    score_set: ScoreSet, runs: Iterable[str], *, seed: int, replicates: int = REPLICATES
) -> dict[str, dict[str, Interval]]:
    """run -> split -> accuracy, on every split on which the run has intact answers."""
    found: dict[str, dict[str, Interval]] = {name: {} for name in runs}
    for split in score_set.splits():
        outcomes = score_set.outcomes(split)
        for name, splits in found.items():
            if outcomes.has(name, "intact"):
                mine = outcomes.answers(name, "intact")
                boot = outcomes.bootstrap(mine.asked, seed=seed, replicates=replicates)
                splits[split] = boot.means(mine.correct[mine.asked]).share(0)
    return found


def accuracy_by_type(
    score_set: ScoreSet, runs: Iterable[str], *, split: str, seed: int, replicates: int = REPLICATES
) -> pd.DataFrame:
    """Exact-match accuracy per ``question_type``: one row per type and run, and the majority answer per template first.

    Columns question_type, who, items, patients, accuracy, low, high; a last type, "all", has all items. Of all items
    that were asked of every run. Raises InputError for a split or a run that is not there, or without question types.
    """
    outcomes = score_set.outcomes(split)
    if "question_type" not in outcomes.items.columns:
        raise InputError("the scores do not say of which question_type their items are; add that column")
    names = list(runs)
    for name in names:
        if not outcomes.has(name, "intact"):
            have = ", ".join(score_set.runs)
            raise InputError(f"there are no intact answers of a run '{name}' in split {split}; runs are {have}")
    answers = [outcomes.answers(name, "intact") for name in names]
    whose = ["majority answer per template", *names]
    correct = np.stack([outcomes.majority(), *(found.correct for found in answers)], axis=1)
    every = np.all([np.ones(len(correct), dtype=bool), *(found.asked for found in answers)], axis=0)
    types = outcomes.items["question_type"].astype(str).to_numpy()
    rows = []
    for kind in [*sorted(set(types)), "all"]:
        asked = every & ((types == kind) | (kind == "all"))
        if not asked.any():
            continue
        boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
        means = boot.means(correct[asked])
        for i, who in enumerate(whose):
            share = means.share(i)
            row = {"question_type": kind, "who": who, "items": int(asked.sum()), "patients": boot.own}
            rows.append(row | {"accuracy": share.estimate, "low": share.low, "high": share.high})
    return pd.DataFrame(rows)


def _row(
    name: str, items: int, plain: Interval, even: Interval, gain: Interval | None, wide: Interval
) -> dict[str, object]:
    row: dict[str, object] = {"who": name, "items": items}
    row |= {"accuracy": plain.estimate, "low": plain.low, "high": plain.high}
    row |= {"answer_balanced": even.estimate, "balanced_low": even.low, "balanced_high": even.high}
    row |= {"gain": None, "gain_low": None, "gain_high": None}
    if gain is not None:
        row |= {"gain": gain.estimate, "gain_low": gain.low, "gain_high": gain.high}
    if np.isfinite(wide.low):
        row |= {"other_templates_low": wide.low, "other_templates_high": wide.high}
    return row
