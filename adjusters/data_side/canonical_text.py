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
from adjusters.data_side.wordings import NearestWording, most_frequent
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

Per = Literal["question", "style"]


class CanonicalText(Adjuster):
    """Asks every question in the most frequent training wording of its canonical question.

    At prediction a training wording is replaced by its canonical form; another text by that of the nearest training
    wording about the same topic (about any, where the batch does not know its topics), if the cosine of their character
    n-grams (TF-IDF) is at least ``threshold``; else it stays as it is and is listed in the objective's ``left``. Where
    topics are not known, the question about another finding may be near in its words: keep ``threshold`` high. Metadata
    put before a question stays.

    Args:
        threshold: in (0, 1]; 1 = known wordings only.
        per: "question", or "style": one form for each style (the estimand's treatment) of a canonical question, so that
            the style survives.

    The table must have the columns ``question`` and ``question_id`` (and that of the style). Learned: ``wordings_``,
    training text -> canonical text; ``topics_``, training text -> topic, where the table has topics; ``shared_``, texts
    that several canonical questions have, which go with the one that has them most often.
    """

    card = Card(
        summary="Text canonicaliser: every question in the most frequent wording of its canonical question.",
        uses=("rewrite", "objective", "predict"),
        consistent_when="wordings of a canonical question differ in nuisance only",
        fails_when="the wording carries content that its question_id does not tell apart (R7 at tier T1), or acts on "
        "the answer itself (R9); unseen wordings unlike any known one keep their style",
        source="drop-style bound of the benchmark; nearest wording by TF-IDF (Salton & Buckley 1988)",
        placebo={"per": "style"},
    )

    wordings_: dict[str, str]
    topics_: dict[str, str]
    shared_: list[str]

    def __init__(self, threshold: float = 0.7, per: Per = "question") -> None:
        if not 0 < threshold <= 1:
            raise ContractError(f"canonical_text's threshold must lie above 0 and be at most 1, not {threshold}")
        if per not in get_args(Per):
            raise ContractError(f"canonical_text's per is question or style, not '{per}'")
        self.threshold = threshold
        self.per = per

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        require_columns("canonical_text", table, ("question", *self._groups()))
        asked = table[table["question"].notna()]
        if asked.empty:
            raise ContractError("canonical_text finds no question in the training rows; leave it out")
        self.wordings_, self.shared_ = most_frequent(asked, self._groups())
        self.topics_ = {}
        if "topic" in table.columns:
            about = dict(zip(asked["question"], asked["topic"].astype(str), strict=True))
            self.topics_ = {text: about[text] for text in self.wordings_}
        return self

    def rewrite(self, table: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
        return table.assign(question=[self.wordings_.get(text, text) for text in table["question"]])

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> CanonicalTextObjective:
        return CanonicalTextObjective(scorer, self.wordings_, self.topics_, self.threshold)

    def _groups(self) -> tuple[str, ...]:
        if self.per == "question":
            return ("question_id",)
        return ("question_id", "style" if self.estimand_ is None else self.estimand_.roles.get("treatment", "style"))


class CanonicalTextObjective(Objective):
    """The scorer, asked in canonical words. ``left``: texts met that are unlike any known one, in order."""

    def __init__(self, scorer: Scorer, wordings: dict[str, str], topics: dict[str, str], threshold: float) -> None:
        super().__init__(scorer)
        self.wordings, self.topics, self.threshold = wordings, topics, threshold
        self.left: list[str] = []
        # What a text becomes follows from topic and text alone; looked up once, it is kept.
        self._unknown: dict[tuple[str, str], str] = {}
        self._nearest: dict[str, NearestWording] = {}

    def forward(self, batch: Batch) -> Tensor:
        return self.scorer(self.canonical(batch))

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        per_item = negative_log_likelihood(self(batch), batch)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())

    def canonical(self, batch: Batch) -> Batch:
        """The batch in canonical words."""
        topics = batch.topic if batch.topic and self.topics else ("",) * len(batch)
        texts = [
            None if text is None else self.wordings.get(text) or self._of_unknown(topic, text)
            for topic, text in zip(topics, batch.bare_question, strict=True)
        ]
        return batch.in_words(texts)

    def _of_unknown(self, topic: str, text: str) -> str:
        if (topic, text) not in self._unknown:
            found = self._near(topic, text) if self.threshold < 1 else None
            if found is None:
                self.left.append(text)
            self._unknown[topic, text] = text if found is None else self.wordings[found]
        return self._unknown[topic, text]

    def _near(self, topic: str, text: str) -> str | None:
        """The nearest known wording (about the same topic, where that is known), if it is near enough."""
        if topic not in self._nearest:
            known = sorted(known for known in self.wordings if not topic or self.topics[known] == topic)
            if not known:
                return None
            self._nearest[topic] = NearestWording(known)
        found, cosine = self._nearest[topic](text)
        return found if cosine >= self.threshold else None
