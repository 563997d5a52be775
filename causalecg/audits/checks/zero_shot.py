"""Questions about topics that training never asked about."""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described, difference
from causalecg.audits.interventions import OPPOSITE
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.verdicts import above, few_clusters


def zero_shot(look: Look) -> Finding:
    """Accuracy on topics held out of training, against the most frequent answer to their questions; and the follow rate
    there. Held out are the topics the run's record names (``held_out_topics``), or the items a table marks in a column
    ``zero_shot``.

    A language model trained from scratch has never seen a held-out topic's words: chance is what it can do.
    """
    outcomes = look.outcomes
    held_out = of_held_out_topics(outcomes, look.run_id)
    mine = look.answers("intact")
    asked = mine.asked & held_out
    if not asked.any():
        raise NotAssessed("no item asks about a topic that is known to have been held out of training")
    # Training knows nothing of these questions, so the items' own majority stands in: it knows more than anybody could.
    codes = outcomes.commonest(asked).astype(np.float64)
    columns = [mine.correct, codes]
    if look.has(OPPOSITE):
        columns.append(look.answers(OPPOSITE).follows)
    stacked = np.stack(columns, axis=1)[asked]
    boot = look.bootstrap(asked)
    means = boot.means(stacked)
    gain = means.interval(difference(0, 1))
    rows = [
        described("accuracy on held-out topics", means.share(0), items=int(asked.sum())),
        described("most frequent answer to each question", means.share(1), items=int(asked.sum())),
        described("gain", gain, items=int(asked.sum())),
    ]
    if len(columns) == 3:
        rows.append(
            described("follow rate on held-out topics", means.share(2), items=int(np.isfinite(stacked[:, 2]).sum()))
        )
    seen = mine.asked & ~held_out
    if seen.any():
        other = look.bootstrap(seen).means(mine.correct[seen])
        rows.append(described("accuracy on topics seen in training", other.share(0), items=int(seen.sum())))
    topics = sorted(set(outcomes.items["topic"][asked].astype(str)))
    return Finding(
        means.share(0),
        "more than the most frequent answer to each question",
        above(gain, 0.0, boot),
        rows,
        few_clusters(boot)
        + f"Held out: {', '.join(topics[:8])}{' and others' if len(topics) > 8 else ''}. A language model trained from "
        "scratch cannot know the words of a held-out topic: chance by construction.",
        look.paired_p(difference(0, 1), stacked, boot, means),
    )


def of_held_out_topics(outcomes: Outcomes, run_id: str) -> np.ndarray:
    """(items,) bool: about a topic that the run never asked about in training."""
    items = outcomes.items
    found = items["topic"].isin(list(outcomes.score_set.runs[run_id].get("held_out_topics") or []))
    if "zero_shot" in items.columns:
        found = found | items["zero_shot"].fillna(False).astype(bool)
    return found.to_numpy()


AUDIT = Audit(
    "zero_shot",
    "Is it right about topics that training never asked about?",
    "accuracy on held-out topics",
    "accuracy and follow rate on topics held out of training",
    ("intact",),
    zero_shot,
)
