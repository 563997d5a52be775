"""P(arm | covariates) for a treatment with any number of arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from structural_models.design import Design
from structural_models.errors import PositivityError, TableError
from structural_models.multinomial import Multinomial
from structural_models.tabulation import Levels, coded, distinct_rows, require_rows

Method = Literal["saturated", "multinomial"]


@dataclass(frozen=True)
class ArmProbabilities:
    """(rows, arms) probabilities, kept once per distinct row so that a million rows of few cells stay small.

    Attributes:
        table: (cells, arms) float64, each row sums to one.
        rows: (rows,) int64, the cell of each row.
    """

    table: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray | ArmProbabilities) -> ArmProbabilities:
        """Checked. Raises TableError unless entries are probabilities that sum to one (to 1e-6) in every row."""
        if not isinstance(probabilities, ArmProbabilities):
            dense = np.asarray(probabilities, dtype=np.float64)
            if dense.ndim != 2:
                raise TableError(f"propensities must be a (rows, arms) array, not one of shape {dense.shape}")
            probabilities = cls(dense, np.arange(len(dense), dtype=np.int64))
        table = probabilities.table
        if not (np.isfinite(table).all() and (table >= 0).all() and np.allclose(table.sum(axis=1), 1.0, atol=1e-6)):
            raise TableError("propensities must be non-negative and sum to one over the arms in every row")
        return probabilities

    @property
    def arms(self) -> int:
        return int(self.table.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def dense(self) -> np.ndarray:
        """(rows, arms) float64."""
        return np.asarray(self.table[self.rows], dtype=np.float64)

    def observed(self, codes: np.ndarray) -> np.ndarray:
        """(rows,) float64, the probability of the arm each row has."""
        return np.asarray(self.table[self.rows, codes], dtype=np.float64)


class _Model(Protocol):
    def probabilities(self, cells: pd.DataFrame) -> np.ndarray:
        """(cells, arms) for a frame of distinct covariate rows."""


@dataclass(frozen=True)
class Propensity:
    """A fitted propensity.

    Attributes:
        treatment: treatment column.
        covariates: covariate columns; none = the marginal shares of the arms.
        levels: (arms,) sorted arms; the order of the columns of :meth:`predict`.
    """

    treatment: str
    covariates: tuple[str, ...]
    levels: np.ndarray
    model: _Model

    def codes(self, table: pd.DataFrame) -> np.ndarray:
        """(rows,) int64 arm of each row. Raises PositivityError for an arm that was not there in fitting."""
        return Levels(self.treatment, self.levels).codes(table)

    def cells(self, table: pd.DataFrame) -> ArmProbabilities:
        """P(arm | covariates) of each row, in compact form. Raises as :meth:`predict`."""
        first, rows = distinct_rows(table, self.covariates)
        return ArmProbabilities(self.model.probabilities(table.iloc[first][list(self.covariates)]), rows)

    def predict(self, table: pd.DataFrame) -> np.ndarray:
        """(rows, arms) float64.

        Raises:
            PositivityError: a level of a covariate that was not there in fitting, or (saturated, without smoothing)
                a combination of levels that was not.
            TableError: a covariate column is missing or has gaps.
        """
        return self.cells(table).dense()


def fit_propensity(
    table: pd.DataFrame,
    treatment: str,
    covariates: Sequence[str],
    *,
    method: Method = "saturated",
    smoothing: float = 0.0,
    levels: np.ndarray | None = None,
) -> Propensity:
    """Fit P(treatment | covariates).

    Args:
        table: one row per item, no gaps in the columns used.
        covariates: for "saturated", columns with few distinct combinations. For "multinomial", float columns enter
            linearly and all others as indicators of their levels.
        method: "saturated" = the share of each arm among rows with the same covariates; "multinomial" = unpenalised
            multinomial logistic regression, main effects only.
        smoothing: Laplace: this many rows are added to every (covariates, arm) cell; saturated only.
        levels: the arms, sorted, where the table may lack some; by default those that occur.

    Raises:
        TableError: no rows, a column missing or with gaps, or an option out of range.
        PositivityError: the multinomial fit diverges because the covariates (almost) determine the arm.
    """
    require_rows(table)
    if smoothing < 0 or not np.isfinite(smoothing):
        raise TableError(f"smoothing must be a number of at least 0, not {smoothing}")
    if method == "multinomial" and smoothing:
        raise TableError("smoothing belongs to the saturated propensity; the multinomial one has none")
    if levels is None:
        codes, known = coded(table, treatment)
    else:
        known = Levels(treatment, np.asarray(levels))
        codes = known.codes(table)
    first, rows = distinct_rows(table, covariates)
    counts = np.bincount(rows * len(known) + codes, minlength=len(first) * len(known)).reshape(len(first), len(known))
    return propensity_of_counts(table.iloc[first][list(covariates)], counts, known, method=method, smoothing=smoothing)


def propensity_of_counts(
    cells: pd.DataFrame, counts: np.ndarray, arms: Levels, *, method: Method = "saturated", smoothing: float = 0.0
) -> Propensity:
    """As :func:`fit_propensity`, of a frame of distinct covariate rows and the (rows, arms) counts at each of them."""
    model: _Model
    if method == "saturated":
        model = _Saturated.fit(cells, counts, smoothing)
    elif method == "multinomial":
        model = _Multinomial.fit(cells, counts, arms.column)
    else:
        raise TableError(f"no propensity method is called '{method}'; use saturated or multinomial")
    return Propensity(arms.column, tuple(map(str, cells.columns)), arms.values, model)


@dataclass(frozen=True)
class _Saturated:
    levels: tuple[Levels, ...]
    index: pd.Index
    table: np.ndarray
    smoothing: float

    @classmethod
    def fit(cls, cells: pd.DataFrame, counts: np.ndarray, smoothing: float) -> _Saturated:
        levels = tuple(coded(cells, name)[1] for name in cells.columns)
        filled = counts + smoothing
        return cls(levels, _keys(cells, levels), filled / filled.sum(axis=1, keepdims=True), smoothing)

    def probabilities(self, cells: pd.DataFrame) -> np.ndarray:
        at = self.index.get_indexer(_keys(cells, self.levels))
        new = at < 0
        if new.any() and not self.smoothing:
            example = ", ".join(f"{name} = {value}" for name, value in cells[new].iloc[0].items())
            raise PositivityError(
                f"{int(new.sum())} combination(s) of covariates did not occur where the propensity was fitted, e.g. "
                f"{example}; use smoothing or fewer covariates"
            )
        out = self.table[at]
        out[new] = 1.0 / self.table.shape[1]
        return out


def _keys(cells: pd.DataFrame, levels: Sequence[Levels]) -> pd.Index:
    if not levels:
        return pd.Index(np.zeros(len(cells), dtype=np.int64))
    return pd.MultiIndex.from_arrays([known.codes(cells) for known in levels])


@dataclass(frozen=True)
class _Multinomial:
    covariates: Design
    fitted: Multinomial

    @classmethod
    def fit(cls, cells: pd.DataFrame, counts: np.ndarray, treatment: str) -> _Multinomial:
        design = Design.of(cells, counts.sum(axis=1))
        return cls(design, Multinomial.fit(design.matrix(cells), counts, f"propensity of '{treatment}'"))

    def probabilities(self, cells: pd.DataFrame) -> np.ndarray:
        return self.fitted.probabilities(self.covariates.matrix(cells))
