"""Does the answer survive another wording of the same question?"""

from __future__ import annotations

from typing import Any

import numpy as np

from causalecg.audits.bootstrap import ClusterBootstrap, Interval
from causalecg.audits.companions import bystanders
from causalecg.audits.interventions import HELD_OUT, OTHER_STYLE, SEEN
from causalecg.audits.mcnemar import mcnemar
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.result import AuditResult, below, few_clusters, not_assessed, worst

#: An effect of the style above it is a shortcut; so is a loss of accuracy.
TOLERATED = 0.05
QUESTION = (
    "Do its answers stay as they are, and right, when the same question is put in words that training never used?"
)
STYLE_QUESTION = "How many more answers change with the style of the wording than with the wording alone?"


def adversarial_wording(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """Loss of accuracy and share of changed answers under held-out wordings; both must stay below 0.05.

    A net loss alone hides a shortcut wherever style and truth are unrelated: answers then change as often for the
    better as for the worse. From the share of changed answers that under a wording of the same style is taken off, on
    the items where that has been scored; where it has not, every changed answer counts.
    """
    name, measure = "adversarial_wording", "drop in accuracy"
    why = outcomes.lacks(run_id, HELD_OUT, "intact")
    if why is not None:
        return not_assessed(name, QUESTION, run_id, measure, why, required=True)
    asked = outcomes.answers(run_id, "intact").asked & outcomes.answers(run_id, HELD_OUT).asked
    if not asked.any():
        why = f"no item has both an intact answer and one under {HELD_OUT}"
        return not_assessed(name, QUESTION, run_id, measure, why, required=True)
    rows: list[dict[str, Any]] = []
    for wording in (HELD_OUT, OTHER_STYLE, SEEN):
        if outcomes.has(run_id, wording):
            rows += _rows(outcomes, run_id, wording, seed=seed, replicates=replicates)
    first = rows[0]
    boot, excess, floor = _excess(outcomes, run_id, HELD_OUT, seed=seed, replicates=replicates)
    drop = Interval(first["drop"], first["low"], first["high"])
    verdict = worst([below(drop, TOLERATED, boot), below(excess, TOLERATED, boot)])
    return AuditResult.of(
        name,
        QUESTION,
        run_id,
        f"{measure} on {outcomes.split}",
        drop,
        threshold=f"a drop below {TOLERATED}, and less than {TOLERATED:.0%} of the answers changed by the wording",
        verdict=verdict,
        rows=rows,
        note=few_clusters(boot)
        + f"Changed by the wording: {excess.estimate:.3f} ({excess.low:.3f} to {excess.high:.3f}), {floor}. "
        "Paired by item; p is McNemar's, mid-p.",
        required=True,
        p_value=first["mid_p"],
    )


def style_effect(outcomes: Outcomes, run_id: str, *, seed: int, replicates: int) -> AuditResult:
    """Share of answers changed by a training wording of another style, less that by one of the same style."""
    name, measure = "style_effect", "answers changed by the style"
    needed = ("intact", OTHER_STYLE, SEEN)
    why = outcomes.lacks(run_id, *needed)
    if why is not None:
        return not_assessed(name, STYLE_QUESTION, run_id, measure, why, required=False)
    asked = np.stack([outcomes.answers(run_id, what).asked for what in needed]).all(0)
    if not asked.any():
        why = f"no item has answers under all of {', '.join(needed)}"
        return not_assessed(name, STYLE_QUESTION, run_id, measure, why, required=False)
    boot, excess, floor = _excess(outcomes, run_id, OTHER_STYLE, seed=seed, replicates=replicates)
    return AuditResult.of(
        name,
        STYLE_QUESTION,
        run_id,
        f"{measure} on {outcomes.split}",
        excess,
        threshold=f"less than {TOLERATED:.0%}",
        verdict=below(excess, TOLERATED, boot),
        rows=[
            row
            for wording in (OTHER_STYLE, SEEN)
            for row in _rows(outcomes, run_id, wording, seed=seed, replicates=replicates)
        ],
        note=few_clusters(boot) + f"{floor[0].upper()}{floor[1:]}.",
    )


def _excess(
    outcomes: Outcomes, run_id: str, wording: str, *, seed: int, replicates: int
) -> tuple[ClusterBootstrap, Interval, str]:
    """Share of answers a wording changes, less that under wording[seen] on the same items; and what was taken off."""
    intact, other = outcomes.answers(run_id, "intact"), outcomes.answers(run_id, wording)
    asked = intact.asked & other.asked
    columns = [_changed(intact.code, other.code)]
    floor = f"nothing taken off, as {SEEN} has not been scored"
    if outcomes.has(run_id, SEEN):
        seen = outcomes.answers(run_id, SEEN)
        if (asked & seen.asked).any():
            asked = asked & seen.asked
            columns.append(_changed(intact.code, seen.code))
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
    estimate, drawn = boot.means(np.stack(columns, axis=1)[asked])
    if len(columns) == 1:
        return boot, boot.proportion(0, estimate, drawn), floor
    floor = f"after {estimate[1]:.3f} under {SEEN} on the same {int(asked.sum())} items has been taken off"
    return boot, boot.interval(lambda m: m[..., 0] - m[..., 1], estimate, drawn), floor


def _rows(outcomes: Outcomes, run_id: str, wording: str, *, seed: int, replicates: int) -> list[dict[str, Any]]:
    """The run's own row, then those it is held against, on the run's items."""
    intact, other = outcomes.answers(run_id, "intact"), outcomes.answers(run_id, wording)
    asked = intact.asked & other.asked
    if not asked.any():
        return []
    columns = [(run_id, intact.correct, other.correct), *bystanders(outcomes, run_id, wording)]
    boot = outcomes.bootstrap(asked, seed=seed, replicates=replicates)
    stacked = np.stack([_changed(intact.code, other.code), *(c for _, *pair in columns for c in pair)], axis=1)[asked]
    estimate, drawn = boot.means(stacked)
    rows = []
    for i, (who, _, _) in enumerate(columns):
        before, after = 1 + 2 * i, 2 + 2 * i
        drop = boot.interval(lambda m, a=before, b=after: m[..., a] - m[..., b], estimate, drawn)  # type: ignore[misc]
        there = np.isfinite(stacked[:, before]) & np.isfinite(stacked[:, after])
        test = mcnemar(stacked[there, before] == 1, stacked[there, after] == 1)
        rows.append(
            {
                "wording": wording,
                "who": who,
                "items": int(there.sum()),
                "accuracy_intact": float(estimate[before]),
                "accuracy_reworded": float(estimate[after]),
                "drop": drop.estimate,
                "low": drop.low,
                "high": drop.high,
                "mid_p": test.mid_p,
                "exact_p": test.exact,
            }
        )
    moved = boot.proportion(0, estimate, drawn)
    rows[0] |= {"answers_changed": moved.estimate, "changed_low": moved.low, "changed_high": moved.high}
    return rows


def _changed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray(first != second, dtype=np.float64)
