"""What effect subtraction trains and predicts with, one class per reference; see :mod:`.effect_subtraction`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.candidates import centred, normalised
from adjusters.contract import (
    Batch,
    Kind,
    LossTerms,
    Objective,
    Scorer,
    Stage,
    negative_log_likelihood,
    weighted_mean,
)
from adjusters.shortcut_model.altered_ecg import sum_of_ecgs, with_mean, with_noise
from adjusters.shortcut_model.answer_prior import scored_once
from adjusters.shortcut_model.fusion import Fusion, closest_constant, divergence, fused, untreated

#: How far below the least plausible candidate that is kept those stand that are cut off, nats.
CUT = 30.0


@dataclass(frozen=True)
class How:
    """``weight`` of what is subtracted, ``plausibility`` below which candidates are cut off, and whether the subtracted
    branch is ``told`` the question."""

    weight: float
    plausibility: float
    told: bool


class Subtraction(Objective):
    """Trains plainly, and predicts one effect less ``weight`` times the other, cut off where that is implausible.

    Judged on validation rows, which are biased like the training rows, by what is minimised.
    """

    passes = 2

    def __init__(self, scorer: Scorer, how: How) -> None:
        super().__init__(scorer)
        self.how = how

    def effects(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(batch, candidates) Z(E, Q) and Z(reference, Q), zero at padding."""
        return normalised(self.scorer(batch), batch), self.without_ecg(batch)

    def without_ecg(self, batch: Batch) -> Tensor:
        """(batch, candidates) Z(reference, Q), zero at padding."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        total, without_ecg = self.effects(batch)
        found = total - self.how.weight * without_ecg.to(total.dtype)
        if self.how.plausibility:
            found = plausible(found, total, self.how.plausibility, batch)
        return found.masked_fill(batch.padding, float("-inf"))

    def per_item_loss(self, batch: Batch) -> Tensor:
        """(batch,)"""
        return negative_log_likelihood(self.scorer(batch), batch)

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        per_item = self.per_item_loss(batch)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        return self.per_item_loss(batch)

    def to_reference(self, batch: Batch) -> Batch:
        """The batch as the subtracted branch is told it: the bare question, or nothing."""
        if not self.how.told:
            return batch.without_question()
        return bare(batch)


class BlankSubtraction(Subtraction):
    """Reference "blank"."""

    def without_ecg(self, batch: Batch) -> Tensor:
        return normalised(self.scorer(self._altered(batch)), batch)

    def to_reference(self, batch: Batch) -> Batch:
        return batch if self.how.told else batch.without_question()

    def _altered(self, batch: Batch) -> Batch:
        return self.to_reference(batch).without_ecg()


class NoiseSubtraction(BlankSubtraction):
    """Reference "noise". The seed of the noise is a buffer, so that a model that is put back predicts the same."""

    seed: Tensor

    def __init__(self, scorer: Scorer, how: How, share: float, seed: int) -> None:
        super().__init__(scorer, how)
        self.share = share
        self.register_buffer("seed", torch.tensor(seed))

    def _altered(self, batch: Batch) -> Batch:
        return with_noise(self.to_reference(batch), self.share, int(self.seed))


class MeanSubtraction(BlankSubtraction):
    """Reference "mean": blank until the mean is known. ``ecg_sum``: (leads, samples), of ``ecgs`` ECGs."""

    ecg_sum: Tensor
    ecgs: Tensor

    def __init__(self, scorer: Scorer, how: How) -> None:
        super().__init__(scorer, how)
        self.register_buffer("ecg_sum", torch.zeros(0, 0, dtype=torch.float64))
        self.register_buffer("ecgs", torch.zeros((), dtype=torch.int64))

    def wanted(self, batch: Batch, name: str) -> Tensor:
        """Also "features:sum_of_ecgs": adds the batch's ECGs up, and gives (batch, 0), for all of them take too much
        room."""
        if name != "features:sum_of_ecgs":
            return super().wanted(batch, name)
        found, ecgs = sum_of_ecgs(batch)
        self.ecg_sum = found + self.ecg_sum if self.ecg_sum.numel() else found
        self.ecgs += ecgs
        return found.new_zeros(len(batch), 0)

    def _altered(self, batch: Batch) -> Batch:
        if not self.ecgs:
            return super()._altered(batch)
        return with_mean(self.to_reference(batch), self.ecg_sum / self.ecgs)


class QuestionSubtraction(Subtraction):
    """Reference "question": part "question" trains the branch, part "main" the scorer."""

    parts = ("question", "main")
    learning_question: Tensor

    def __init__(self, scorer: Scorer, how: How, branch: Scorer) -> None:
        super().__init__(scorer, how)
        self.branch = branch
        self.register_buffer("learning_question", torch.zeros((), dtype=torch.bool))

    def without_ecg(self, batch: Batch) -> Tensor:
        return normalised(self._branch(batch), batch)

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        self.learning_question.fill_(stage.name == "question")

    def parameters_of(self, part: str) -> Iterator[nn.Parameter]:
        super().parameters_of(part)
        module = self.branch if part == "question" else self.scorer
        return module.parameters() if isinstance(module, nn.Module) else iter(())

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        per_item = self._of_branch(batch) if part == "question" else self.per_item_loss(batch)
        return LossTerms(weighted_mean(per_item, batch), per_item.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        return self._of_branch(batch) if self.learning_question else self.per_item_loss(batch)

    def _of_branch(self, batch: Batch) -> Tensor:
        return negative_log_likelihood(self._branch(batch), batch)

    def _branch(self, batch: Batch) -> Tensor:
        return scored_once(self.branch, self.to_reference(batch))


class CounterfactualSubtraction(Subtraction):
    """Reference "constant": scorer and question-only branch fused. ``constant``: c."""

    constant: Tensor

    def __init__(
        self,
        scorer: Scorer,
        how: How,
        branch: Scorer,
        fusion: Fusion,
        width: int,
    ) -> None:
        super().__init__(scorer, how)
        self.branch = branch
        self.fusion: Fusion = fusion
        self.width = width
        self.register_buffer("constant", torch.zeros(()))

    def effects(self, batch: Batch) -> tuple[Tensor, Tensor]:
        question = self._question(batch)
        total = fused(self.fusion, question, self._both(batch), batch.kind)
        without_ecg = untreated(self.fusion, question, self.constant, batch.kind)
        return normalised(total, batch), normalised(without_ecg, batch)

    def per_item_loss(self, batch: Batch) -> Tensor:
        question = self._question(batch)
        total = fused(self.fusion, question, self._both(batch), batch.kind)
        return negative_log_likelihood(total, batch) + negative_log_likelihood(question, batch)

    def wanted(self, batch: Batch, name: str) -> Tensor:
        """Also "features:branches": (batch, 1 + 2 width) whether the item is a set, and the two branches' scores."""
        if name != "features:branches":
            return super().wanted(batch, name)
        more = self.width - batch.candidate_ids.shape[1]
        scores = [
            nn.functional.pad(s.masked_fill(batch.padding, float("nan")), (0, more), value=float("nan"))
            for s in (self._question(batch), self._both(batch))
        ]
        return torch.cat([torch.full_like(scores[0][:, :1], float(batch.kind == "set")), *scores], dim=1)

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        if stage.name == "constant":
            self.constant.fill_(nearest(self.fusion, features["branches"].double()))

    def _both(self, batch: Batch) -> Tensor:
        return centred(self.scorer(batch), batch)

    def _question(self, batch: Batch) -> Tensor:
        return centred(scored_once(self.branch, self.to_reference(batch)), batch)


def nearest(fusion: Fusion, branches: Tensor) -> float:
    """The constant of the least mean KL(p(Z(E, Q)) || p(Z(c, Q))) over items.

    Args:
        branches: (rows, 1 + 2 width) float64, see :meth:`CounterfactualSubtraction.wanted`.
    """
    is_set, question, both = branches[:, 0] > 0, *branches[:, 1:].chunk(2, dim=1)
    padding = question.isnan()
    groups: list[tuple[Kind, Tensor, Tensor, Tensor]] = []
    kinds: tuple[tuple[Kind, Tensor], ...] = (("one", ~is_set), ("set", is_set))
    for kind, rows in kinds:
        if rows.any():
            q, k = (s[rows].masked_fill(padding[rows], 0.0) for s in (question, both))
            groups.append((kind, q, fused(fusion, q, k, kind), padding[rows]))

    def mean_divergence(constant: Tensor) -> float:
        total = 0.0
        for kind, q, z, pad in groups:
            total += float(divergence(z, untreated(fusion, q, constant.to(q.device), kind), pad, kind).sum())
        return total / len(branches)

    return closest_constant(mean_divergence)


def plausible(scores: Tensor, before: Tensor, share: float, batch: Batch) -> Tensor:
    """Scores with those candidates put below all others whose probability ``before`` is less than ``share`` of the
    largest; of a set's candidate, what is less plausible of yes and no.

    Source: Li et al. 2023 (contrastive decoding), the adaptive plausibility constraint. Finite, where that is -inf.
    """
    if batch.kind == "set":
        found = scores.masked_fill(before < np.log(share), -CUT)
        return found.masked_fill(before > -np.log(share), CUT)
    largest = before.masked_fill(batch.padding, float("-inf")).amax(1, keepdim=True)
    cut = before < largest + np.log(share)
    lowest = scores.masked_fill(cut | batch.padding, float("inf")).amin(1, keepdim=True)
    return torch.where(cut, lowest - CUT + (before - largest), scores)


def bare(batch: Batch) -> Batch:
    """The batch with nothing before its questions."""
    if not batch.metadata:
        return batch
    asked = tuple(
        None if question is None else question.removeprefix(f"{before} " if before else "")
        for question, before in zip(batch.question, batch.metadata, strict=True)
    )
    return batch.replace(question=asked, metadata=())
