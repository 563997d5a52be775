"""RUBi: scores are masked, in training, by what a branch on the question alone makes of each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.candidates import candidate_places, centred
from adjusters.contract import (
    Batch,
    Card,
    ContractError,
    HasFeatureDim,
    HasFeatures,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    negative_log_likelihood,
    weighted_mean,
)
from adjusters.shortcut_model.answer_prior import ViewOffset, as_dealt
from adjusters.shortcut_model.bias_view import CODE, BiasView, Codes, ViewColumns
from adjusters.shortcut_model.view_counts import PriorFrom, ViewCounts
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand


class RUBi(ViewCounts):
    """Trains masked scores beside a question-only branch, and predicts without the mask.

        q            features of the question, without gradient into the encoder that gave them
        loss         L(z * sigmoid(c1(q)), A) + question_weight * L(c2(c1(q)), A)
        prediction   z

    c1 is a perceptron with two hidden layers and a place for every answer of the training table, c2 is linear; a
    candidate that has no place is not masked. z is centred over the item's candidates before it is masked ("one"; our
    scorers give log-likelihoods, where a mask would favour long answers), or taken as it is ("set", where zero is
    even).

    The question is the bare one, found by its code: nothing that stands before it is seen.

    With another view than the whole question, or with ``prior="counts"``, the mask is not learned: it comes from the
    cached prior of the view, and the loss is that of the masked scores alone.

        mask         P(A | view, T) / (P(A | view, T) + P(A | T)), a half where the view tells nothing; or, with
                     ``restore_prior=False``, P(A | view, T). "set": the former of odds

    Args:
        question_weight: > 0; of the branch's own loss.
        hidden: width of c1's layers.
        centred: ``False`` = scores of kind "one" are masked as they come, as in the paper's equation.
        bias_view: what the mask may see: the whole question, or its style (the estimand's treatment), template or type
            alone.
        prior: where the mask comes from: "model", the branch on the whole question, or "counts" of answers per view;
            ``None`` = the branch for the whole question, counts for the rest.

    Learned: ``views_`` (a code for each view) and ``answers_``; with counts, ``counts_``.
    """

    called = "rubi"
    card = Card(
        summary="RUBi: scores masked in training by a question-only branch, which is dropped at prediction.",
        uses=("objective",),
        bias_view="question; style, template or type",
        extra_passes=(1, 0),
        consistent_when="no condition is known under which its optimum is the target",
        fails_when="between two answers: masks are positive, so that a centred pair keeps its sign, and a scorer that "
        "sees the style decides exactly as it would without, whatever the view; the topic's true effect is masked with "
        "the style's, unless the mask is of a style, template or type beyond its topic",
        source="Cadene, Dancette, Ben-younes, Cord & Parikh 2019",
    )

    bias_view: BiasView

    def __init__(
        self,
        question_weight: float = 1.0,
        hidden: int = 64,
        centred: bool = True,
        bias_view: BiasView = "question",
        prior: PriorFrom | None = None,
        by: str | None = "topic",
        restore_prior: bool = True,
        smoothing: float = 1.0,
        folds: int | None = None,
    ) -> None:
        if not question_weight > 0:
            raise ContractError(f"rubi's question_weight must be positive, not {question_weight}")
        if not isinstance(hidden, int) or hidden < 1:
            raise ContractError(f"rubi's hidden must be a whole number of units, at least 1, not {hidden}")
        self.question_weight = question_weight
        self.hidden = hidden
        self.centred = centred
        self.bias_view = bias_view
        self.prior = prior
        self.by = by
        self.restore_prior = restore_prior
        self.smoothing = smoothing
        self.folds = folds
        self.check_options()
        if self.from_model:
            self.refuse_counts("a branch on the question gives the mask and nothing is counted")
        else:
            self.refuse("counts give the mask and there is no branch", question_weight=1.0, hidden=64)

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        if self.from_model:
            require_columns("rubi", table, ("kind", "candidates"))
            codes = Codes.seen_in(table, self._questions(table), 1)
            self.views_ = list(map(list, codes.views))
            self.answers_ = sorted({name for names in table["candidates"] for name in names})
        else:
            self.count(table)
        return self

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        return {CODE: self.codes.of(table, self._questions(table) if self.from_model else self.view_columns(table))}

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> MaskedObjective:
        if not self.from_model:
            return ViewRUBiObjective(scorer, self.counted(), centred=self.centred)
        if not (isinstance(scorer, HasFeatures) and isinstance(scorer, HasFeatureDim)):
            raise ContractError(
                f"rubi needs a scorer with question features and feature_dim, which {type(scorer).__name__} lacks; use "
                "prior=counts"
            )
        branch = QuestionBranch(scorer.feature_dim("question"), self.hidden, len(self.answers_), rng)
        return RUBiObjective(
            scorer, branch, self.codes.texts, self.answers_, self.question_weight, centred=self.centred
        )

    def _questions(self, table: pd.DataFrame) -> ViewColumns:
        """Across all items: the branch has a place for every answer, whatever is asked about."""
        require_columns("rubi", table, ("kind",))
        return ViewColumns.of("rubi", table, self.estimand_, "question", None)


class QuestionBranch(nn.Module):
    """c1, whose output masks, and c2, whose output answers."""

    def __init__(self, dim: int, hidden: int, answers: int, rng: np.random.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.mask = nn.Sequential(
                nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, answers)
            )
            self.answer = nn.Linear(answers, answers)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(questions, dim) -> the mask's logits and the answers' scores, each (questions, answers)."""
        mask = self.mask(features.to(self.answer.weight.dtype))
        return mask, self.answer(mask)


class MaskedObjective(Objective):
    """Trains scores times a mask, and predicts without it. ``centred``: as of :class:`RUBi`."""

    def __init__(self, scorer: Scorer, *, centred: bool) -> None:
        super().__init__(scorer)
        self.centred = centred

    def masked(self, batch: Batch, mask: Tensor) -> Tensor:
        """(batch, candidates) scores times a mask in [0, 1]; -inf at padding."""
        scores = self.scorer(batch)
        scores = centred(scores, batch) if self.centred else scores.masked_fill(batch.padding, 0.0)
        return (scores * mask.to(scores.dtype)).masked_fill(batch.padding, float("-inf"))

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        per_item = self.validation_loss(batch)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())


class ViewRUBiObjective(MaskedObjective):
    """The mask comes from the prior of a view."""

    def __init__(self, scorer: Scorer, prior: ViewOffset, *, centred: bool) -> None:
        super().__init__(scorer, centred=centred)
        self.prior = prior

    def mask(self, batch: Batch) -> Tensor:
        """(batch, candidates) in [0, 1]."""
        told = self.prior(batch)
        published = self.prior.given_topic is None and batch.kind == "one"
        return told.exp() if published else torch.sigmoid(told)

    def validation_loss(self, batch: Batch) -> Tensor:
        """What is minimised: the prediction leaves out, on purpose, what would serve on biased rows."""
        return negative_log_likelihood(self.masked(batch, self.mask(batch)), batch)


class RUBiObjective(MaskedObjective):
    """See :class:`RUBi`.

    Args:
        texts: (codes,) the question behind each code; ``None`` = not known, and withheld.
        answers: the branch's places.
    """

    def __init__(
        self,
        scorer: Scorer,
        branch: QuestionBranch,
        texts: Sequence[str | None],
        answers: Sequence[str],
        question_weight: float,
        *,
        centred: bool = True,
    ) -> None:
        super().__init__(scorer, centred=centred)
        self.branch = branch
        self.texts = tuple(texts)
        self.place = {name: i for i, name in enumerate(answers)}
        self.question_weight = question_weight

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(batch,) loss of the masked scores, and of the question-only branch."""
        mask, question_only = self._of_question(batch)
        masked = self.masked(batch, torch.sigmoid(mask))
        question_only = question_only.masked_fill(batch.padding, float("-inf"))
        return negative_log_likelihood(masked, batch), negative_log_likelihood(question_only, batch)

    def validation_loss(self, batch: Batch) -> Tensor:
        """What is minimised: the prediction leaves out, on purpose, what would serve on biased rows."""
        masked, question_only = self.losses(batch)
        return masked + self.question_weight * question_only.to(masked.dtype)

    def _of_question(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(batch, candidates) mask logits, +inf where a candidate has no place, and scores of the answers."""
        assert isinstance(self.scorer, HasFeatures)
        asked = as_dealt(batch, self.texts)
        place: dict[str | None, int] = {}
        at = torch.tensor([place.setdefault(text, len(place)) for text in asked.question], device=batch.rows.device)
        first = [asked.question.index(text) for text in place]
        with torch.no_grad():
            features = self.scorer.features(asked.select(first).without_ecg(), "question")
        mask, answer = self.branch(features)
        candidate = candidate_places(batch, self.place)
        mask = nn.functional.pad(mask, (0, 1), value=float("inf"))
        answer = nn.functional.pad(answer, (0, 1), value=0.0)
        return mask[at.unsqueeze(1), candidate], answer[at.unsqueeze(1), candidate]
