"""Given the true finding, do the answers still go with the style of the wording?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from causalecg.audits.audit import Audit, Finding, Look, NotAssessed, column
from causalecg.audits.statistics.bootstrap import ClusterBootstrap
from causalecg.audits.statistics.means import Interval
from causalecg.audits.verdicts import NEGLIGIBLE, below, few_clusters

_PERMUTATIONS = 1999
#: A style with fewer items in a stratum is left out there: how its answers vary cannot be told from so few.
FEWEST = 10


def dependence(look: Look) -> Finding:
    """Dependence of the answer on the style among items of one canonical question and one true answer.

    The distance is the total variation between the answers of two styles of the stratum, mean over pairs of styles and,
    by their items, over strata, less what chance alone gives: a model that answers by the style alone has 1, however
    rare one of them is. Its test exchanges styles within the strata; the interval has the linearised distance's
    standard error, patients resampled whole, or that of the exchanges where it is larger, and its upper limit leaves
    what chance gives in: where styles are apart, chance hardly adds to the distance. A sound reader's errors do
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
    names = items["question_id"].astype(str) + "\x1f" + look.outcomes.true.astype(str)
    strata = _strata(np.unique(names[asked], return_inverse=True)[1], style[asked], mine.code[asked])
    if not strata:
        raise NotAssessed(
            f"no question with one true answer was asked {FEWEST} times in each of two styles and answered in two ways"
        )
    boot = look.bootstrap(asked)
    found = _apart(strata, boot, np.random.default_rng([look.seed, 17]))
    headline = found.interval
    return Finding(
        headline,
        f"less than {NEGLIGIBLE}",
        below(headline, NEGLIGIBLE, boot),
        [
            {"what": "distance between two styles, given the truth", "estimate": found.distance},
            {"what": "of that by chance", "estimate": found.by_chance},
            {"what": "strata", "estimate": len(strata)},
            {"what": "items in them", "estimate": sum(len(stratum.rows) for stratum in strata)},
        ],
        few_clusters(boot)
        + f"Styles exchanged {_PERMUTATIONS} times within question and true answer; p takes items for independent.",
        found.p,
    )


@dataclass(frozen=True)
class _Stratum:
    """``rows``: positions of its items; ``style``, ``answer``: (rows,) codes; ``table``: (styles, answers) counts."""

    rows: np.ndarray
    style: np.ndarray
    answer: np.ndarray
    table: np.ndarray


def _strata(stratum: np.ndarray, style: np.ndarray, answer: np.ndarray) -> list[_Stratum]:
    """Those with at least two styles of :data:`FEWEST` items, and two answers."""
    order = np.argsort(stratum, kind="stable")
    found = []
    for rows in np.split(order, np.flatnonzero(np.diff(stratum[order])) + 1):
        rows = rows[np.bincount(style[rows])[style[rows]] >= FEWEST]
        one, first = np.unique(style[rows], return_inverse=True)
        two, second = np.unique(answer[rows], return_inverse=True)
        if len(one) > 1 and len(two) > 1:
            counts = np.bincount(first * len(two) + second, minlength=len(one) * len(two))
            found.append(_Stratum(rows, first, second, counts.reshape(len(one), len(two)).astype(np.float64)))
    return found


@dataclass(frozen=True)
class _Apart:
    """``distance``, of which ``by_chance`` is what exchanged styles have; ``interval`` of the rest; ``p``."""

    distance: float
    by_chance: float
    interval: Interval
    p: float


def _apart(strata: list[_Stratum], boot: ClusterBootstrap, rng: np.random.Generator) -> _Apart:
    """``boot`` resamples the items of which the strata's rows are positions."""
    items = len(boot.members)
    total = sum(len(stratum.rows) for stratum in strata)
    observed, by_chance, influence = 0.0, np.zeros(_PERMUTATIONS), np.zeros(items)
    for stratum in strata:
        share = len(stratum.rows) / total
        observed += float(_distance(stratum.table[None])[0]) * share
        by_chance += _distance(_exchanged(stratum.table, rng)) * share
        influence[stratum.rows] = _influence(stratum) * share
    p = (1 + int((by_chance >= observed - 1e-12).sum())) / (1 + _PERMUTATIONS)
    effect = float(observed - by_chance.mean())
    error = boot.means(influence * items).standard_error(column(0))
    reach = 1.96 * max(float(error), float(by_chance.std(ddof=1)))
    return _Apart(observed, float(by_chance.mean()), Interval(effect, effect - reach, observed + reach), p)


def _distance(tables: np.ndarray) -> np.ndarray:
    """(n, styles, answers) -> (n,) total variation between the answers of two styles, mean over pairs of styles."""
    shares = tables / tables.sum(2, keepdims=True)
    pairs = list(combinations(range(tables.shape[1]), 2))
    return np.asarray(sum(np.abs(shares[:, a] - shares[:, b]).sum(1) / 2 for a, b in pairs) / len(pairs))


def _influence(stratum: _Stratum) -> np.ndarray:
    """(rows,) what each item adds to the stratum's distance, to first order; they sum to zero within each style."""
    size = stratum.table.sum(1, keepdims=True)
    shares = stratum.table / size
    styles = len(shares)
    slope = np.sign(shares[:, None] - shares[None]).sum(1) / (styles * (styles - 1))
    each = (slope - (slope * shares).sum(1, keepdims=True)) / size
    return np.asarray(each[stratum.style, stratum.answer])


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
    prefers="test_unbiased",
)
