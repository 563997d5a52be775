"""Independence of a biased partner: what the model says must not depend on what a model of the question alone says.

Bahng et al. 2020 (ReBias). Beside the model f learns a partner g that is held back by what it can see: here it is never
shown an ECG (in the paper it has a small receptive field). In turn

    g:  min  L(g) - strength * D(f, g)          g follows f as far as the question goes
    f:  min  L(f) + strength * D(f, g)          f sheds what the question alone could have said

with L the negative log-likelihood and D a dependence of their features on some rows of the batch
(:mod:`adjusters.shortcut_model.hsic`). What an unconditional D takes away is all that the question says, and so what
is right in it too. Within answers, D vanishes for a model of the ECG where ECG and wording are independent given the
answer.

With ``bias_view`` a style, template or type, nothing stands for the partner but the one-hot code of that view: there is
no g to learn, and f sheds what the view alone could have said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import numpy as np

from adjusters.contract import Adjuster, Card, ContractError, HasFeatures, NewScorer, Scorer, Stage
from adjusters.shortcut_model.bias_view import CODE, BiasView, Codes, ViewColumns, checked_view
from adjusters.shortcut_model.hsic import FEWEST, Measure
from adjusters.shortcut_model.independence import (
    QUESTION,
    Given,
    IndependenceObjective,
    Layer,
    Penalty,
    ReBiasObjective,
    ViewReBiasObjective,
)
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand


class ReBias(Adjuster):
    """Independence of a partner that sees the question alone, or of a view of the question itself.

    Args:
        strength: weight of the dependence in both losses, above 0. The paper's 1 has hardly an effect
            where one row in a hundred breaks the shortcut.
        dependence: "hsic" (the paper), or "cka", which is HSIC relative to how much either varies.
        given: within what the dependence is measured: "nothing" (the paper), "answer", "answer_and_topic".
        layer: what is to be independent: "scores" over the candidates, which works with any scorer, or the "fused"
            features (the paper); where those are not learned, their dependence cannot change.
        rows: how many rows of a batch a dependence is measured on, at least 4. Its cost is their square.
        bias_view: of what the model is to be independent: "question", what a partner says that sees the whole question
            and learns beside the model; or the one-hot code of its "style" (the estimand's treatment), "template" or
            "type", where no partner is trained.

    The partner is asked by the column ``question_code`` with the training question of that code, and a row of another
    question with its own. Learned: ``questions_``, the distinct training questions; or ``views_``, the distinct views
    (one that training lacked has a code of its own).
    """

    card = Card(
        summary="ReBias: scores independent of those of a partner that sees the question alone.",
        uses=("objective",),
        bias_view="question; style, template or type",
        extra_passes=(3, 0),
        consistent_when="ECG and wording are independent given what is conditioned on",
        fails_when=(
            "few rows break the shortcut: the dependence that is left to be measured within answers falls with the "
            "square of their share, and a batch may hold none of them, or one, whose dependence is zero by "
            "construction (at least two in one answer and topic are needed); where the topic settles answers, ECG and "
            "words depend on each other even given both, and what the ECG tells is shed as well (R3); given the answer "
            "alone, or nothing, the topic's true effect too"
        ),
        source="Bahng, Chun, Yun, Choo & Oh 2020; HSIC_1 of Song et al. 2012; conditioning is ours",
    )

    questions_: list[str]
    views_: list[list[str]]

    def __init__(
        self,
        strength: float = 100.0,
        dependence: Measure = "cka",
        given: Given = "answer_and_topic",
        layer: Layer = "scores",
        rows: int = 128,
        bias_view: BiasView = "question",
    ) -> None:
        if not 0 < strength < float("inf"):
            raise ContractError(f"rebias's strength must be a number above 0, not {strength}")
        for option, value, choices in (
            ("dependence", dependence, ("hsic", "cka")),
            ("given", given, ("nothing", "answer", "answer_and_topic")),
            ("layer", layer, ("scores", "fused")),
        ):
            if value not in choices:
                raise ContractError(
                    f"rebias's {option} must be {', '.join(choices[:-1])} or {choices[-1]}, not {value}"
                )
        if not isinstance(rows, int) or rows < FEWEST:
            raise ContractError(f"rebias's rows must be a whole number, at least {FEWEST}, not {rows}")
        self.strength = strength
        self.dependence = dependence
        self.given = given
        self.layer = layer
        self.rows = rows
        self.bias_view = checked_view("rebias", bias_view)

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        if self.bias_view == "question":
            require_columns("rebias", table, ("question",))
            self.questions_ = sorted({str(question) for question in table["question"]})
            return self
        columns = self._view_columns(table)
        self.views_ = list(map(list, Codes.seen_in(table, columns, 1).views))
        if len({view for _, _, view in self.views_}) == 1:
            raise ContractError(
                f"rebias: '{columns.view}' has a single value, so nothing could depend on it; choose another bias_view"
            )
        return self

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        if self.bias_view != "question":
            return {CODE: Codes(self.views_).of(table, self._view_columns(table))}
        place = {question: code for code, question in enumerate(self.questions_)}
        return {QUESTION: np.array([place.get(str(question), -1) for question in table["question"]], dtype=np.int64)}

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("main", trains=("g", "f") if self.bias_view == "question" else ("f",)),)

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> IndependenceObjective:
        if self.layer == "fused" and not isinstance(scorer, HasFeatures):
            raise ContractError(f"rebias's layer 'fused' needs features, which {type(scorer).__name__} lacks")
        how = Penalty(self.strength, self.dependence, self.given, self.layer, self.rows)
        if self.bias_view != "question":
            return ViewReBiasObjective(scorer, Codes(self.views_).places, how)
        return ReBiasObjective(scorer, new_scorer("same"), self.questions_, how)

    def _view_columns(self, table: pd.DataFrame) -> ViewColumns:
        require_columns("rebias", table, ("kind",))
        return ViewColumns.of("rebias", table, self.estimand_, self.bias_view, None)
