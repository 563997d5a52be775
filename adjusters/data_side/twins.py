"""Learning from exact twins: the same patient, noise and words, with the finding set to what it was not.

A pair (E, A), (E', A') under one and the same question is what do(finding) makes of one patient. Both weigh alike, so
that the finding is a fair coin whatever severity and wording are: what the ECG shows of it is then the only thing that
tells the answers apart, and what topic or severity do to the answer by themselves is untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np

from adjusters.contract import Adjuster, Card, ContractError
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

Twin = Literal["twin", "copy"]

SPLIT = "train_twins"


class Twins(Adjuster):
    """Trains on training items and their twins, which only a simulated cohort has (split ``train_twins``).

    Args:
        twin: "twin", or "copy": in place of its twin every item comes twice.
        unpaired: also learn from training items without a twin, among which the shortcut is as strong as ever.

    Learned: ``pairs_``, number of training items that have a twin.
    """

    card = Card(
        summary="Exact twins: each training item also with the finding set to what it was not, in the same words.",
        uses=("rewrite",),
        extra_passes=(1, 0),
        consistent_when="severity reaches the answer through the finding alone and shows in the ECG through it "
        "alone, and the finding is as frequent as not (R1, R3)",
        fails_when="severity reaches the answer past the finding (R0), or shows in the ECG by itself (R2: what it "
        "tells of the finding is lost); a rare finding is thought to be common; real data have no twins",
        source="counterfactuals of the structural model (Pearl 2009, section 7.1)",
        further_splits=(SPLIT,),
        placebo={"twin": "copy"},
    )

    pairs_: int

    def __init__(self, twin: Twin = "twin", unpaired: bool = False) -> None:
        if twin not in get_args(Twin):
            raise ContractError(f"twins' twin is twin or copy, not '{twin}'")
        if not isinstance(unpaired, bool):
            raise ContractError(f"twins' unpaired is true or false, not {unpaired}")
        self.twin = twin
        self.unpaired = unpaired

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        self.pairs_ = len(pairs(table)[0])
        return self

    def rewrite(self, table: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
        import pandas as pd

        own, other = pairs(table)
        first = table.iloc[own]
        if self.unpaired:
            first = table[table["split"] != SPLIT]
        second = table.iloc[other]
        if self.twin == "copy":
            second = table.iloc[own].assign(item_id=table["item_id"].to_numpy()[other])
        return pd.concat([first, second], ignore_index=True)


def pairs(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(pairs,) positions of the items that have a twin, and of their twins, in the order of the items.

    Raises ContractError where there are none, and where a twin's item is not there or is asked something else.
    """
    require_columns("twins", table, ("split", "item_id", "question"))
    is_twin = (table["split"] == SPLIT).to_numpy()
    if not is_twin.any() or "twin_of" not in table.columns:
        raise ContractError(
            f"twins needs rows of split '{SPLIT}', which the table lacks and only a simulated cohort can have "
            "(causalecg cohort simulate --train-twins N); real patients have no twins: use ecg_swap"
        )
    place = {item: i for i, item in enumerate(table["item_id"]) if not is_twin[i]}
    found = []
    for at in np.flatnonzero(is_twin).tolist():
        item, of = table["item_id"].iloc[at], table["twin_of"].iloc[at]
        if of not in place:
            raise ContractError(f"twins: row {item} is a twin of {of}, which is not among the training rows")
        if table["question"].iloc[at] != table["question"].iloc[place[of]]:
            raise ContractError(f"twins: row {item} is not asked in the words of {of}, whose twin it is")
        found.append((place[of], at))
    both = np.array(sorted(found), dtype=np.int64)
    return both[:, 0], both[:, 1]
