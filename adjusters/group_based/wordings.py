"""Other wordings of a question: those in which training rows asked the same canonical question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from adjusters.contract import Batch, ContractError

if TYPE_CHECKING:
    import pandas as pd

QUESTION, CANONICAL = "question", "question_id"


def learn_wordings(name: str, table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Canonical question -> its texts -> how often each was asked. ContractError where a column is missing."""
    for column in (QUESTION, CANONICAL):
        if column not in table.columns:
            raise ContractError(f"{name} needs the column '{column}' to exchange wordings, which the table lacks")
    return {
        str(canonical): {str(text): int(number) for text, number in texts.value_counts().sort_index().items()}
        for canonical, texts in table.groupby(CANONICAL, sort=True)[QUESTION]
    }


class Wordings:
    """Asks items in the words of others. A text that it does not know stays as it is, and so does metadata before it.

    Args:
        wordings: as :func:`learn_wordings` gives them.
    """

    def __init__(self, wordings: Mapping[str, Mapping[str, int]]) -> None:
        pools = [(list(texts), np.cumsum(list(texts.values()))) for texts in wordings.values()]
        self.pools = {text: pool for pool in pools for text in pool[0]}

    def asked(self, batch: Batch, places: Tensor) -> Batch:
        """Each question replaced by one of its canonical question's texts, as often as they were asked.

        Args:
            places: (batch,) in [0, 1): where among the texts, in their shares, the one is taken from.
        """
        asked = list(batch.question)
        before = [f"{text} " if text else "" for text in batch.metadata or ("",) * len(batch)]
        for at, (question, start, place) in enumerate(zip(batch.question, before, places.tolist(), strict=True)):
            bare = None if question is None else question.removeprefix(start)
            if bare in self.pools:
                texts, upto = self.pools[bare]
                asked[at] = start + texts[int(np.searchsorted(upto, place * upto[-1], side="right"))]
        return batch.replace(question=tuple(asked))


def even_places(rows: Tensor, time: int, times: int) -> Tensor:
    """(batch,) in [0, 1), the same for a row at every call: neighbouring rows are apart, and a row's ``times`` places
    are spread evenly."""
    # Multiples of the golden ratio, modulo one, spread evenly (Weyl's sequence).
    return ((rows.cpu().double() + 1) * 0.6180339887498949 + time / times) % 1.0
