"""Effect subtraction: the total effect of ECG and question, less what the question does without the ECG.

    prediction   Z(E, Q) - weight * Z(reference, Q)

What stands for "without the ECG" is the reference, and decides how the model is trained:

=========  ==========================================  =============================================================
reference  Z(reference, Q)                             training
=========  ==========================================  =============================================================
question   log P(A | Q) of a branch that is shown      both plainly, the branch in a stage before
           the question alone
constant   h(zq, c): c stands for the scores that      L(h(zq, z), A) + L(zq, A); then c of the least
           question and ECG give together              KL(p(h(zq, z)) || p(h(zq, c))); Z(E, Q) = h(zq, z)
blank      z without an ECG                            plain
noise      z(sqrt(1 - r) E + sqrt(r) rms(E) noise, Q)  plain
mean       z(mean training ECG, Q)                     plain
=========  ==========================================  =============================================================

With ``bias_view`` a style, template or type, or ``prior="counts"``, what is subtracted is what that view of the
question says beyond its topic, by counts of the training rows: log P(A | view, T) - log P(A | T). The topic's own
effect stays.

"constant" with weight 1 is CF-VQA's total indirect effect (without its ECG-only branch). The last three are contrastive
decoding (VCD), (1 + a) z - a z', with weight a / (1 + a): the same decisions, at temperature 1 / (1 + a); they become
a total indirect effect as a grows. Scores are log-probabilities, or log-odds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np

from adjusters.contract import Card, ContractError, NewScorer, Scorer, Stage
from adjusters.shortcut_model.bias_view import BiasView
from adjusters.shortcut_model.fusion import Fusion
from adjusters.shortcut_model.subtraction import (
    BlankSubtraction,
    CounterfactualSubtraction,
    How,
    MeanSubtraction,
    NoiseSubtraction,
    QuestionSubtraction,
    Subtraction,
)
from adjusters.shortcut_model.view_counts import PriorFrom, ViewCounts
from adjusters.shortcut_model.view_subtraction import ViewSubtraction
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

Reference = Literal["question", "constant", "blank", "noise", "mean"]
Told = Literal["question", "nothing"]
#: Share of noise in VCD's images after 500 of its 1,000 steps of diffusion.
VCD_NOISE = 0.25


class EffectSubtraction(ViewCounts):
    """Z(E, Q) - weight * Z(reference, Q). What is trained, and what a reference is, the module says.

    Args:
        reference: what stands for the absent ECG.
        weight: in (0, 1].
        fusion: h of the constant reference: "sum", "hm" or "rubi" (see :mod:`.fusion`); ``None`` = sum.
        noise: r of the noise reference, in (0, 1]; ``None`` = that of VCD's experiments.
        plausibility: candidates whose probability before the subtraction is below this share of the largest are cut
            off (set: yes or no, candidate by candidate), in [0, 1); 0 = none.
        told: what the subtracted branch is told, "question" or, to take away what the strategy goes by, "nothing".
        bias_view: what is subtracted: what the whole question says, or what its style (the estimand's treatment),
            template or type alone says.
        prior: of the question reference: "model", a branch trained on the whole question, or "counts" of answers per
            view, over all training rows, as the training itself is plain; ``None`` = the branch for the whole question,
            counts for the rest.

    A prediction knows an item by its question: with counts, a training question has the view it had there, and nothing
    is subtracted for a question that training lacked. Learned: ``width_``, the largest number of candidates; with
    counts, ``views_``, ``answers_``, ``counts_`` and ``asked_`` (kind -> question -> code of its view).
    """

    called = "effect_subtraction"
    #: Nothing is trained beside the counts, so no row has to be left out of its own.
    folds = 1
    card = Card(
        summary="Effect subtraction (CF-VQA, VCD): what the question does without the ECG is subtracted at prediction.",
        uses=("objective", "predict"),
        bias_view="question; style, template or type",
        extra_passes=(1, 1),
        consistent_when="the ECG is independent of the question given the answer, all answers are equally frequent, "
        "and the reference's scores are log P(answer | question); with a prior by counts, the ECG is independent of "
        "the view given answer and topic, and the view causes no answer",
        fails_when="the topic truly has an effect (R3): it is subtracted with the style's, whole where weight is one, "
        "unless a style, template or type alone is subtracted; "
        "blank, noised and mean ECGs are none that the scorer was trained on, and its scores there are no "
        "P(answer | question)",
        source="Niu et al. 2021 (CF-VQA); Leng et al. 2024 (VCD)",
        placebo={"told": "nothing"},
    )

    width_: int
    asked_: dict[str, dict[str, int]]
    bias_view: BiasView

    def __init__(
        self,
        reference: Reference = "question",
        weight: float = 1.0,
        fusion: Fusion | None = None,
        noise: float | None = None,
        plausibility: float = 0.0,
        told: Told = "question",
        bias_view: BiasView = "question",
        prior: PriorFrom | None = None,
        by: str | None = "topic",
        restore_prior: bool = True,
        smoothing: float = 1.0,
    ) -> None:
        if reference not in get_args(Reference):
            raise ContractError(
                f"effect_subtraction's reference is {', '.join(get_args(Reference))}, not '{reference}'"
            )
        if not 0 < weight <= 1:
            raise ContractError(
                f"effect_subtraction's weight must be above 0 and at most 1 (a / (1 + a) of VCD's a), not {weight}"
            )
        if fusion is not None and (fusion not in get_args(Fusion) or reference != "constant"):
            raise ContractError(
                f"effect_subtraction's fusion is {', '.join(get_args(Fusion))}, for the constant reference; not "
                f"'{fusion}' for {reference}"
            )
        if noise is not None and (reference != "noise" or not 0 < noise <= 1):
            raise ContractError(
                "effect_subtraction's noise is a share above 0 and at most 1, for the noise reference; not "
                f"{noise} for {reference}"
            )
        if not 0 <= plausibility < 1:
            raise ContractError(f"effect_subtraction's plausibility must be at least 0 and below 1, not {plausibility}")
        if told not in get_args(Told):
            raise ContractError(f"effect_subtraction's told is {' or '.join(get_args(Told))}, not '{told}'")
        self.reference = reference
        self.weight = weight
        self.fusion = fusion
        self.noise = noise
        self.plausibility = plausibility
        self.told = told
        self.bias_view = bias_view
        self.prior = prior
        self.by = by
        self.restore_prior = restore_prior
        self.smoothing = smoothing
        self.check_options()
        if reference != "question" and (bias_view, prior) != ("question", None):
            raise ContractError(
                f"effect_subtraction's reference={reference} is the model's own scores, which have neither view nor "
                "prior; leave bias_view and prior out, or use reference=question"
            )
        if self.from_model:
            self.refuse("a model says what is subtracted", by="topic", restore_prior=True, smoothing=1.0)

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        require_columns(self.called, table, ("candidates",))
        self.width_ = int(table["candidates"].map(len).max())
        if not self.from_model:
            self.count(table)
            self.asked_ = self._views_of_questions(table)
        return self

    def _views_of_questions(self, table: pd.DataFrame) -> dict[str, dict[str, int]]:
        """kind -> question -> code. Raises ContractError for a question that was asked with two views."""
        require_columns(self.called, table, ("question",))
        columns = self.view_columns(table)
        found: dict[str, dict[str, int]] = {}
        codes = self.codes.of(table, columns).tolist()
        for kind, text, code in zip(table["kind"], table["question"], codes, strict=True):
            if text is not None and found.setdefault(kind, {}).setdefault(text, code) != code:
                raise ContractError(
                    f"effect_subtraction knows an item's {columns.view} by its question, but '{text}' was asked with "
                    f"several (or in several {columns.within}); choose another bias_view"
                )
        return found

    def stages(self) -> tuple[Stage, ...]:
        main = Stage("main")
        if not self.from_model:
            return (main,)
        if self.reference == "question":
            return (Stage("question", trains=("question",)), main)
        if self.reference == "constant":
            return (main, Stage("constant", trains=(), epochs=0, wants=("features:branches",)))
        if self.reference == "mean":
            return (main, Stage("mean", trains=(), epochs=0, wants=("features:sum_of_ecgs",)))
        return (main,)

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> Subtraction:
        how = How(self.weight, self.plausibility, self.told == "question")
        if not self.from_model:
            return ViewSubtraction(scorer, how, self.counted(), self.asked_, self.codes.places - 1)
        if self.reference == "question":
            return QuestionSubtraction(scorer, how, new_scorer("question_only"))
        if self.reference == "constant":
            branch = new_scorer("question_only")
            return CounterfactualSubtraction(scorer, how, branch, self.fusion or "sum", self.width_)
        if self.reference == "noise":
            share = VCD_NOISE if self.noise is None else self.noise
            return NoiseSubtraction(scorer, how, share, int(rng.integers(2**31)))
        return (BlankSubtraction if self.reference == "blank" else MeanSubtraction)(scorer, how)
