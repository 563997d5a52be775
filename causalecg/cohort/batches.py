"""From rows of an items table to the :class:`~adjusters.contract.Batch` a scorer sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from adjusters.contract import Batch
from causalecg.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from causalecg.cohort.schema import Cohort


def make_batch(
    cohort: Cohort, table: pd.DataFrame, positions: Sequence[int] | np.ndarray, columns: Sequence[str] = ()
) -> Batch:
    """The items at ``positions`` of ``table`` (row positions, not labels), signals read from the store in mV.

    ``columns`` are numeric columns handed through in ``Batch.columns``. A null question stays withheld, and an item
    whose ``ecg_ids`` is empty has no ECG. All items must be of one kind. Raises InputError otherwise, and for an
    answer outside the cohort's vocabulary.
    """
    positions = np.asarray(positions, dtype=np.int64)
    part = table.iloc[positions]
    kinds = part["kind"].unique()
    if len(kinds) != 1:
        raise InputError(f"a batch must hold items of one kind, not {', '.join(map(str, kinds))}")
    ecg_row = np.full((len(part), 2), -1, dtype=np.int64)
    for i, ids in enumerate(part["ecg_ids"]):
        for j, ecg_id in enumerate(ids):
            ecg_row[i, j] = cohort.ecg_rows[ecg_id]
    present = ecg_row >= 0
    ecg = np.zeros((len(part), 2, len(cohort.signals.leads), cohort.signals.samples), dtype=np.float32)
    if present.any():
        ecg[present] = cohort.signals.read(ecg_row[present])

    candidates = tuple(tuple(names) for names in part["candidates"])
    width = max(map(len, candidates))
    ids = np.full((len(part), width), -1, dtype=np.int64)
    answer = np.zeros((len(part), width), dtype=bool)
    vocabulary = cohort.answer_vocabulary
    for i, (names, true) in enumerate(zip(candidates, part["answer"], strict=True)):
        true = set(true)
        for j, name in enumerate(names):
            if name not in vocabulary:
                raise InputError(
                    f"candidate '{name}' of item {part['item_id'].iloc[i]} is not in the answer vocabulary"
                )
            ids[i, j] = vocabulary[name]
            answer[i, j] = name in true
    extra = {name: torch.from_numpy(np.ascontiguousarray(part[name].to_numpy())) for name in columns}
    extra["ecg_row"] = torch.from_numpy(ecg_row)
    return Batch(
        rows=torch.from_numpy(positions),
        ecg=torch.from_numpy(ecg),
        ecg_present=torch.from_numpy(present),
        question=tuple(None if q is None or q != q else str(q) for q in part["question"]),
        candidates=candidates,
        candidate_ids=torch.from_numpy(ids),
        answer=torch.from_numpy(answer),
        kind=str(kinds[0]),  # type: ignore[arg-type]
        columns=extra,
    )
