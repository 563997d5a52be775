"""Covariates as columns of a regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from structural_models.tabulation import Levels, coded, is_quantity


@dataclass(frozen=True)
class Design:
    """Standardised quantities (float columns), then an indicator of every level but the first of the others.

    Attributes:
        quantities: (column, mean, standard deviation) of each float column.
        levels: of each other column.
    """

    quantities: tuple[tuple[str, float, float], ...]
    levels: tuple[Levels, ...]

    @classmethod
    def of(cls, rows: pd.DataFrame, size: np.ndarray, *, names: Sequence[str] | None = None) -> Design:
        """For a frame of distinct rows, each of which stands for ``size`` rows, (rows,).

        Args:
            names: the columns to use, by default all.
        """
        weight = np.asarray(size, dtype=np.float64)
        quantities, levels = [], []
        for name in rows.columns if names is None else names:
            if not is_quantity(rows, name):
                levels.append(coded(rows, name)[1])
                continue
            values = rows[name].to_numpy(dtype=np.float64)
            mean = float(np.average(values, weights=weight))
            spread = float(np.sqrt(np.average((values - mean) ** 2, weights=weight)))
            quantities.append((str(name), mean, spread or 1.0))
        return cls(tuple(quantities), tuple(levels))

    def matrix(self, rows: pd.DataFrame) -> np.ndarray:
        """(rows, features) float64. Raises PositivityError for a level that was not there."""
        parts = [(rows[name].to_numpy(dtype=np.float64) - mean)[:, None] / sd for name, mean, sd in self.quantities]
        parts += [(known.codes(rows)[:, None] == np.arange(1, len(known))).astype(np.float64) for known in self.levels]
        return np.hstack(parts) if parts else np.zeros((len(rows), 0))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; read back by :meth:`from_dict`."""
        return {
            "quantities": [list(quantity) for quantity in self.quantities],
            "levels": [[known.column, known.values.tolist()] for known in self.levels],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Design:
        levels = tuple(Levels(column, np.asarray(values)) for column, values in record["levels"])
        return cls(tuple((name, mean, spread) for name, mean, spread in record["quantities"]), levels)
