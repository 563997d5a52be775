"""Matching: every item beside items in another style that agree with it in severity and topic.

The weights of matching go into the loss and the matched rows into one batch. Repeating the rare rows instead, as often
as they are matched, would have a network memorise them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from adjusters.batching import rows_of_kinds
from adjusters.contract import Adjuster, Card, ContractError
from adjusters.severity_based.cells import (
    Columns,
    level_keys,
    look_up,
    overlap_report,
    pooled_balance,
    require_overlap,
)
from structural_models.errors import TableError
from structural_models.matching import match_rows
from structural_models.tabulation import coded, column_values, distinct_rows

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

SeverityGiven = Literal["observed", "dealt"]
#: Columns that :meth:`Matched.rewrite` adds.
WEIGHT, SET = "matching_weight", "matched_set"


class Matched(Adjuster):
    """Matches each training row to rows of every other style in the same stratum and topic.

    With replacement all rows are learned from. A row counts once for itself and 1 / ratio for each row that it is a
    match of, divided by the styles of its stratum: a draw, whole-numbered up to that factor, of the inverse propensity
    weights 1 / P(F | S, T). Every stratum keeps its size, and all styles weigh the same in it. Without replacement only
    matched rows are learned from: those of the rarest style of each stratum, and up to ``ratio`` of each other, of
    weight one set against one. That is another population: strata count by their rarest style.

    In an epoch every row comes once; a row of a stratum's rarest style and its matches are in one batch.

    Args:
        replace: match with replacement.
        ratio: how many rows of each other style a row is matched to.
        near: columns, e.g. age and sex, in which matches are the nearest of their stratum; without them any of it,
            dealt out evenly. Not the ECG: what is read in it must stay to be learned.
        severity: "dealt": rows are matched by severities (and what else is adjusted for) that are dealt among them, as
            a placebo is: without replacement the choice of rows would tell what its weights are not to.
        treatment: role or column of the treatment: the estimand's, or a finer division of it.
        by: role or column within which rows are matched; ``None`` = across all items.

    Learned: ``cells_``, the mean weight of each cell, by which validation rows are weighted, and ``overlap_``
    (effective sample size by these, smallest share of an arm, thin cells). :meth:`rewrite` adds the columns
    ``matching_weight`` and ``matched_set``.
    """

    card = Card(
        summary="Matching: rows of different style with the same severity and topic, weighed in the loss and set side "
        "by side in the batches.",
        needs=("severity", "treatment"),
        uses=("weights", "batches", "rewrite"),
        estimands=("P(A | E, do(Q))", "P(A | do(Q))"),
        consistent_when="severity is measured without error, suffices, and every style occurs at every severity; "
        "without replacement, for the strata as their rarest styles count them",
        fails_when="severity recorded with error (R4); no overlap (R5, refused); causes besides severity (R9); at rho "
        "= .99 a few heavy rows decide (R1, R6), which a network soon memorises",
        source="Stuart 2010; weights of matching with replacement: Abadie & Imbens 2006",
        placebo={"severity": "dealt"},
    )

    cells_: dict[str, Any]
    overlap_: dict[str, Any]

    def __init__(
        self,
        replace: bool = True,
        ratio: int = 1,
        near: Sequence[str] | None = None,
        severity: SeverityGiven = "observed",
        treatment: str | None = None,
        by: str | None = "topic",
    ) -> None:
        if severity not in get_args(SeverityGiven):
            raise ContractError(f"matched's severity is observed or dealt, not '{severity}'")
        if not isinstance(ratio, int) or ratio < 1:
            raise ContractError(f"matched's ratio must be a whole number, at least 1, not {ratio}")
        if isinstance(near, str):
            raise ContractError(f"matched's near is a list of columns, not the text '{near}'")
        self.replace = replace
        self.ratio = ratio
        self.near = near
        self.severity = severity
        self.treatment = treatment
        self.by = by

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        columns = self._columns(table)
        require_overlap("matched", table, columns)
        for column in self.near or ():
            try:
                column_values(table, column)
            except TableError as error:
                raise ContractError(f"matched cannot match on '{column}': {error}") from error
        self.cells_ = self._expected(table, columns)
        self.overlap_ = overlap_report(table, columns, self.weights(table))
        return self

    def rewrite(self, table: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
        """The rows that have a weight, with it and the number of their matched set (-1: none)."""
        columns = self._columns(table)
        given = table
        if self.severity == "dealt":
            order = rng.permutation(len(table))
            given = table.assign(**{name: table[name].to_numpy()[order] for name in columns.strata})
        found = match_rows(
            given,
            columns.treatment,
            [*columns.strata, *columns.groups],
            ratio=self.ratio,
            replace=self.replace,
            near=self.near or (),
            rng=rng,
        )
        weights = found.weights
        if self.replace:
            arm, arms = coded(given, columns.treatment)
            stratum = distinct_rows(given, [*columns.strata, *columns.groups])[1]
            styles = np.zeros((int(stratum.max()) + 1, len(arms)))
            styles[stratum, arm] = 1.0
            weights = weights / styles.sum(axis=1)[stratum]
        made = table.assign(**{WEIGHT: weights, SET: found.sets})
        return made[weights > 0].reset_index(drop=True)

    def weights(self, table: pd.DataFrame) -> np.ndarray:
        if WEIGHT in table.columns:
            own = table[WEIGHT].to_numpy(dtype=np.float64)
            return np.asarray(own / own.mean())
        return look_up(self.cells_, table, "matched")

    def batches(self, table: pd.DataFrame, size: int, *, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """Every row once; sets stay whole, and batches hold about ``size`` rows."""
        rng = np.random.default_rng([seed, epoch])
        sets = table[SET].to_numpy() if SET in table.columns else np.full(len(table), -1)
        made: list[np.ndarray] = []
        for rows in rows_of_kinds(table):
            # A row in no set is one by itself.
            unit = np.unique(np.where(sets[rows] < 0, -1 - rows, sets[rows]), return_inverse=True)[1].reshape(-1)
            place = rng.permutation(int(unit.max()) + 1)[unit]
            order = np.lexsort((rng.random(len(rows)), place))
            ends = np.flatnonzero(np.diff(np.r_[place[order], -1])) + 1
            targets = np.linspace(0, len(rows), max(1, round(len(rows) / size)) + 1)[1:-1]
            cuts = np.unique(ends[np.searchsorted(ends, targets)]) if len(targets) else np.zeros(0, dtype=np.int64)
            made += [part for part in np.split(rows[order], cuts) if len(part)]
        for i in rng.permutation(len(made)):
            yield made[i]

    def balance(self, table: pd.DataFrame) -> pd.DataFrame:
        """Standardised mean differences of the strata between styles, within topics, before and after matching."""
        return pooled_balance(table, self._columns(table), self.weights(table), overlap=not self.replace)

    def _expected(self, table: pd.DataFrame, columns: Columns) -> dict[str, Any]:
        """The mean weight of each cell, for :func:`.cells.look_up`."""
        first, cell = distinct_rows(table, columns.all)
        stratum = distinct_rows(table, [*columns.strata, *columns.groups])[1][first]
        rows = np.bincount(cell)
        styles = np.bincount(stratum)[stratum]
        if self.replace:
            weight = np.bincount(stratum, rows)[stratum] / (styles * rows)
        else:
            smallest = np.full(int(stratum.max()) + 1, np.inf)
            np.minimum.at(smallest, stratum, rows)
            weight = np.where(styles > 1, smallest[stratum] / rows, 0.0)
        return {
            "columns": list(columns.all),
            "keys": level_keys(table.iloc[first], columns.all).tolist(),
            "rows": rows.tolist(),
            "weights": (weight / np.average(weight, weights=rows)).tolist(),
        }

    def _columns(self, table: pd.DataFrame) -> Columns:
        assert self.estimand_ is not None
        return Columns.of("matched", table, self.estimand_, self.treatment, self.by)
