"""Effect subtraction of what a view of the question tells, by counts; see :mod:`.effect_subtraction`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adjusters.contract import Batch, Scorer
from adjusters.shortcut_model.answer_prior import ViewOffset
from adjusters.shortcut_model.bias_view import CODE
from adjusters.shortcut_model.subtraction import How, Subtraction


class ViewSubtraction(Subtraction):
    """Reference "question" by counts: what a view of the question says of the answer, out of a table.

    Args:
        prior: by the batch's column of codes.
        asked: kind -> question -> code.
        unknown: the code of any other question.
    """

    passes = 1

    def __init__(
        self, scorer: Scorer, how: How, prior: ViewOffset, asked: Mapping[str, Mapping[str, int]], unknown: int
    ) -> None:
        super().__init__(scorer, how)
        self.prior = prior
        self.asked, self.unknown = asked, unknown

    def without_ecg(self, batch: Batch) -> Tensor:
        known = self.asked.get(batch.kind, {}) if self.how.told else {}
        codes = [self.unknown if text is None else known.get(text, self.unknown) for text in batch.bare_question]
        found = torch.tensor(codes, device=batch.candidate_ids.device)
        return self.prior(batch.replace(columns={**batch.columns, CODE: found}))
