"""Loss weights under which a view of the question tells nothing of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import numpy as np

from adjusters.contract import Card, ContractError
from adjusters.shortcut_model.bias_view import BiasView
from adjusters.shortcut_model.prior_based import PriorBased
from adjusters.shortcut_model.whole_sets import Competitors, as_whole_sets
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand


class InverseAnswer(PriorBased):
    """Each row weighs the inverse of how expected its answer was.

        weight       P(A | T) / P(A | view, T) at the true answer, mean one
        prediction   softmax(z) of the scorer so trained

    With ``restore_prior=False``, as published, the weight is 1 / P(A | view, T), under which all answers are equally
    frequent. The prior is of counts: weights are a matter of the table. In items of kind "set" the whole set is one
    answer, and competes with the sets of its topic that the item's candidates allow: a product over candidates would
    take them for independent, and leave the view informative where they are not.

    Args:
        clip: weights above it are set to it; below one, the quantile (over the rows) to clip at. See
            :class:`PriorBased` for the other options.

    Learned further: ``scale_``, the mean before scaling, and ``largest_``, the scaled weight to clip at (0 = no clip).
    """

    called = "inverse_answer"
    card = Card(
        summary="Loss weights 1/P(answer | shortcut), under which the shortcut tells nothing of the answer.",
        uses=("weights",),
        bias_view="style, template, type or question",
        consistent_when="the ECG is independent of the view given answer and topic, and the view causes no answer",
        fails_when="few rows break the shortcut (rho near one): they carry nearly all the weight, and are memorised; "
        "and where the product of experts fails",
        source="Do et al. 2024 (arXiv 2402.03577); with the answers' frequencies restored",
    )

    prior = "counts"
    scale_: float
    largest_: float

    def __init__(
        self,
        bias_view: BiasView = "style",
        by: str | None = "topic",
        restore_prior: bool = True,
        clip: float | None = None,
        smoothing: float = 1.0,
        folds: int | None = None,
    ) -> None:
        if clip is not None and not clip > 0:
            raise ContractError(f"inverse_answer's clip must be a positive weight, or a quantile below one, not {clip}")
        self.bias_view = bias_view
        self.by = by
        self.restore_prior = restore_prior
        self.clip = clip
        self.smoothing = smoothing
        self.folds = folds
        self.check_options()

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        found = self._unscaled(table)
        self.scale_, self.largest_ = float(found.mean()), 0.0
        if self.clip is not None:
            self.largest_ = self.clip if self.clip >= 1 else float(np.quantile(found / self.scale_, self.clip))
        return self

    def count(self, table: pd.DataFrame) -> None:
        require_columns(self.called, table, ("kind", "candidates", "answer"))
        super().count(as_whole_sets(table))

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        return {}

    def weights(self, table: pd.DataFrame) -> np.ndarray:
        found = self._unscaled(table) / self.scale_
        if self.largest_:
            found = np.minimum(found, self.largest_)
        return np.asarray(found / found.mean(), dtype=np.float64)

    def _unscaled(self, table: pd.DataFrame) -> np.ndarray:
        """(rows,) float64 P(A | T) / P(A | view, T), or 1 / P(A | view, T)."""
        counts = self.counts()
        given_view, given_topic = counts.tables(self.smoothing)
        competing, columns, whole = Competitors(counts), self.view_columns(table), as_whole_sets(table)
        keys, codes = columns.keys(whole), self.codes.of(whole, columns)
        found = np.empty(len(table))
        rows = zip(codes, keys, table["candidates"], table["answer"], strict=True)
        for row, (code, (kind, topic, _), names, answer) in enumerate(rows):
            at, true = competing(kind, topic, names, answer)
            found[row] = -_log_probability(given_view[code, at], true)
            if self.restore_prior:
                found[row] += _log_probability(given_topic[code, at], true)
        return np.exp(found)


def _log_probability(scores: np.ndarray, true: np.ndarray) -> float:
    """Of an answer, by the log-probabilities of those that compete, up to a constant: (answers,) each."""
    return float(np.logaddexp.reduce(scores[true]) - np.logaddexp.reduce(scores))
