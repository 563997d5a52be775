"""Given the true finding, do the answers still go with the style of the wording?"""

from __future__ import annotations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed
from causalecg.audits.result import Verdict
from causalecg.audits.statistics.bootstrap import MINIMUM_CLUSTERS
from causalecg.audits.statistics.means import Interval
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters

_PERMUTATIONS = 1999


def dependence(look: Look) -> Finding:
    """Dependence of the answer on the style among items of one canonical question and one true answer.

    The distance is the total variation between the answers of each style and of all styles of the stratum, averaged
    over items, less what chance alone gives; its test exchanges styles within the strata. A sound reader's errors do
    not depend on the style, unless severity, which goes with the style, makes a finding harder to see: the audit only
    observes, the interventions on the wording do not need to assume.

    Source: permutation within strata, e.g. Good 2005, ch. 3; tables with fixed margins by Patefield 1981.
    """
    items = look.outcomes.items
    mine = look.answers("intact")
    style = np.unique(items["style"].astype(str), return_inverse=True)[1]
    if style.max(initial=0) == 0:
        raise NotAssessed("all items have one style")
    asked = mine.asked
    strata = items["question_id"].astype(str) + "\x1f" + look.outcomes.true.astype(str)
    tables = _tables(np.unique(strata[asked], return_inverse=True)[1], style[asked], mine.code[asked])
    if not tables:
        raise NotAssessed("no question with one true answer was asked in two styles and answered in two ways")
    total = sum(table.sum() for table in tables)
    observed = sum(_distance(table[None])[0] * table.sum() for table in tables) / total
    rng = np.random.default_rng([look.seed, 17])
    by_chance = np.zeros(_PERMUTATIONS)
    for table in tables:
        by_chance += _distance(_exchanged(table, rng)) * table.sum() / total
    p = (1 + int((by_chance >= observed - 1e-12).sum())) / (1 + _PERMUTATIONS)
    effect = float(observed - by_chance.mean())
    # Chance spreads the distance as much where there is an effect, to first order.
    reach = 1.96 * float(by_chance.std(ddof=1))
    headline = Interval(effect, effect - reach, effect + reach)
    boot = look.bootstrap(asked)
    verdict: Verdict = below(headline, NEGLIGIBLE, boot) if boot.clusters >= MINIMUM_CLUSTERS else "inconclusive"
    return Finding(
        headline,
        f"less than {NEGLIGIBLE}",
        verdict,
        [
            {"what": "distance between styles, given the truth", "estimate": float(observed)},
            {"what": "of that by chance", "estimate": float(by_chance.mean())},
            {"what": "strata", "estimate": len(tables)},
            {"what": "items in them", "estimate": int(total)},
        ],
        few_clusters(boot) + f"Styles exchanged {_PERMUTATIONS} times within question and true answer.",
        p,
    )


def _tables(stratum: np.ndarray, style: np.ndarray, answer: np.ndarray) -> list[np.ndarray]:
    """(styles, answers) counts of every stratum with at least two of either."""
    order = np.argsort(stratum, kind="stable")
    found = []
    for rows in np.split(order, np.flatnonzero(np.diff(stratum[order])) + 1):
        one, first = np.unique(style[rows], return_inverse=True)
        two, second = np.unique(answer[rows], return_inverse=True)
        if len(one) > 1 and len(two) > 1:
            counts = np.bincount(first * len(two) + second, minlength=len(one) * len(two))
            found.append(counts.reshape(len(one), len(two)).astype(np.float64))
    return found


def _distance(tables: np.ndarray) -> np.ndarray:
    """(n, styles, answers) -> (n,) total variation of each style's answers from all, averaged over items."""
    rows, size = tables.sum(2, keepdims=True), tables.sum((1, 2), keepdims=True)
    apart = np.abs(tables / rows - tables.sum(1, keepdims=True) / size).sum(2) / 2
    return np.asarray((apart * rows[..., 0] / size[..., 0]).sum(1))


def _exchanged(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(permutations, styles, answers) tables with the same margins."""
    from scipy.stats import random_table

    law = random_table(table.sum(1).astype(int), table.sum(0).astype(int))
    return np.asarray(law.rvs(_PERMUTATIONS, random_state=rng), dtype=np.float64)


AUDIT = Audit(
    "dependence",
    "Among items with the same true answer, do the answers go with the style?",
    "dependence on the style",
    "answers against style, given question and true answer (permutation within strata)",
    ("intact",),
    dependence,
)
