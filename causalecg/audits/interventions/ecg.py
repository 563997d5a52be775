"""The ECG taken away, or spoilt."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.interventions.contract import Context, Intervention, column
from causalecg.audits.signal_changes import SIGNAL_CHANGES


class NoEcg(Intervention):
    name = "no_ecg"
    line = "without any ECG"

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        return rows.assign(ecg_ids=column([[] for _ in range(len(rows))], rows))


class SpoiltEcg(Intervention):
    """The item's own ECGs, changed by a function of :mod:`causalecg.audits.signal_changes`."""

    def __init__(self, change: str) -> None:
        self.change, self.name, self.line = change, f"ecg[{change}]", SIGNAL_CHANGES[change][1]

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        return rows.assign(signal_change=self.change)
