"""Modality dropout with abstention: a share of the rows is shown again without an ECG, to be answered by abstaining.

Dropping a modality at random while the target stays the true answer (as in ModDrop, Neverova et al. 2016) trains the
question-only shortcut on purpose; there is no option for it. The abstention is a further candidate of every training
row, so that it is learned when not to give it as well. At prediction the scores are of the item's own candidates, as
ever; whether the abstention would have been given beside them is what :meth:`ModalityDropoutObjective.abstains` says.

What is learned from the added rows is to notice that the ECG is missing. They leave the answers to rows that have one
as they were: where an ECG is there, the wording predicts the answer as before. This makes abstention right; it is no
adjustment for confounding, and on the benchmark gains nothing of the kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from adjusters.contract import Adjuster, Batch, Card, ContractError, NewScorer, Objective, Scorer
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

Dropped = Literal["ecg", "nothing"]

ABSTAIN = "cannot answer without the ECG"
#: Columns that are rewritten or read.
NEEDED = ("item_id", "ecg_ids", "candidates", "answer")


class ModalityDropout(Adjuster):
    """Adds rows without an ECG whose answer is an abstention.

    Args:
        share: of the training rows that are added again, in (0, 1].
        answer: the abstention, a candidate of every training row. In kind "set" it is the whole answer.
        drop: "ecg", or "nothing": the added rows keep their ECG and their answer, and the abstention is never right.

    Raises ContractError where the abstention is among the candidates already.
    """

    card = Card(
        summary="Modality dropout: without an ECG the right answer is to abstain.",
        uses=("rewrite", "objective"),
        extra_passes=(1, 1),
        consistent_when="never by itself: it leaves P(A | E, Q) as it is wherever there is an ECG",
        fails_when="everywhere the wording is confounded (R1); it teaches to abstain and not to read the ECG",
        source="Neverova et al. 2016 (ModDrop), with an abstention for a target",
        placebo={"drop": "nothing"},
    )

    def __init__(self, share: float = 0.5, answer: str = ABSTAIN, drop: Dropped = "ecg") -> None:
        if not 0 < share <= 1:
            raise ContractError(f"modality_dropout's share must lie above 0 and be at most 1, not {share}")
        if not isinstance(answer, str) or not answer.strip():
            raise ContractError("modality_dropout's answer must be a text to abstain with, not an empty one")
        if drop not in get_args(Dropped):
            raise ContractError(f"modality_dropout's drop is ecg or nothing, not '{drop}'")
        self.share = share
        self.answer = answer
        self.drop = drop

    def rewrite(self, table: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
        import pandas as pd

        require_columns("modality_dropout", table, NEEDED)
        for item, names in zip(table["item_id"], table["candidates"], strict=True):
            if self.answer in names:
                raise ContractError(
                    f"modality_dropout: '{self.answer}' is a candidate of item {item} already; choose another answer "
                    "to abstain with"
                )
        rows = table.assign(candidates=table["candidates"].map(lambda names: [*names, self.answer]))
        again = np.sort(rng.choice(len(table), max(1, round(self.share * len(table))), replace=False))
        added = rows.iloc[again].assign(item_id=[f"{item}~again" for item in table["item_id"].to_numpy()[again]])
        if self.drop == "ecg":
            added = added.assign(
                ecg_ids=added["ecg_ids"].map(lambda _: []), answer=added["answer"].map(lambda _: [self.answer])
            )
        return pd.concat([rows, added], ignore_index=True)

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> ModalityDropoutObjective:
        return ModalityDropoutObjective(scorer, self.answer)


class ModalityDropoutObjective(Objective):
    """The scorer as it is, and whether it would rather abstain with ``answer``."""

    passes = 2

    def __init__(self, scorer: Scorer, answer: str) -> None:
        super().__init__(scorer)
        self.answer = answer

    def abstains(self, batch: Batch) -> Tensor:
        """(batch,) bool: with the abstention as a last candidate, it is the likeliest ("one"), or its log-odds are
        positive ("set"). One pass of the scorer."""
        asked = self._beside(batch)
        own = (~batch.padding).sum(1, keepdim=True)
        scores = self.scorer(asked)
        score = scores.gather(1, own)[:, 0]
        if batch.kind == "set":
            return score > 0
        others = scores.scatter(1, own, float("-inf")).masked_fill(asked.padding, float("-inf"))
        return score > others.amax(1)

    def _beside(self, batch: Batch) -> Batch:
        """The items with the abstention behind their candidates, under an id that no candidate has."""
        own = (~batch.padding).sum(1, keepdim=True)
        ids = torch.nn.functional.pad(batch.candidate_ids, (0, 1), value=-1)
        return batch.replace(
            candidates=tuple((*names, self.answer) for names in batch.candidates),
            candidate_ids=ids.scatter(1, own, int(batch.candidate_ids.max()) + 1),
            answer=torch.nn.functional.pad(batch.answer, (0, 1), value=False),
        )
