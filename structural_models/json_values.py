"""What JSON can say of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def plain(value: Any) -> Any:
    """The same value of Python's own types; what JSON has no word for (NaN, infinity, pandas' NA) becomes ``None``.

    Mappings get text keys; lists, tuples and arrays become lists.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or value is pd.NaT:
        return None
    return None if isinstance(value, float) and not np.isfinite(value) else value
