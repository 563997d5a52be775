"""The possible answers in another order."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalecg.audits.interventions.contract import Context, Intervention, column


class OptionOrder(Intervention):
    """The candidates in a random other order; items with a single candidate are left out."""

    name = "option_order"
    line = "the possible answers in another order"
    drawn = True

    def of_items(self, rows: pd.DataFrame, context: Context, rng: np.random.Generator) -> pd.DataFrame:
        kept = rows[rows["candidates"].map(len) > 1]
        orders = [_other_order(len(names), rng) for names in kept["candidates"]]
        shown = [[list(names)[i] for i in order] for names, order in zip(kept["candidates"], orders, strict=True)]
        return kept.assign(candidates=column(shown, kept), candidate_order=column(orders, kept))


def _other_order(size: int, rng: np.random.Generator) -> list[int]:
    while True:
        order = [int(i) for i in rng.permutation(size)]
        if order != list(range(size)):
            return order
