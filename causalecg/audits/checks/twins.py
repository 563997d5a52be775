"""Two ECGs, one question, different answers: is the model right about both?"""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described
from causalecg.audits.interventions import HELD_OUT, OPPOSITE
from causalecg.audits.verdicts import RELIANCE, few_clusters, share_verdict, unknown_donors


def twins(look: Look) -> Finding:
    """Group accuracy: right about the item's own ECG and about that of the donor with the opposite answer, in the same
    words. An answer that does not depend on the ECG is never right about both.

    Due is the oracle's or reference's group accuracy; without one, a^2 for a model of accuracy a, which a reader of the
    ECG has whose errors on two patients are unrelated. Items that name a twin (``twin_of``: the same signal but for the
    finding) are counted besides; there 2a - 1 is all that a reader of accuracy a can be sure of.

    Source: group accuracy as in NaturalBench (Li et al. 2024) and Winoground (Thrush et al. 2022).
    """
    asked = look.together("intact", OPPOSITE)
    intact, swapped = look.answers("intact"), look.answers(OPPOSITE)
    asked = asked & np.isfinite(swapped.follows)
    oracle = look.companion(OPPOSITE)
    used, whose = [swapped], "a reader of the ECG as accurate as itself"
    if oracle is not None and (asked & oracle.both & np.isfinite(oracle.changed.follows)).any():
        asked = asked & oracle.both & np.isfinite(oracle.changed.follows)
        used.append(oracle.changed)
        whose = f"the {oracle.label}"
    if not asked.any():
        raise NotAssessed(f"no item has an intact answer and a known answer of the donor under {OPPOSITE}")
    columns = [intact.correct * swapped.follows, intact.correct, swapped.follows]
    if len(used) == 2 and oracle is not None:
        columns.append(oracle.intact.correct * oracle.changed.follows)
    if look.has(HELD_OUT):
        columns.append(columns[0] * look.answers(HELD_OUT).correct)
    boot = look.bootstrap(asked, used)
    stacked = np.stack(columns, axis=1)[asked]
    means = boot.means(stacked)
    group = means.share(0)

    def due(m: np.ndarray) -> np.ndarray:
        return m[..., 3] if len(used) == 2 else m[..., 1] ** 2

    contrast = means.interval(lambda m: m[..., 0] - RELIANCE * due(m))
    rows = [
        described("right about both (group accuracy)", group),
        described("right about its own ECG", means.share(1)),
        described("right about the donor's", means.share(2)),
        described(f"group accuracy of {whose}", means.interval(due)),
    ]
    if look.has(HELD_OUT):
        rows.append(described("right about both, and in held-out words", means.share(len(columns) - 1)))
    rows += _true_twins(look)
    return Finding(
        group,
        f"at least {RELIANCE:.0%} of that of {whose}",
        share_verdict(group, means.interval(due), contrast, boot),
        rows,
        few_clusters(boot) + f"{int(asked.sum())} pairs." + unknown_donors(swapped, asked),
    )


def _true_twins(look: Look) -> list[dict[str, object]]:
    """Rows about items whose ``twin_of`` names another item of the table, with an ECG of its own."""
    items = look.outcomes.items
    if "twin_of" not in items.columns:
        return []
    place = {item: at for at, item in enumerate(items["item_id"])}
    # Twins of the same ECG differ in the question.
    ecgs = [tuple(ids) for ids in items["ecg_ids"]]
    found = [(at, place[of]) for at, of in enumerate(items["twin_of"]) if of in place]
    pairs = np.array([(at, of) for at, of in found if ecgs[at] != ecgs[of]], dtype=np.int64)
    right = look.answers("intact").correct
    pairs = pairs[np.isfinite(right[pairs]).all(1)] if len(pairs) else pairs.reshape(0, 2)
    if not len(pairs):
        return []
    first = np.zeros(len(items), dtype=bool)
    first[pairs[:, 0]] = True
    both = np.full(len(items), np.nan)
    both[pairs[:, 0]] = right[pairs[:, 0]] * right[pairs[:, 1]]
    means = look.bootstrap(first).means(both[first])
    return [
        described("right about both of two twins that differ in the finding alone", means.share(0), items=len(pairs))
    ]


AUDIT = Audit(
    "twins",
    "Asked the same of two ECGs with opposite answers, is it right about both?",
    "group accuracy",
    "right about an ECG and about one with the opposite answer, asked the same",
    ("intact", OPPOSITE),
    twins,
)
