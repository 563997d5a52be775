"""Nothing is changed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.interventions.contract import Context, Intervention


class Intact(Intervention):
    name = "intact"
    line = "the item as it is"

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        return rows
