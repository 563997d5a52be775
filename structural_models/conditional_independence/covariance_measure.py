"""The generalised covariance measure: are the residuals of two vectors, given a third, uncorrelated?

Source: Shah & Peters 2020, "The hardness of conditional independence testing and the generalised covariance measure",
sections 3.1 and 3.2 (largest of several components). Theirs draws Gaussian multipliers for rows; here signs are drawn
for patients, so that rows of one patient may resemble each other, and a sum over few or heavy-tailed patients is
compared with its own sign changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BUDGET = 8_000_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class CovarianceMeasure:
    """What :func:`covariance_measure` found.

    Attributes:
        statistic: largest |Σ r_x r_y| / standard error over pairs of components; 0 where no pair varies.
        p_value: (1 + draws that reach it) / (1 + draws).
        components: pairs compared.
    """

    statistic: float
    p_value: float
    components: int


def covariance_measure(
    first: np.ndarray,
    second: np.ndarray,
    members: np.ndarray,
    *,
    inflation: np.ndarray | None = None,
    rng: np.random.Generator,
    draws: int,
) -> CovarianceMeasure:
    """Test whether every component of two residual vectors has covariance zero.

    Args:
        first, second: (rows, p) and (rows, q) residuals.
        members: (rows, some) patient codes, -1 = none, at least one per row. Rows that share a patient may be dependent
            (for pairs of patients the variance is the dyadic one).
        inflation: (rows,) factors of the products in the variance, for what fitting the residuals took from it.

    Source of the dyadic variance: Aronow, Samii & Assenova 2015, "Cluster-robust variance estimation for dyadic data".
    """
    scale = np.ones(len(first)) if inflation is None else inflation
    of_patient, of_pair = _sums(members)
    signs = rng.integers(0, 2, (draws, of_patient.shape[0])) * 2.0 - 1.0
    statistic, reached, compared = 0.0, np.zeros(draws), 0
    for products in _products(first, second):
        scaled = products * scale[:, None]
        sums = of_patient @ scaled
        squares = (sums**2).sum(axis=0)
        together = ((of_pair @ scaled) ** 2).sum(axis=0)
        variance = np.maximum(squares - together, together)
        varies = squares > _ROUNDING * max(float(squares.max(initial=0.0)), _ROUNDING)
        if not varies.any():
            continue
        compared += int(varies.sum())
        found = np.abs(products.sum(axis=0))[varies] / np.sqrt(variance[varies])
        statistic = max(statistic, float(found.max()))
        drawn = np.abs(signs @ sums[:, varies]) / np.sqrt(squares[varies])
        reached = np.maximum(reached, drawn.max(axis=1))
    p = (1 + int((reached >= statistic * (1 - _ROUNDING)).sum())) / (1 + draws)
    return CovarianceMeasure(statistic, p, compared)


def _products(first: np.ndarray, second: np.ndarray) -> Iterator[np.ndarray]:
    """(rows, some) products of a component of the first with one of the second."""
    at_once = max(1, _BUDGET // max(1, first.size // first.shape[1] * second.shape[1]))
    for start in range(0, first.shape[1], at_once):
        part = first[:, start : start + at_once]
        yield (part[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def _sums(members: np.ndarray) -> tuple[csr_array, csr_array]:
    """Matrices that sum rows by patient, and by set of patients where a row has several."""
    # A patient named twice in a row counts once.
    ordered = np.sort(members, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = -1
    row, column = np.nonzero(ordered >= 0)
    by_patient = _indicator(np.unique(ordered[row, column], return_inverse=True)[1], row, len(members))
    several = np.flatnonzero((ordered >= 0).sum(axis=1) > 1)
    sets = np.unique(np.sort(ordered[several], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return by_patient, _indicator(sets, several, len(members))


def _indicator(codes: np.ndarray, rows: np.ndarray, size: int) -> csr_array:
    from scipy.sparse import csr_array

    shape = (int(codes.max(initial=-1)) + 1, size)
    return csr_array((np.ones(len(codes)), (codes, rows)), shape=shape)
