"""Severity's effect on the answer: straight, and through the question.

With severity S set to s for the answer and to r for the question, the mean outcome is

    m(s, r) = sum_q P(q | r) E[A | q, s]        (Pearl 2001, eq. 8, no other variable confounding)

From the reference level r to s:

    total                 m(s, s) - m(r, r)
    natural direct        m(s, r) - m(r, r)     the question stays what it would have been at r
    natural indirect      m(s, s) - m(s, r)     "total" indirect: direct + indirect = total
    pure indirect         m(r, s) - m(r, r)
    total direct          m(s, s) - m(r, s)     total direct + pure indirect = total

"Direct" is severity's here, along S -> A and S -> E -> A, never the question's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from structural_models.effects.arm_means import NUMBER
from structural_models.effects.cells import Cells, tabulate
from structural_models.effects.clusters import Clusters
from structural_models.effects.limits import normal_limits
from structural_models.errors import TableError
from structural_models.json_values import plain
from structural_models.stratified_independence import checked_groups

#: effect -> factors of m(s, s), m(s, r), m(r, s), m(r, r)
DECOMPOSITION = {
    "total": (1, 0, 0, -1),
    "natural direct": (0, 1, 0, -1),
    "natural indirect": (1, -1, 0, 0),
    "pure indirect": (0, 0, 1, -1),
    "total direct": (1, 0, -1, 0),
}
_TOTAL = np.array(DECOMPOSITION["total"], dtype=np.float64)


@dataclass(frozen=True)
class SeverityEffects:
    """What :func:`severity_effects` found.

    Attributes:
        table: one row per combination of ``within``, severity against the reference, outcome and effect (a key of
            :data:`DECOMPOSITION`): ``estimate`` with ``low`` and ``high``, and ``share`` of the total effect, NaN where
            the interval of that holds zero.
        severity, treatment, outcome, within: columns.
        reference: severity that the others are compared with.
        level: of the intervals.
        left_out: sentences: comparisons that the data do not allow.
    """

    table: pd.DataFrame
    severity: str
    treatment: str
    outcome: str
    within: tuple[str, ...]
    reference: object
    level: float
    left_out: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what is not known is None."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return dict(plain({**record, "table": self.table.astype(object).to_dict("records")}))


def severity_effects(
    table: pd.DataFrame,
    severity: str,
    treatment: str,
    outcome: str,
    *,
    within: Sequence[str] = (),
    reference: object | None = None,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> SeverityEffects:
    """Severity's total, direct and indirect effect through the question, saturated, with clustered intervals.

    Args:
        table: no gaps in the columns used; all hold levels, but for an outcome that is a number (a float column).
        within: columns held fixed.
        reference: a severity; by default the lowest.
        groups: (rows,) integer patient of each row, or (rows, some) where a row has several; negative = none.

    Right where nothing unmeasured ties severity, question and answer together. A question asked at one of the two
    severities only leaves its answers at the other unknown: such a comparison is left out, and said so.

    Raises TableError for a missing column, gaps, a single severity, or a reference that does not occur.
    """
    if not 0 < level < 1:
        raise TableError(f"level must lie between 0 and 1, not at {level}")
    members = None if groups is None else checked_groups(groups, len(table))
    counted = tabulate(table, treatment, outcome, [severity], within)
    clusters = Clusters.of(counted.cell_of_row, counted.cells, members)
    values = np.unique(table[severity].to_numpy())
    base = values[0] if reference is None else reference
    if len(values) < 2 or base not in values:
        raise TableError(
            f"column '{severity}' holds {', '.join(map(str, values))}; it needs two levels, and '{base}' as reference"
        )
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for part in counted.parts:
        cells = part.cells
        held = dict(zip(within, part.held, strict=True))
        where = "".join(f" where {name} = {value}" for name, value in held.items())
        here = {value: i for i, value in enumerate(cells.strata[severity].to_numpy())}
        for value in (v for v in sorted(here) if v != base):
            pair = (here[value], here.get(base, -1))
            present = cells.by_arm > 0
            if pair[1] < 0 or (present[pair[0]] != present[pair[1]]).any():
                left_out.append(f"{severity} {value} against {base}{where}: they do not share all questions")
                continue
            for j, name in enumerate([NUMBER] if cells.outcomes is None else cells.outcomes.values):
                ends = [pair, pair[::-1]]
                worlds = [(pair[0], pair[0]), ends[0], ends[1], (pair[1], pair[1])]
                means = np.array([_mean(cells, s, r, j) for s, r in worlds])
                influence = np.stack([_influence(cells, s, r, j, m) for (s, r), m in zip(worlds, means, strict=True)])
                spread = clusters.covariance(influence.T, part.at, cells.rows)
                total = normal_limits(means[0] - means[3], float(_TOTAL @ spread @ _TOTAL), level)
                there = total.low * total.high > 0
                for effect, factors in DECOMPOSITION.items():
                    f = np.array(factors, dtype=np.float64)
                    limits = normal_limits(float(f @ means), float(f @ spread @ f), level)
                    about = {**held, "severity": value, "reference": base, "outcome": name, "effect": effect}
                    share = float(f @ means / (means[0] - means[3])) if there else np.nan
                    rows.append(
                        {**about, "estimate": f @ means, "low": limits.low, "high": limits.high, "share": share}
                    )
    columns = [*within, "severity", "reference", "outcome", "effect", "estimate", "low", "high", "share"]
    return SeverityEffects(
        pd.DataFrame(rows, columns=columns), severity, treatment, outcome, tuple(within), base, level, tuple(left_out)
    )


def _mean(cells: Cells, answer_at: int, question_at: int, outcome: int) -> float:
    """m(answer_at, question_at)."""
    share = cells.by_arm[question_at] / cells.by_stratum[question_at]
    there = share > 0
    return float(share[there] @ cells.saturated_means[answer_at, there, outcome])


def _influence(cells: Cells, answer_at: int, question_at: int, outcome: int, mean: float) -> np.ndarray:
    """(cells,) influence of one row of each (Tchetgen Tchetgen & Shpitser 2012, theorem 1, without covariates)."""
    expected = np.nan_to_num(cells.saturated_means[answer_at, :, outcome])
    asked = cells.by_arm / cells.by_stratum[:, None]
    share = cells.by_stratum / cells.rows
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(asked[question_at] / asked[answer_at])
    left = ratio[cells.arm] * (cells.measured[:, outcome] - expected[cells.arm]) / share[answer_at]
    moved = (expected[cells.arm] - mean) / share[question_at]
    return np.where(cells.stratum == answer_at, left, 0.0) + np.where(cells.stratum == question_at, moved, 0.0)
