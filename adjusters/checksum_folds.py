"""Folds of patients by a checksum of their ids, so that no list of patients has to be kept.

Where patients that items join must share a fold, there is :mod:`adjusters.severity_based.patient_folds`.
"""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd


def checksum_folds(table: pd.DataFrame, folds: int) -> np.ndarray:
    """(rows,) int64 fold of each row's first patient, 0 to ``folds`` - 1. The table has the column ``patient_ids``."""
    if folds == 1:
        return np.zeros(len(table), dtype=np.int64)
    first = table["patient_ids"].str[0]
    fold = {name: zlib.crc32(str(name).encode()) % folds for name in set(first)}
    return first.map(fold).to_numpy(dtype=np.int64)
