"""Last-layer refit: an ordinary model's features, and a new last layer for rows in which the shortcut tells nothing.

1. ``main``: ordinary training. Its features hold the finding too, even where the last layer hardly uses it.
2. ``refit``: on the validation rows, everything but the last layer being frozen.

The published method is given validation rows in which the groups of answer and style are balanced. Here they are as
biased as the training rows, and there are several ways to balance them:

- "wordings": each row is asked in the words of training rows with the same canonical question. Within a question the
  style is then independent of everything else, and no row is lost; an effect that the style truly has is lost.
- "draws": as published: subsamples with as many rows of every group as the rarest has, a fit on each, averaged.
- "weights": all rows, weighted by the inverse frequency of their group.

Under strong confounding the last two rest on the few rows that break the shortcut: of 500 rows at rho = .99 on five.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import (
    Adjuster,
    Batch,
    Card,
    ContractError,
    HasFeatureDim,
    HasFeatures,
    HasParts,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    Stage,
    View,
    negative_log_likelihood,
)
from adjusters.exchanged_wordings import ExchangedWordings, several_styles, wordings_of
from adjusters.group_based.groups import GROUP, STYLE, GroupAdjuster, inverse_frequency, role_column
from adjusters.group_based.linear_head import fit_linear_head, for_raw_features, standardisation
from adjusters.table_columns import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

Refit = Literal["head", "projector", "answer_head"]
Balance = Literal["wordings", "draws", "weights"]
WEIGHT = "group_weight"
_REFIT = "refit"
_FUSED: View = "fused"


class LastLayerRefit(GroupAdjuster):
    """Deep feature reweighting, and the same with the projector as the layer that is refitted.

    Args:
        refit: what is refitted. "head": a new linear head on the features "fused", one row of coefficients per answer;
            the scores of an item are those of its candidates. An item with a candidate that was none in the rows
            refitted to is answered by the model as it was. "projector", "answer_head": that part of the scorer, by
            gradient steps; then any candidate can be scored. (The composite uses its answer head for sets only.)
        balanced_by: how the validation rows are balanced, see the module; draws are for a head.
        refits: of a head: wordings in which each row is asked, or balanced draws that are averaged; unused with
            weights.
        epochs: of a part's gradient steps.
        penalty: of a head: L2 penalty on the summed loss, features being standardised; > 0.
        groups: columns joined by "-" (for draws and weights).
        smallest: groups of fewer training rows are merged.
        own_words: ask each row in its own words after all: the placebo of "wordings".

    Learned: ``answers_``, the candidates of the training rows; ``wordings_``, the training texts of each canonical
    question, where they are exchanged; ``groups_``, where they are not.
    """

    name = "last_layer_refit"
    card = Card(
        summary="Ordinary training, then a new last layer for validation rows in which style and answer are balanced.",
        needs=("treatment",),
        uses=("objective", "predict"),
        consistent_when="the features of ordinary training hold the finding, and the balanced validation rows, which "
        "are learned from, have the answers that do(Q) would give",
        fails_when="the features have lost the finding; with draws or weights, few rows break the shortcut, or the "
        "question has an effect of its own (R3); with wordings, the style has one (R9); a new head costs something "
        "where nothing was wrong (R8)",
        source="Kirichenko et al. 2023, section 5; wordings: ours",
        placebo={"own_words": True},
    )

    answers_: list[str]
    wordings_: dict[str, dict[str, int]]

    def __init__(
        self,
        refit: Refit = "head",
        balanced_by: Balance = "wordings",
        refits: int = 10,
        epochs: int = 5,
        penalty: float = 1.0,
        groups: str = "answer-style",
        smallest: int = 1,
        own_words: bool = False,
    ) -> None:
        self.refit = refit
        self.balanced_by = balanced_by
        self.refits = refits
        self.epochs = epochs
        self.penalty = penalty
        self.groups = groups
        self.smallest = smallest
        self.own_words = own_words
        self.check_groups()
        if refit not in get_args(Refit):
            raise ContractError(f"last_layer_refit's refit is head, projector or answer_head, not '{refit}'")
        if balanced_by not in get_args(Balance):
            raise ContractError(f"last_layer_refit's balanced_by is wordings, draws or weights, not '{balanced_by}'")
        if refit != "head" and balanced_by == "draws":
            raise ContractError(
                f"last_layer_refit learns the {refit} by steps, which draws cannot be averaged over; use "
                "balanced_by=wordings or balanced_by=weights"
            )
        for option, number in (("refits", refits), ("epochs", epochs)):
            if not isinstance(number, int) or number < 1:
                raise ContractError(f"last_layer_refit's {option} must be a whole number, at least 1, not {number}")
        if not 0 < penalty < float("inf"):
            raise ContractError(f"last_layer_refit's penalty must be a positive number, not {penalty}")

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        self.wordings_ = {}
        if self.balanced_by == "wordings":
            Adjuster.fit(self, table, estimand, rng=rng)
            self.wordings_ = {} if self.own_words else self._exchangeable(table, estimand)
        else:
            super().fit(table, estimand, rng=rng)
        require_columns(self.name, table, ["candidates"])
        self.answers_ = sorted({str(name) for names in table["candidates"] for name in names})
        return self

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        if self.balanced_by == "wordings":
            return {}
        codes = self.codes(table)
        weights = inverse_frequency(codes, len(self.groups_["rows"]))
        return {GROUP: codes, WEIGHT: weights.astype(np.float32)}

    def stages(self) -> tuple[Stage, ...]:
        main = Stage("main")
        if self.refit != "head":
            return (main, Stage(_REFIT, trains=(_REFIT,), split="validation", epochs=self.epochs))
        wants = ("features:candidates", "features:true", "features:several")
        times = self.refits if self.wordings_ else 1
        asked = tuple(f"features:{_FUSED} {time}" for time in range(times))
        return (main, Stage(_REFIT, trains=(), split="validation", epochs=0, wants=(*wants, *asked)))

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> Objective:
        name = type(scorer).__name__
        words = ExchangedWordings(self.wordings_)
        if self.refit == "head":
            if not (isinstance(scorer, HasFeatures) and isinstance(scorer, HasFeatureDim)):
                raise ContractError(
                    f"last_layer_refit needs a scorer with features and feature_dim, which {name} lacks; use one that "
                    "has them"
                )
            return RefittedHead(scorer, self.answers_, words, self.balanced_by, self.refits, self.penalty)
        try:
            part = scorer.part(self.refit) if isinstance(scorer, HasParts) else None
        except KeyError:
            part = None
        inside = isinstance(scorer, nn.Module) and any(module is part for module in scorer.modules())
        if part is None or not inside or not any(parameter.requires_grad for parameter in part.parameters()):
            raise ContractError(
                f"last_layer_refit cannot refit the {self.refit}: {name} has none that is trained; use refit=head"
            )
        return RefittedPart(scorer, part, words)

    def _exchangeable(self, table: pd.DataFrame, estimand: Estimand | None) -> dict[str, dict[str, int]]:
        style = role_column(self.name, STYLE, table, estimand)
        wordings = wordings_of(self.name, table, style, "question")
        if not several_styles(table, style):
            raise ContractError(
                f"last_layer_refit has no wordings to exchange, since no question was asked with several values of "
                f"'{style}'; use balanced_by=weights"
            )
        return wordings


class RefittedHead(Objective):
    """See :class:`LastLayerRefit`. ``coefficient``: (answers, dim + 1) of the features, the intercept last; ``known``:
    (answers,) bool, those that were candidates in the rows refitted to."""

    coefficient: Tensor
    known: Tensor
    refitted: Tensor

    def __init__(
        self,
        scorer: Scorer,
        answers: Sequence[str],
        words: ExchangedWordings,
        balanced_by: Balance,
        refits: int,
        penalty: float,
    ) -> None:
        super().__init__(scorer)
        self.place = {answer: i for i, answer in enumerate(answers)}
        self.words, self.balanced_by, self.refits, self.penalty = words, balanced_by, refits, penalty
        dim = cast(HasFeatureDim, scorer).feature_dim(_FUSED)
        self.register_buffer("coefficient", torch.zeros(len(answers), dim + 1))
        self.register_buffer("known", torch.zeros(len(answers), dtype=torch.bool))
        self.register_buffer("refitted", torch.zeros((), dtype=torch.bool))

    def forward(self, batch: Batch) -> Tensor:
        if not self.refitted:
            return self.scorer(batch)
        x = cast(HasFeatures, self.scorer).features(batch, _FUSED).to(self.coefficient.dtype)
        every = x @ self.coefficient[:, :-1].T + self.coefficient[:, -1]
        place = self._places(batch).to(x.device)
        strange = ((place < 0) | ~self.known[place.clamp(min=0)]) & ~batch.padding
        scores = every.gather(1, place.clamp(min=0)).masked_fill(batch.padding, float("-inf"))
        as_it_was = strange.any(1).nonzero().squeeze(1)
        if len(as_it_was):
            scores = scores.index_copy(0, as_it_was, self.scorer(batch.select(as_it_was)).to(scores.dtype))
        return scores

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        return _ordinary(self.scorer, batch)

    def wanted(self, batch: Batch, name: str) -> Tensor:
        """Also "features:fused TIME", the features in other words, and what the answers are: "features:candidates" and
        "features:true", (batch, answers) 0 or 1, all 0 for an item with a candidate that training lacked, and
        "features:several", (batch, 1) whether any number of them may be true."""
        what, _, time = name.removeprefix("features:").partition(" ")
        if what == _FUSED and time:
            asked = self.words.fixed(batch, int(time), self.refits)
            return cast(HasFeatures, self.scorer).features(asked, _FUSED)
        if what == "several":
            return torch.full((len(batch), 1), float(batch.kind == "set"))
        if what in ("candidates", "true"):
            place = self._places(batch)
            there = ~batch.padding.cpu()
            usable = ~((place < 0) & there).any(1, keepdim=True)
            marked = usable & (there if what == "candidates" else batch.answer.cpu())
            # Padding is put in a place of its own, which is left out.
            found = torch.zeros(len(batch), len(self.place) + 1)
            return found.scatter(1, torch.where(marked, place, len(self.place)), 1.0)[:, :-1]
        return super().wanted(batch, name)

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        if stage.name != _REFIT:
            return
        asked = [values for name, values in features.items() if name.startswith(_FUSED)]
        candidates, true = features["candidates"] > 0, features["true"] > 0
        several = features["several"][:, 0] > 0
        usable = candidates.any(1) & (several | true.any(1))
        if GROUP in columns:
            usable &= columns[GROUP] >= 0
        if not usable.any():
            raise ContractError(
                "last_layer_refit: no validation row has answers and a group that training had; choose another split"
            )
        mean, scale = standardisation(torch.cat(asked)[usable.repeat(len(asked))])
        found = []
        for rows, weights in self._balanced(usable, columns):
            x = torch.cat([(values[rows].double() - mean) / scale for values in asked])
            times = len(asked)
            fitted = fit_linear_head(
                x,
                candidates[rows].repeat(times, 1),
                true[rows].repeat(times, 1),
                several[rows].repeat(times),
                weights.repeat(times) / times,
                self.penalty,
            )
            found.append(for_raw_features(fitted, mean, scale))
        self.coefficient.copy_(torch.stack(found).mean(0))
        self.known.copy_(candidates[usable].any(0))
        self.refitted.fill_(True)

    def _balanced(self, usable: Tensor, columns: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Positions and weights of the rows of each fit."""
        rows = usable.nonzero().squeeze(1)
        if self.balanced_by != "draws":
            yield rows, columns[WEIGHT][rows] if WEIGHT in columns else torch.ones(len(rows))
            return
        group = columns[GROUP][rows]
        codes, counts = group.unique(return_counts=True)
        size = int(counts.min())
        for _ in range(self.refits):
            order = torch.randperm(len(rows))
            drawn = torch.cat([rows[order][group[order] == code][:size] for code in codes])
            yield drawn, torch.ones(len(drawn))

    def _places(self, batch: Batch) -> Tensor:
        """(batch, candidates) int64 position of each candidate among the answers, -1 = none and at padding."""
        width = batch.candidate_ids.shape[1]
        places = [[self.place.get(name, -1) for name in names] for names in batch.candidates]
        return torch.tensor([row + [-1] * (width - len(row)) for row in places])


class RefittedPart(Objective):
    """See :class:`LastLayerRefit`: part "refit" is one of the scorer's parts. ``refitting``: whether it is its turn."""

    parts = ("main", _REFIT)
    refitting: Tensor

    def __init__(self, scorer: Scorer, part: nn.Module, words: ExchangedWordings) -> None:
        super().__init__(scorer)
        self.words = words
        self.of_part = next(name for name, module in self.named_modules() if module is part)
        self.register_buffer("refitting", torch.zeros((), dtype=torch.bool))

    def parameters_of(self, part: str) -> Iterator[nn.Parameter]:
        return self._part.parameters() if part == _REFIT else super().parameters_of(part)

    def train(self, mode: bool = True) -> Self:
        """While the part is refitted all else is in evaluation mode: frozen features do not move."""
        super().train(mode)
        if mode and self.refitting:
            self.get_submodule("scorer").eval()
            self._part.train()
        return self

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        self.refitting.fill_(stage.name == _REFIT)

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        if part == "main":
            return _ordinary(self.scorer, batch)
        asked = self.words.drawn(batch)
        per_item = negative_log_likelihood(self.scorer(asked), batch)
        weight = batch.columns.get(WEIGHT)
        weighted = per_item if weight is None else weight.to(per_item.dtype) * per_item
        return LossTerms(weighted.mean(), per_item.detach())

    @property
    def _part(self) -> nn.Module:
        return self.get_submodule(self.of_part)


def _ordinary(scorer: Scorer, batch: Batch) -> LossTerms:
    per_item = negative_log_likelihood(scorer(batch), batch)
    return LossTerms(per_item.mean(), per_item.detach())
