"""Propensities for rows that were not fitted on, by patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from structural_models.errors import TableError
from structural_models.propensity import ArmProbabilities, Method, fit_propensity
from structural_models.tabulation import coded, column_values, require_rows


def cross_fitted_propensity(
    table: pd.DataFrame,
    treatment: str,
    covariates: Sequence[str],
    *,
    groups: str,
    folds: int = 5,
    method: Method = "saturated",
    smoothing: float = 0.0,
    rng: np.random.Generator,
) -> tuple[ArmProbabilities, np.ndarray]:
    """P(treatment | covariates) of each row, fitted on the folds that hold none of its patients.

    Args:
        groups: column of patients: one value per row, or a list of them (items about two ECGs). Rows that share a
            patient, directly or through other rows, stay in one fold.
        folds: at least 2; of nearly equal numbers of rows where groups are small.

    Returns:
        The probabilities, arms in sorted order, and the (arms,) levels.

    Raises:
        TableError: fewer groups than folds, or as :func:`~structural_models.propensity.fit_propensity`.
        PositivityError: as fit and predict; a rare level may be absent from the other folds.
    """
    require_rows(table)
    levels = coded(table, treatment)[1].values
    fold = assign_folds(patient_components(table, groups), folds, rng)
    tables: list[np.ndarray] = []
    rows = np.empty(len(table), dtype=np.int64)
    offset = 0
    for number in range(folds):
        held_out = fold == number
        fitted = fit_propensity(
            table[~held_out], treatment, covariates, method=method, smoothing=smoothing, levels=levels
        )
        part = fitted.cells(table[held_out])
        tables.append(part.table)
        rows[held_out] = part.rows + offset
        offset += len(part.table)
    return ArmProbabilities(np.concatenate(tables), rows), levels


def assign_folds(components: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """(rows,) int64 fold of each row; components stay whole, in random order, cut where the row count says.

    Raises TableError where there are fewer components than folds, or fewer than two folds.
    """
    sizes = np.bincount(components)
    if folds < 2 or len(sizes) < folds:
        raise TableError(
            f"cannot cut {len(sizes)} patient group(s) into {folds} folds; ask for 2 or more, at most one per group"
        )
    order = rng.permutation(len(sizes))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    fold_of = np.empty(len(sizes), dtype=np.int64)
    fold_of[order] = np.minimum((middle * folds / len(components)).astype(np.int64), folds - 1)
    if len(np.unique(fold_of)) < folds:
        fold_of[order] = np.arange(len(sizes)) * folds // len(sizes)
    return fold_of[components]


def patient_components(table: pd.DataFrame, column: str) -> np.ndarray:
    """(rows,) int64 numbers; rows have the same one when patients connect them."""
    values = column_values(table, column)
    first = values.iloc[0]
    if not isinstance(first, list | tuple | np.ndarray):
        return coded(table, column)[0]
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    lengths = np.array([len(patients) for patients in values], dtype=np.int64)
    if (lengths == 0).any():
        raise TableError(
            f"column '{column}' lists no patient in {int((lengths == 0).sum())} rows; name one or drop them"
        )
    names = [patient for patients in values for patient in patients]
    patients, distinct = pd.factorize(np.asarray(names, dtype=object))
    n = len(values)
    links = coo_array(
        (np.ones(len(names), dtype=np.int8), (np.repeat(np.arange(n), lengths), n + patients)),
        shape=(n + len(distinct), n + len(distinct)),
    )
    labels = connected_components(links, directed=False)[1]
    return np.asarray(pd.factorize(labels[:n])[0], dtype=np.int64)
