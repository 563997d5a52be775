"""Regression of the outcome on treatment and covariates, without assuming that every combination occurs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from structural_models.design import Design
from structural_models.effects.cells import Cells
from structural_models.errors import PositivityError
from structural_models.multinomial import Multinomial


@dataclass(frozen=True)
class OutcomeModel:
    """Least squares for a number, multinomial logistic regression for levels; main effects of treatment and covariates.

    Attributes:
        design: of the covariates.
        covariates: (strata, features) of it.
        arms: how many.
        interactions: whether each arm has covariate effects of its own.
        fitted: (features,) coefficients for a number, else the regression.
    """

    design: Design
    covariates: np.ndarray
    arms: int
    interactions: bool
    fitted: np.ndarray | Multinomial

    @classmethod
    def fit(cls, cells: Cells, *, interactions: bool = False) -> OutcomeModel:
        """Maximum likelihood. Raises PositivityError where there is no maximum."""
        design = Design.of(cells.strata, cells.by_stratum)
        covariates = design.matrix(cells.strata)
        unfitted = cls(design, covariates, len(cells.arms), interactions, np.empty(0))
        z = unfitted.features(cells.stratum, cells.arm)
        if cells.outcomes is None:
            root = np.sqrt(cells.counts)
            coefficients, _, rank, _ = np.linalg.lstsq(z * root[:, None], cells.value * root, rcond=None)
            if rank < z.shape[1]:
                raise PositivityError(
                    "the regression of the outcome is not determined: some combination of treatment and covariates "
                    "does not occur; leave the interactions out, or merge levels"
                )
            return cls(design, covariates, len(cells.arms), interactions, coefficients)
        # Rows alike in everything but the outcome are one row of the regression.
        flat = cells.stratum * len(cells.arms) + cells.arm
        known, first, inside = np.unique(flat, return_index=True, return_inverse=True)
        counts = np.zeros((len(known), len(cells.outcomes)))
        np.add.at(counts, (inside, cells.value), cells.counts)
        about = f"regression of '{cells.outcomes.column}'"
        return cls(design, covariates, len(cells.arms), interactions, Multinomial.fit(z[first][:, 1:], counts, about))

    def features(self, stratum: np.ndarray, arm: np.ndarray | int) -> np.ndarray:
        """(rows, features): one, indicators of the arms but the first, covariates, and their products."""
        arms = np.broadcast_to(arm, stratum.shape)[:, None] == np.arange(1, self.arms)
        x = self.covariates[stratum]
        parts = [np.ones((len(x), 1)), arms.astype(np.float64), x]
        if self.interactions:
            parts.append((arms[:, :, None] * x[:, None, :]).reshape(len(x), -1))
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
