"""Questions that training never asked: about topics, or of templates, that were held out."""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described, difference
from causalecg.audits.interventions import OPPOSITE
from causalecg.audits.outcomes import Outcomes
from causalecg.audits.verdicts import above, few_clusters
from causalecg.cohort.schema import HELD_OUT

CAVEAT = "Being right about them takes no knowledge of them where the answer goes with how ill the patient is."


def zero_shot(look: Look) -> Finding:
    """Accuracy on questions held out of training, against the most frequent answer to each; and the follow rate there.
    Held out are the topics and templates the run's record names (``held_out_topics``, ``held_out_templates``), or the
    items a table marks in a column ``zero_shot``.

    Asked on the unbiased test where there is one: who learned the style's shortcut is right about new topics, too, as
    long as the shortcut holds. Nor does a pass show that the question is understood: where illness and answer go
    together, a model that sees how ill the patient is need not know what it is asked.
    """
    outcomes = look.outcomes
    held_out = of_held_out(outcomes, look.run_id)
    mine = look.answers("intact")
    asked = mine.asked & held_out
    if not asked.any():
        raise NotAssessed(
            "no item asks about a topic, or by a template, that is known to have been held out of training"
        )
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
        described("accuracy on held-out questions", means.share(0), items=int(asked.sum())),
        described("most frequent answer to each question", means.share(1), items=int(asked.sum())),
        described("gain", gain, items=int(asked.sum())),
    ]
    if len(columns) == 3:
        rows.append(
            described("follow rate on held-out questions", means.share(2), items=int(np.isfinite(stacked[:, 2]).sum()))
        )
    seen = mine.asked & ~held_out
    if seen.any():
        other = look.bootstrap(seen).means(mine.correct[seen])
        rows.append(described("accuracy on other questions", other.share(0), items=int(seen.sum())))
    names = _names(outcomes, look.run_id, asked)
    return Finding(
        means.share(0),
        "more than the most frequent answer to each question",
        above(gain, 0.0, boot),
        rows,
        few_clusters(boot) + f"Held out: {', '.join(names[:8])}{' and others' if len(names) > 8 else ''}. {CAVEAT}",
        look.paired_p(difference(0, 1), stacked, boot, means),
    )


def of_held_out(outcomes: Outcomes, run_id: str) -> np.ndarray:
    """(items,) bool: about a topic, or of a template, that training never asked."""
    items = outcomes.items
    found = np.zeros(len(items), dtype=bool)
    for column, names in _held_out(outcomes, run_id).items():
        found |= items[column].isin(names).to_numpy()
    if "zero_shot" in items.columns:
        found |= items["zero_shot"].fillna(False).astype(bool).to_numpy()
    return found


def _held_out(outcomes: Outcomes, run_id: str) -> dict[str, list[str]]:
    run = outcomes.score_set.runs[run_id]
    return {column: list(run.get(key) or []) for column, key in HELD_OUT.items()}


def _names(outcomes: Outcomes, run_id: str, asked: np.ndarray) -> list[str]:
    """What was held out of the items that were asked: templates where they were named, else topics."""
    items = outcomes.items[asked]
    templates = items["template_id"].isin(_held_out(outcomes, run_id)["template_id"])
    return [
        *(f"template {name}" for name in sorted(set(items["template_id"][templates].astype(str)))),
        *sorted(set(items["topic"][~templates].astype(str))),
    ]


AUDIT = Audit(
    "zero_shot",
    "Is it right about what training never asked?",
    "accuracy on held-out questions",
    "accuracy and follow rate on topics or templates held out of training",
    ("intact",),
    zero_shot,
    # On the biased one, who learned the shortcut passes.
    prefers="test_unbiased",
)
