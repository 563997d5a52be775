"""Text canonicaliser: every question is put in the one wording of its canonical question, then and now.

What a wording carries beyond the canonical question is gone, in training as in prediction, and with it every shortcut
through the style. That is an upper bound for what removing the style can give, and a method where wordings can be told
to mean the same. It removes whatever the wording says by right as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
from torch import Tensor

from adjusters.contract import (
    Adjuster,
    Batch,
    Card,
    ContractError,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    negative_log_likelihood,
    weighted_mean,
)
from adjusters.data_side.wordings import NearestWording, asked_as, bare, most_frequent

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

Per = Literal["question", "style"]


class CanonicalText(Adjuster):
    """Asks every question in the most frequent training wording of its canonical question.

    Training rows are rewritten by their ``question_id``. At prediction nothing but the text is known: a training
    wording is replaced by its canonical form; another text by that of the nearest training wording, where the cosine of
    their character n-grams (TF-IDF) is at least ``threshold``; else it stays as it is and is listed in the objective's
    ``left``. Metadata put before a question stays.

    Args:
        threshold: in (0, 1]; 1 = known wordings only.
        per: "question", or "style": one form for each style of a canonical question, so that the style survives.

    The table must have the columns ``question`` and ``question_id`` (and ``style``). Learned: ``wordings_``, training
    text -> canonical text; ``shared_``, texts that several canonical questions have, which at prediction go with the one
    that has them most often.
    """

    card = Card(
        summary="Text canonicaliser: every question in the most frequent wording of its canonical question.",
        uses=("rewrite", "objective", "predict"),
        consistent_when="wordings of a canonical question differ in nuisance only",
        fails_when="the wording carries content that its question_id does not tell apart (R7 at tier T1), or acts on the "
        "answer itself (R9); unseen wordings unlike any known one keep their style",
        source="drop-style bound of the benchmark; nearest wording by TF-IDF (Salton & Buckley 1988)",
        placebo={"per": "style"},
    )

    wordings_: dict[str, str]
    shared_: list[str]

    def __init__(self, threshold: float = 0.5, per: Per = "question") -> None:
        if not 0 < threshold <= 1:
            raise ContractError(f"canonical_text's threshold must lie above 0 and be at most 1, not {threshold}")
        if per not in get_args(Per):
            raise ContractError(f"canonical_text's per is question or style, not '{per}'")
        self.threshold = threshold
        self.per = per

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        for column in ("question", *self._groups()):
            if column not in table.columns:
                raise ContractError(f"canonical_text needs the column '{column}', which the table lacks")
        self.wordings_, self.shared_ = most_frequent(table[table["question"].notna()], self._groups())
        if not self.wordings_:
            raise ContractError("canonical_text finds no question in the training rows; leave it out")
        return self

    def rewrite(self, table: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
        asked = table["question"]
        return table.assign(question=asked.map(self.wordings_).where(asked.isin(list(self.wordings_)), asked))

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> CanonicalTextObjective:
        return CanonicalTextObjective(scorer, self.wordings_, self.threshold)

    def _groups(self) -> tuple[str, ...]:
        return ("question_id",) if self.per == "question" else ("question_id", "style")


class CanonicalTextObjective(Objective):
    """The scorer, asked in canonical words. ``left``: texts met that are unlike any known one, in order."""

    def __init__(self, scorer: Scorer, wordings: dict[str, str], threshold: float) -> None:
        super().__init__(scorer)
        self.threshold = threshold
        self.left: list[str] = []
        # What a text becomes follows from the text alone; looked up once, it is kept.
        self._words: dict[str | None, str] = dict(wordings)
        self._known = sorted(wordings)
        self._nearest: NearestWording | None = None

    def forward(self, batch: Batch) -> Tensor:
        return self.scorer(self.canonical(batch))

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        per_item = negative_log_likelihood(self(batch), batch)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())

    def canonical(self, batch: Batch) -> Batch:
        """The batch in canonical words."""
        for text in dict.fromkeys(bare(batch)[1]):
            if text is not None and text not in self._words:
                self._words[text] = self._of_unknown(text)
        return asked_as(batch, self._words)

    def _of_unknown(self, text: str) -> str:
        if self.threshold < 1:
            if self._nearest is None:
                self._nearest = NearestWording(self._known)
            found, cosine = self._nearest(text)
            if cosine >= self.threshold:
                return self._words[found]
        self.left.append(text)
        return text
