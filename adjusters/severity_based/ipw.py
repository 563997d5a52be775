"""Inverse probability weighting on the wording of the question, given severity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from adjusters.contract import Adjuster, Card, ContractError
from adjusters.severity_based.cells import (
    Columns,
    Scheme,
    cell_weights,
    look_up,
    overlap_report,
    pooled_balance,
    require_overlap,
)

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand


class InverseProbabilityWeighting(Adjuster):
    """Loss weights under which the style of the question is independent of severity, within each topic.

    Weights are P(F | T) / P(F | S, T), mean one, with saturated (cell-share) propensities; any number of styles and
    levels.

    Args:
        stabilised: keep the styles' own shares P(F | T); otherwise all styles of a topic weigh the same.
        clip: weights above it are set to it; below one, the quantile to clip at. Trades bias for variance.
        overlap: overlap weights instead: bounded, for the population in which every style is likely.
        treatment: column of the treatment; by default the estimand's.
        by: role or column within which weights are formed; ``None`` = across all items.

    Learned: ``cells_`` (a weight per cell) and ``overlap_`` (effective sample size, smallest propensity, thin cells).
    A row in a cell that training lacked (possible in validation) has weight zero.
    """

    card = Card(
        summary="Inverse probability weights that make the wording independent of severity within each topic.",
        needs=("severity", "treatment"),
        uses=("weights",),
        estimands=("P(A | E, do(Q))", "P(A | do(Q))"),
        consistent_when="severity is measured without error, suffices, and every style occurs at every severity",
        source="Robins, Hernán & Brumback 2000; Li & Li 2019 (overlap weights)",
    )

    cells_: dict[str, Any]
    overlap_: dict[str, Any]

    def __init__(
        self,
        stabilised: bool = True,
        clip: float | None = None,
        overlap: bool = False,
        treatment: str | None = None,
        by: str | None = "topic",
    ) -> None:
        if clip is not None and not clip > 0:
            raise ContractError(f"ipw's clip must be a positive weight, or a quantile below one, not {clip}")
        if overlap and (clip is not None or not stabilised):
            raise ContractError("ipw's overlap weights are bounded already; do not give clip or stabilised with them")
        self.stabilised = stabilised
        self.clip = clip
        self.overlap = overlap
        self.treatment = treatment
        self.by = by

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        columns = self._columns(table)
        require_overlap("ipw", table, columns)
        self.cells_ = cell_weights(table, columns, self._scheme, self.clip)
        self.overlap_ = overlap_report(table, columns, self.weights(table))
        return self

    def weights(self, table: pd.DataFrame) -> np.ndarray:
        return look_up(self.cells_, table, "ipw")

    def balance(self, table: pd.DataFrame) -> pd.DataFrame:
        """Standardised mean differences of the strata between styles, within topics, before and after weighting."""
        return pooled_balance(table, self._columns(table), self.weights(table), overlap=self.overlap)

    @property
    def _scheme(self) -> Scheme:
        if self.overlap:
            return "overlap"
        return "stabilised" if self.stabilised else "unstabilised"

    def _columns(self, table: pd.DataFrame) -> Columns:
        assert self.estimand_ is not None
        return Columns.of("ipw", table, self.estimand_, self.treatment, self.by)
