"""From rows of an items table to the :class:`~adjusters.contract.Batch` a scorer sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from adjusters.contract import Batch, Kind
from causalecg.cohort.metadata import prompts
from causalecg.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from causalecg.cohort.schema import Cohort


class TableBatches:
    """Batches of one items table; everything but the signals is looked up once.

    Args:
        cohort: signals and answer vocabulary.
        table: items; a null question stays withheld, an empty ``ecg_ids`` means no ECG. Where there is a column
            ``metadata``, its text is put before the question; a withheld question has none.
        columns: numeric columns handed through in ``Batch.columns``.
        further_answers: candidates beyond the cohort's answer vocabulary, numbered after it.

    Raises:
        InputError: an ECG that is not in the cohort, or a candidate outside the answer vocabulary.
    """

    def __init__(
        self,
        cohort: Cohort,
        table: pd.DataFrame,
        columns: Sequence[str] = (),
        further_answers: Sequence[str] = (),
    ) -> None:
        self.cohort, self.table = cohort, table
        self.kinds = table["kind"].to_numpy()
        self._questions, self._metadata = prompts(table)
        # Few sets of candidates are asked about, in any number of items.
        sets: dict[tuple[str, ...], int] = {}
        numbers = (sets.setdefault(tuple(names), len(sets)) for names in table["candidates"])
        self._asked = np.fromiter(numbers, dtype=np.int64, count=len(table))
        self._candidates = list(sets)
        self._ecg_row = np.full((len(table), 2), -1, dtype=np.int64)
        rows = cohort.ecg_rows
        for i, ids in enumerate(table["ecg_ids"]):
            for j, ecg_id in enumerate(ids):
                if ecg_id not in rows:
                    raise InputError(f"item {table['item_id'].iloc[i]} names ECG {ecg_id}, which the cohort lacks")
                self._ecg_row[i, j] = rows[ecg_id]
        width = max(map(len, self._candidates), default=1)
        self._ids = np.full((len(sets), width), -1, dtype=np.int64)
        self._answer = np.zeros((len(table), width), dtype=bool)
        vocabulary = {**cohort.answer_vocabulary}
        vocabulary.update((name, len(vocabulary) + i) for i, name in enumerate(further_answers))
        for k, names in enumerate(self._candidates):
            for j, name in enumerate(names):
                if name not in vocabulary:
                    item = table["item_id"].iloc[int(np.argmax(self._asked == k))]
                    raise InputError(f"candidate '{name}' of item {item} is not in the answer vocabulary")
                self._ids[k, j] = vocabulary[name]
        for i, (k, answer) in enumerate(zip(self._asked, table["answer"], strict=True)):
            true = set(answer)
            for j, name in enumerate(self._candidates[k]):
                self._answer[i, j] = name in true
        self._topics = tuple(map(str, table["topic"])) if "topic" in table.columns else ()
        self._columns = {name: np.ascontiguousarray(table[name].to_numpy()) for name in columns}

    def __len__(self) -> int:
        return len(self.table)

    def __call__(self, positions: Sequence[int] | np.ndarray) -> Batch:
        """The items at these row positions, signals in mV. Raises InputError when they are not all of one kind."""
        at = np.asarray(positions, dtype=np.int64)
        kinds = set(self.kinds[at])
        if len(kinds) != 1:
            raise InputError(f"a batch must hold items of one kind, not {', '.join(sorted(kinds)) or 'none'}")
        ecg_row = self._ecg_row[at]
        present = ecg_row >= 0
        signals = self.cohort.signals
        ecg = np.zeros((len(at), 2, len(signals.leads), signals.samples), dtype=np.float32)
        if present.any():
            ecg[present] = signals.read(ecg_row[present])
        asked = self._asked[at]
        candidates = tuple(self._candidates[k] for k in asked)
        width = max(map(len, candidates))
        extra = {name: torch.from_numpy(values[at]) for name, values in self._columns.items()}
        return Batch(
            rows=torch.from_numpy(at),
            ecg=torch.from_numpy(ecg),
            ecg_present=torch.from_numpy(present),
            question=tuple(self._questions[i] for i in at),
            candidates=candidates,
            candidate_ids=torch.from_numpy(self._ids[asked, :width]),
            answer=torch.from_numpy(self._answer[at, :width]),
            kind=cast(Kind, kinds.pop()),
            columns={**extra, "ecg_row": torch.from_numpy(ecg_row)},
            topic=tuple(self._topics[i] for i in at) if self._topics else (),
            metadata=tuple(self._metadata[i] for i in at) if self._metadata else (),
        )

    def in_order(self, size: int) -> list[np.ndarray]:
        """Row positions of consecutive batches of at most ``size``, each of one kind."""
        groups = [np.flatnonzero(self.kinds == kind) for kind in sorted(set(self.kinds))]
        return [rows[a : a + size] for rows in groups for a in range(0, len(rows), size)]

    def shuffled(self, size: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Row positions of an epoch's batches of about ``size``: every row once, each batch of one kind."""
        groups = [rng.permutation(np.flatnonzero(self.kinds == kind)) for kind in sorted(set(self.kinds))]
        parts = [part for rows in groups for part in np.array_split(rows, max(1, round(len(rows) / size)))]
        return [parts[i] for i in rng.permutation(len(parts))]


def make_batch(
    cohort: Cohort, table: pd.DataFrame, positions: Sequence[int] | np.ndarray, columns: Sequence[str] = ()
) -> Batch:
    """One batch of a table; for many, keep a :class:`TableBatches`."""
    at = np.asarray(positions, dtype=np.int64)
    batch = TableBatches(cohort, table.iloc[at], columns)(np.arange(len(at)))
    return batch.replace(rows=torch.from_numpy(at))
