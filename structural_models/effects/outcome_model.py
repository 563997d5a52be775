"""Regression of the outcome on treatment and covariates, without assuming that every combination occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from structural_models.design import Design
from structural_models.effects.cells import Cells
from structural_models.errors import PositivityError, TableError
from structural_models.multinomial import Multinomial


@dataclass(frozen=True)
class OutcomeModel:
    """Least squares for a number, multinomial logistic regression for levels; main effects of treatment and covariates.

    Attributes:
        covariates: (strata, features) of the design.
        products: (strata, some features) those of them that each arm has effects of its own of.
        arms: how many.
        fitted: (parameters,) coefficients for a number, else the regression.
    """

    covariates: np.ndarray
    products: np.ndarray
    arms: int
    fitted: np.ndarray | Multinomial

    @classmethod
    def fit(
        cls,
        cells: Cells,
        *,
        covariates: Sequence[str] | None = None,
        interactions: Sequence[str] | Literal["all"] = (),
    ) -> OutcomeModel:
        """Maximum likelihood.

        Args:
            covariates: columns used, by default all.
            interactions: columns of which each arm has effects of its own.

        Raises PositivityError where there is no maximum, TableError for a column that is none of the covariates.
        """
        used = list(map(str, cells.strata.columns)) if covariates is None else list(covariates)
        own = used if interactions == "all" else list(interactions)
        for name in own + used:
            if name not in used or name not in cells.strata.columns:
                raise TableError(f"the outcome model names '{name}', which is not among its covariates")
        columns, products = (
            Design.of(cells.strata, cells.by_stratum, names=names).matrix(cells.strata) for names in (used, own)
        )
        unfitted = cls(columns, products, len(cells.arms), np.empty(0))
        z = unfitted.features(cells.stratum, cells.arm)
        if cells.outcomes is None:
            root = np.sqrt(cells.counts)
            coefficients, _, rank, _ = np.linalg.lstsq(z * root[:, None], cells.value * root, rcond=None)
            if rank < z.shape[1]:
                raise PositivityError(
                    "the regression of the outcome is not determined: some combination of treatment and covariates "
                    "does not occur; leave the interactions out, or merge levels"
                )
            return cls(columns, products, len(cells.arms), coefficients)
        # Rows alike in everything but the outcome are one row of the regression.
        flat = cells.stratum * len(cells.arms) + cells.arm
        known, first, inside = np.unique(flat, return_index=True, return_inverse=True)
        counts = np.zeros((len(known), len(cells.outcomes)))
        np.add.at(counts, (inside, cells.value), cells.counts)
        about = f"regression of '{cells.outcomes.column}'"
        return cls(columns, products, len(cells.arms), Multinomial.fit(z[first][:, 1:], counts, about))

    def features(self, stratum: np.ndarray, arm: np.ndarray | int) -> np.ndarray:
        """(rows, features): one, indicators of the arms but the first, covariates, and their products."""
        arms = np.broadcast_to(arm, stratum.shape)[:, None] == np.arange(1, self.arms)
        crossed = arms[:, :, None] * self.products[stratum][:, None, :]
        parts = [np.ones((len(arms), 1)), arms, self.covariates[stratum], crossed.reshape(len(arms), -1)]
        return np.hstack(parts)

    def predict(self, stratum: np.ndarray, arm: np.ndarray | int) -> np.ndarray:
        """(rows, outcomes) expected outcome."""
        z = self.features(stratum, arm)
        if isinstance(self.fitted, Multinomial):
            return self.fitted.probabilities(z[:, 1:])
        return np.asarray((z @ self.fitted)[:, None], dtype=np.float64)

    def scores(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """(cells, parameters) derivative of each row's log-likelihood, and the (parameters, parameters) summed
        information."""
        z = self.features(cells.stratum, cells.arm)
        expected = self.predict(cells.stratum, cells.arm)
        if not isinstance(self.fitted, Multinomial):
            return z * (cells.value - expected[:, 0])[:, None], (z * cells.counts[:, None]).T @ z
        free = self._free()
        left = (cells.measured - expected)[:, free]
        p = expected[:, free]
        spread = p[:, :, None] * (np.eye(len(free)) - p[:, None, :])
        information = np.einsum("i,ijk,ia,ib->jakb", cells.counts, spread, z, z, optimize=True)
        size = len(free) * z.shape[1]
        return (left[:, :, None] * z[:, None, :]).reshape(len(z), size), information.reshape(size, size)

    def gradient(self, cells: Cells, arm: int, outcome: int) -> np.ndarray:
        """(parameters,) derivative of the mean prediction of one outcome under one arm."""
        strata = np.arange(len(cells.strata))
        z, share = self.features(strata, arm), cells.by_stratum / cells.rows
        if not isinstance(self.fitted, Multinomial):
            return np.asarray(share @ z)
        free = self._free()
        p = self.predict(strata, arm)
        slope = p[:, [outcome]] * ((free == outcome).astype(np.float64) - p[:, free])
        return np.einsum("s,sj,sa->ja", share, slope, z).ravel()

    def _free(self) -> np.ndarray:
        """Outcomes that have parameters: all that occur but one."""
        assert isinstance(self.fitted, Multinomial)
        return np.flatnonzero(np.isfinite(self.fitted.intercepts))[1:]
