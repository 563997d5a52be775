"""Several wordings of one question: do the answers agree, and are they all right?"""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, described
from causalecg.audits.interventions import HELD_OUT, OTHER_STYLE, RULES, SEEN, USER
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters

WORDINGS = (RULES, HELD_OUT, SEEN, OTHER_STYLE, USER)


def consensus(look: Look) -> Finding:
    """Flip rate: the share of rewordings that change the answer. Consensus score CS(k): the chance that k wordings of
    an item, drawn from all it was asked in (the intact one among them), are all answered rightly.

    CS(k) of an item with c right answers among n is C(c, k) / C(n, k); averaged over the items with n >= k.

    Source: CS(k) is of Shah et al. 2019, "Cycle-consistency for robust visual question answering", eq. 3.
    """
    every = [answers for name in WORDINGS if look.has(name) for answers in look.all_draws(name)]
    if not every:
        raise NotAssessed("there are no reworded answers")
    intact = look.answers("intact")
    stacked = np.stack([np.where(a.asked, (a.code != intact.code).astype(float), np.nan) for a in every], axis=1)
    right = np.stack([intact.correct, *(a.correct for a in every)], axis=1)
    asked = intact.asked & np.isfinite(stacked).any(1)
    if not asked.any():
        raise NotAssessed("no item has both an intact answer and a reworded one")
    number = np.isfinite(right).sum(1)
    hits = np.nansum(right, axis=1)
    largest = int(number[asked].max())
    scores = [
        np.where(number >= k, _chosen(hits, k) / np.maximum(_chosen(number, k), 1), np.nan)
        for k in range(1, largest + 1)
    ]
    flips = np.nanmean(np.where(asked[:, None], stacked, 0.0), axis=1)
    any_flip = np.nanmax(np.where(asked[:, None], stacked, 0.0), axis=1)
    boot = look.bootstrap(asked)
    means = boot.means(np.stack([flips, any_flip, *scores], axis=1)[asked])
    flip = means.share(0)
    return Finding(
        flip,
        f"less than {NEGLIGIBLE:.0%} of the rewordings change the answer",
        below(flip, NEGLIGIBLE, boot),
        [
            described("rewordings that change the answer", flip, items=int(asked.sum())),
            described("items with a changed answer", means.share(1), items=int(asked.sum())),
            *(
                described(f"CS({k})", means.share(1 + k), items=int((asked & (number >= k)).sum()))
                for k in range(1, largest + 1)
            ),
        ],
        few_clusters(boot) + f"{len(every)} rewordings at most: " + ", ".join(n for n in WORDINGS if look.has(n)) + ".",
    )


def _chosen(n: np.ndarray, k: int) -> np.ndarray:
    """Binomial coefficients C(n, k)."""
    found = np.ones(len(n))
    for i in range(k):
        found = found * np.maximum(n - i, 0) / (i + 1)
    return found


AUDIT = Audit(
    "consensus",
    "Of several wordings of one question, how many change the answer?",
    "flip rate",
    "flip rate and consensus score over several rewordings",
    ("intact",),
    consensus,
    further=True,
)
