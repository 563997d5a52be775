"""Does the answer survive another wording of the same question?"""

from __future__ import annotations

from typing import Any

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, difference
from causalecg.audits.interventions import HELD_OUT, OTHER_STYLE, SEEN
from causalecg.audits.statistics.bootstrap import ClusterBootstrap
from causalecg.audits.statistics.mcnemar import mcnemar
from causalecg.audits.statistics.means import Interval
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters, worst


def adversarial_wording(look: Look) -> Finding:
    """Loss of accuracy and share of changed answers under held-out wordings; both must stay below 0.05.

    A net loss alone hides a shortcut wherever style and truth are unrelated: answers then change as often for the
    better as for the worse. From the share of changed answers that under a wording of the same style is taken off, on
    the items where that has been scored; where it has not, every changed answer counts.
    """
    asked = look.together("intact", HELD_OUT)
    rows: list[dict[str, Any]] = []
    for wording in (HELD_OUT, OTHER_STYLE, SEEN):
        if look.has(wording):
            rows += _rows(look, wording)
    first = rows[0]
    boot, excess, floor = changed_above_floor(look, HELD_OUT)
    drop = Interval(first["drop"], first["low"], first["high"])
    columns = np.stack([look.answers("intact").correct, look.answers(HELD_OUT).correct], axis=1)[asked]
    plain = look.bootstrap(asked)
    return Finding(
        drop,
        f"a drop below {NEGLIGIBLE}, and less than {NEGLIGIBLE:.0%} of the answers changed by the wording",
        worst([below(drop, NEGLIGIBLE, boot), below(excess, NEGLIGIBLE, boot)]),
        rows,
        few_clusters(boot)
        + f"Changed by the wording: {excess.estimate:.3f} ({excess.low:.3f} to {excess.high:.3f}), {floor}. "
        "Paired by item.",
        look.paired_p(difference(0, 1), columns, plain, plain.means(columns)),
    )


AUDIT = Audit(
    "adversarial_wording",
    "Do its answers stay as they are, and right, when the same question is put in words that training never used?",
    "drop in accuracy",
    "loss of accuracy and answers changed in held-out words (named in the reference paper's abstract)",
    ("intact", HELD_OUT),
    adversarial_wording,
    required=True,
)


def changed_above_floor(look: Look, wording: str) -> tuple[ClusterBootstrap, Interval, str]:
    """Share of answers a wording changes, less that under wording[seen] on the same items; and what was taken off."""
    intact, other = look.answers("intact"), look.answers(wording)
    asked = intact.asked & other.asked
    columns = [_changed(intact.code, other.code)]
    floor = f"nothing taken off, as {SEEN} has not been scored"
    if look.has(SEEN):
        seen = look.answers(SEEN)
        if (asked & seen.asked).any():
            asked = asked & seen.asked
            columns.append(_changed(intact.code, seen.code))
    boot = look.bootstrap(asked)
    means = boot.means(np.stack(columns, axis=1)[asked])
    if len(columns) == 1:
        return boot, means.share(0), floor
    floor = f"after {means.estimate[1]:.3f} under {SEEN} on the same {int(asked.sum())} items has been taken off"
    return boot, means.interval(difference(0, 1)), floor


def _rows(look: Look, wording: str) -> list[dict[str, Any]]:
    """The run's own row, then those it is held against, on the run's items."""
    intact, other = look.answers("intact"), look.answers(wording)
    asked = intact.asked & other.asked
    if not asked.any():
        return []
    sides = [(look.run_id, intact.correct, other.correct), *look.bystanders(wording)]
    stacked = np.stack([_changed(intact.code, other.code), *(c for _, *pair in sides for c in pair)], axis=1)[asked]
    means = look.bootstrap(asked).means(stacked)
    rows = []
    for i, (who, _, _) in enumerate(sides):
        before, after = 1 + 2 * i, 2 + 2 * i
        drop = means.interval(difference(before, after))
        there = np.isfinite(stacked[:, before]) & np.isfinite(stacked[:, after])
        test = mcnemar(stacked[there, before] == 1, stacked[there, after] == 1)
        rows.append(
            {
                "wording": wording,
                "who": who,
                "items": int(there.sum()),
                "accuracy_intact": float(means.estimate[before]),
                "accuracy_reworded": float(means.estimate[after]),
                "drop": drop.estimate,
                "low": drop.low,
                "high": drop.high,
                "mid_p": test.mid_p,
                "exact_p": test.exact,
            }
        )
    moved = means.share(0)
    rows[0] |= {"answers_changed": moved.estimate, "changed_low": moved.low, "changed_high": moved.high}
    return rows


def _changed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(first != second, dtype=np.float64)
