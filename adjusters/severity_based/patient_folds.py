"""Folds of patients, remembered by name: what was learned without a patient is found again in any order of the rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from adjusters.contract import ContractError
from structural_models.cross_fitting import assign_folds, patient_components
from structural_models.errors import TableError


def patient_folds(
    name: str, table: pd.DataFrame, patients: str, folds: int, rng: np.random.Generator
) -> dict[str, int]:
    """Patient -> fold. Patients whom an item joins share one; the order of the rows has no say.

    Raises ContractError where the column is missing, or there are too few patients.
    """
    if patients not in table.columns:
        raise ContractError(f"{name} cross-fits by patient and needs the column '{patients}', which the table lacks")
    names = _names(table, patients)
    order = np.argsort(np.array(["\x1f".join(sorted(each)) for each in names]), kind="stable")
    try:
        fold = assign_folds(patient_components(table.iloc[order], patients), folds, rng)
    except TableError as error:
        raise ContractError(f"{name}: {error}") from error
    return {patient: int(number) for i, number in zip(order, fold, strict=True) for patient in names[i]}


def fold_of(table: pd.DataFrame, patients: str, folds: dict[str, int]) -> np.ndarray:
    """(rows,) int64 fold of each row's patients, -1 where they are not among those of the folds."""
    if patients not in table.columns:
        return np.full(len(table), -1, dtype=np.int64)
    found = (next((folds[patient] for patient in each if patient in folds), -1) for each in _names(table, patients))
    return np.fromiter(found, dtype=np.int64, count=len(table))


def _names(table: pd.DataFrame, column: str) -> list[list[str]]:
    return [
        [str(name) for name in each] if isinstance(each, list | tuple | np.ndarray) else [str(each)]
        for each in table[column]
    ]
