"""Question-randomised pre-training: first the questions are drawn at random, then (perhaps) taken as they were asked.

This is our reading of "de-biased pre-training" in "De-biased Multimodal Electrocardiogram Analysis" (arXiv 2411.14795),
of which we know the abstract only. No detail of that paper is claimed.

Cutting the arrow from severity into the question is drawing the question from P(Q) in place of P(Q | S). The answer is
known for the question that was asked, so a question can only be redrawn among those that have the same answer: the
wordings of its canonical question. What is drawn from is P(wording | canonical question) among all training rows, which
needs no severity at all. It presumes that a wording has no effect of its own on the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from torch import nn

from adjusters.contract import (
    Adjuster,
    Card,
    ContractError,
    HasParts,
    NewScorer,
    Scorer,
    Stage,
)
from adjusters.exchanged_wordings import Exchange, several_styles, wordings_of
from adjusters.severity_based.cells import Columns, cell_weights, look_up, pooled_balance, require_overlap
from adjusters.severity_based.other_words_first import AS_ASKED, OtherWordsFirst

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

FineTuning = Literal["none", "frozen", "weighted"]
#: Parts that a frozen fine-tuning leaves as they are, and the epochs of fine-tuning where no others are asked for.
ENCODING, EPOCHS = ("encoder", "projector"), 3


class QuestionRandomised(Adjuster):
    """Every item asked in words drawn at random from its canonical question's.

    Args:
        epochs: of the first stage; ``None`` = what the run says.
        fine_tuning: a second stage on the questions as they were asked. "none" by default: without weights it learns
            the shortcut again. "frozen": without weights, the scorer's encoder and projector held fixed, so that what
            reads the ECG keeps what it has learned; what reads the question takes the shortcut up. "weighted": with
            weights P(F | T) / P(F | S, T), for which a severity is needed; the best epoch is kept where it is clearly
            better than the first stage's end.
        fine_tuning_epochs: of the second stage; ``None`` = 3.
        exchange: "style", as a placebo is: words are drawn among those of the same style only.

    The table must have the columns ``question`` and ``question_id``. Learned: ``wordings_``: per canonical question its
    training texts and how often each was asked; ``cells_``: weights as for ipw, empty where there are none.
    """

    card = Card(
        summary="Question-randomised pre-training: each item asked in words drawn from P(wording | question), whatever "
        "its severity. Our reading of the de-biased pre-training named in the reference paper's abstract.",
        needs=("treatment",),
        uses=("weights", "objective"),
        estimands=("P(A | E, do(Q))", "P(A | do(Q))"),
        consistent_when="a wording has no effect of its own on the answer, and severity does not drive which canonical "
        "question is asked (or the target holds that fixed)",
        fails_when="the style itself causes the answer (R9): that effect is lost; every canonical question has one "
        "wording; fine_tuning=frozen takes the shortcut up again wherever question and answer are confounded (R1)",
        source="our reading of arXiv 2411.14795, known to us by its abstract only",
        placebo={"exchange": "style"},
    )

    wordings_: dict[str, dict[str, int]]
    cells_: dict[str, Any]

    def __init__(
        self,
        epochs: int | None = None,
        fine_tuning: FineTuning = "none",
        fine_tuning_epochs: int | None = None,
        exchange: Exchange = "question",
    ) -> None:
        if fine_tuning not in get_args(FineTuning):
            raise ContractError(
                f"question_randomised's fine_tuning is {', '.join(get_args(FineTuning))}, not '{fine_tuning}'"
            )
        if exchange not in get_args(Exchange):
            raise ContractError(f"question_randomised's exchange is question or style, not '{exchange}'")
        for name, value in (("epochs", epochs), ("fine_tuning_epochs", fine_tuning_epochs)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ContractError(f"question_randomised's {name} must be a whole number, at least 1, not {value}")
        if fine_tuning == "none" and fine_tuning_epochs is not None:
            raise ContractError("question_randomised has no fine_tuning to last fine_tuning_epochs; name one")
        self.epochs = epochs
        self.fine_tuning = fine_tuning
        self.fine_tuning_epochs = fine_tuning_epochs
        self.exchange = exchange

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        assert estimand is not None
        treatment = estimand.roles["treatment"]
        self.wordings_ = wordings_of("question_randomised", table, treatment, self.exchange)
        if not several_styles(table, treatment):
            raise ContractError(
                f"question_randomised has nothing to draw: no question was asked with several values of '{treatment}'; "
                "use ipw or backdoor"
            )
        self.cells_ = {}
        if self.fine_tuning == "weighted":
            columns = self._columns(table)
            require_overlap("question_randomised", table, columns)
            self.cells_ = cell_weights(table, columns, "stabilised", None)
        return self

    def weights(self, table: pd.DataFrame) -> np.ndarray | None:
        return look_up(self.cells_, table, "question_randomised") if self.cells_ else None

    def stages(self) -> tuple[Stage, ...]:
        first = Stage("randomised", epochs=self.epochs, weighted=False)
        if self.fine_tuning == "none":
            return (first,)
        epochs = self.fine_tuning_epochs or EPOCHS
        kept = self.fine_tuning == "weighted"
        return (first, Stage(AS_ASKED, trains=(AS_ASKED,), epochs=epochs, reset_optimizer=True, keep_best=kept))

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> OtherWordsFirst:
        if self.fine_tuning == "frozen":
            frozen = tuple(name for name in ENCODING if _has_part(scorer, name))
            if not frozen:
                raise ContractError(
                    f"question_randomised with fine_tuning=frozen needs a scorer with the part encoder or projector, "
                    f"which {type(scorer).__name__} lacks; use fine_tuning=none or weighted"
                )
            return PartlyFrozen(scorer, self.wordings_, frozen)
        return OtherWordsFirst(scorer, self.wordings_)

    def balance(self, table: pd.DataFrame) -> pd.DataFrame | None:
        """As for ipw, where fine-tuning is weighted."""
        if not self.cells_:
            return None
        weights = look_up(self.cells_, table, "question_randomised")
        return pooled_balance(table, self._columns(table), weights, overlap=False)

    def _columns(self, table: pd.DataFrame) -> Columns:
        assert self.estimand_ is not None
        column = self.estimand_.roles.get("severity")
        if column is None or column not in table.columns:
            raise ContractError(
                f"question_randomised with fine_tuning=weighted needs the column '{column or 'severity'}' (role "
                "'severity'), which is missing; use fine_tuning=none"
            )
        return Columns.of("question_randomised", table, self.estimand_, None, "topic")


class PartlyFrozen(OtherWordsFirst):
    """The same with parts of the scorer that "as_asked" leaves alone: ``frozen``."""

    def __init__(self, scorer: Scorer, wordings: Mapping[str, Mapping[str, int]], frozen: tuple[str, ...]) -> None:
        super().__init__(scorer, wordings)
        self.frozen = frozen

    def train(self, mode: bool = True) -> Self:
        """As usual, but what is held fixed stays in evaluation mode: its running statistics would move otherwise."""
        super().train(mode)
        if mode and self.asking:
            for part in self._held():
                part.eval()
        return self

    def parameters_of(self, part: str) -> Iterator[nn.Parameter]:
        held = {id(p) for module in self._held() for p in module.parameters()} if part == AS_ASKED else set()
        return (p for p in super().parameters_of(part) if id(p) not in held)

    def _held(self) -> list[nn.Module]:
        assert isinstance(self.scorer, HasParts)
        return [self.scorer.part(name) for name in self.frozen]


def _has_part(scorer: Scorer, name: str) -> bool:
    if not isinstance(scorer, HasParts):
        return False
    try:
        scorer.part(name)
    except KeyError:
        return False
    return True
