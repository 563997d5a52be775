"""The variance of sums of influence over rows that belong to patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from structural_models.errors import TableError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class Clusters:
    """How many rows of each pair of cells belong together.

    Attributes:
        products: (cells, cells) number of pairs of rows, one in each of two cells, that share a patient (each row with
            itself once). v' products v is then the sum over such pairs of the products of an influence v per cell.
        number: of patients; 0 where every row stands alone.
    """

    products: csr_array
    number: int

    @classmethod
    def of(cls, cell_of_row: np.ndarray, cells: int, members: np.ndarray | None) -> Clusters:
        """``members`` are (rows, some) patient codes from 0, -1 = none; ``None`` = every row stands alone.

        Rows of two patients (dyads) share one with all rows of either. Raises TableError for rows of three or more,
        whose shared patients cannot be counted this way.

        Source: Aronow, Samii & Assenova 2015, "Cluster-robust variance estimation for dyadic data", eq. 3.
        """
        from scipy.sparse import coo_array, csr_array, diags_array

        if members is None:
            counts = np.bincount(cell_of_row, minlength=cells).astype(np.float64)
            return cls(csr_array(diags_array(counts)), 0)
        patients = np.sort(members, axis=1)
        patients[:, 1:][patients[:, 1:] == patients[:, :-1]] = -1
        named = (patients >= 0).sum(axis=1)
        if named.max() > 2:
            raise TableError(
                "some rows have three patients or more; for those ask for a bootstrap interval, which knows them all"
            )
        alone = patients.max(initial=-1) + 1 + np.arange(int((named == 0).sum()))
        patients = np.sort(patients, axis=1)[:, ::-1].copy()
        patients[named == 0, 0] = alone

        def within(codes: np.ndarray, at: np.ndarray) -> csr_array:
            known, number = np.unique(codes, return_inverse=True)
            counted = csr_array(coo_array((np.ones(len(codes)), (number, cell_of_row[at])), shape=(len(known), cells)))
            return csr_array(counted.T @ counted)

        row, column = np.nonzero(patients >= 0)
        products = within(patients[row, column], row)
        two = np.flatnonzero(named == 2)
        if len(two):
            # Two rows of the same pair share both patients and were counted twice.
            size = int(patients.max()) + 1
            products = products - within(patients[two, 0] * size + patients[two, 1], two)
        return cls(products, len(np.unique(patients[row, column])))

    def covariance(self, influence: np.ndarray, at: np.ndarray, rows: float) -> np.ndarray:
        """(columns, columns) of the sums of ``influence`` / ``rows`` over rows.

        Args:
            influence: (len(at), columns) of one row of each of the cells ``at``.

        Multiplied by patients / (patients - 1), as is usual for few clusters, where there are any.
        """
        block = self.products if len(at) == self.products.shape[0] else self.products[at][:, at]
        square = influence.T @ (block @ influence) / rows**2
        return np.asarray(square * (self.number / (self.number - 1) if self.number > 1 else 1.0))
