"""Wordings exchanged within a question: each item asked in words drawn from those of its canonical question.

Within a question, style is then independent of everything else, and all rows are learned from, none of them repeated.
What cannot be learned so is an effect that the style truly has on the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from adjusters.contract import Batch
from adjusters.table_columns import require_columns

QUESTION, CANONICAL = "question", "question_id"
#: What a text is exchanged for: any of its canonical question's, or (a placebo) those of the same style only.
Exchange = Literal["question", "style"]


def wordings_of(name: str, table: pd.DataFrame, treatment: str, exchange: Exchange) -> dict[str, dict[str, int]]:
    """Per canonical question (and style, where only those are exchanged) its texts and how often each was asked.

    Raises ContractError where a column is missing.
    """
    require_columns(name, table, (QUESTION, CANONICAL, *((treatment,) if exchange == "style" else ())))
    within = table[CANONICAL].astype(str)
    if exchange == "style":
        within = within + "\x1f" + table[treatment].astype(str)
    return {
        str(pool): {str(text): int(number) for text, number in rows.value_counts().sort_index().items()}
        for pool, rows in table.groupby(within, sort=True)[QUESTION]
    }


def several_styles(table: pd.DataFrame, treatment: str) -> bool:
    """Whether any canonical question was asked in several styles, so that there is something to exchange."""
    return bool((table.groupby(CANONICAL)[treatment].nunique() > 1).any())


class ExchangedWordings:
    """Asks items in other words.

    Args:
        wordings: as of :func:`wordings_of`. A text outside them stays as it is.
    """

    def __init__(self, wordings: Mapping[str, Mapping[str, int]]) -> None:
        pools = [(list(texts), np.cumsum(list(texts.values()))) for texts in wordings.values()]
        self.pools = {text: pool for pool in pools for text in pool[0]}

    def drawn(self, batch: Batch) -> Batch:
        """In words drawn by torch's generator."""
        return self.at(batch, torch.rand(len(batch), dtype=torch.float64))

    def fixed(self, batch: Batch, time: int = 0, times: int = 1) -> Batch:
        """In words that are the same for a row at every call: neighbouring rows are far apart in the pool, and a row's
        words at ``times`` times are spread evenly over it."""
        # Multiples of the golden ratio, modulo one, spread evenly over [0, 1) (Weyl's sequence).
        places = ((batch.rows.cpu().double() + 1) * 0.6180339887498949 + time / times) % 1.0
        return self.at(batch, places)

    def at(self, batch: Batch, places: Tensor) -> Batch:
        """Each question replaced by one of its pool's texts, as often as they were asked. Metadata before it stays.

        Args:
            places: (batch,) in [0, 1); where in the pool the text is taken from.
        """
        asked = list(batch.bare_question)
        for at, (text, place) in enumerate(zip(asked, places.tolist(), strict=True)):
            if text in self.pools:
                texts, upto = self.pools[text]
                asked[at] = texts[int(np.searchsorted(upto, place * upto[-1], side="right"))]
        return batch.in_words(asked)
