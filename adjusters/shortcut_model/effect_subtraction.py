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

"constant" with weight 1 is CF-VQA's total indirect effect (without its ECG-only branch). The last three are contrastive
decoding (VCD), (1 + a) z - a z', with weight a / (1 + a): the same decisions, at temperature 1 / (1 + a); they become
a total indirect effect as a grows. Scores are log-probabilities, or log-odds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import (
    Adjuster,
    Batch,
    Card,
    ContractError,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    Stage,
    negative_log_likelihood,
    weighted_mean,
)
from adjusters.shortcut_model.altered_ecg import sum_of_ecgs, with_mean, with_noise
from adjusters.shortcut_model.answer_prior import normalised, scored_once
from adjusters.shortcut_model.fusion import Fusion, closest_constant, divergence, fused, untreated
from adjusters.shortcut_model.rubi import centred

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from structural_models.estimand import Estimand

Reference = Literal["question", "constant", "blank", "noise", "mean"]
Told = Literal["question", "nothing"]
#: How far below the least plausible candidate that is kept those stand that are cut off, nats.
CUT = 30.0
#: Share of noise in VCD's images after 500 of its 1,000 steps of diffusion.
VCD_NOISE = 0.25


class EffectSubtraction(Adjuster):
    """Z(E, Q) - weight * Z(reference, Q). What is trained, and what a reference is, the module says.

    Args:
        reference: what stands for the absent ECG.
        weight: in (0, 1].
        fusion: h of the constant reference: "sum", "hm" or "rubi" (see :mod:`.fusion`); ``None`` = sum.
        noise: r of the noise reference, in (0, 1]; ``None`` = that of VCD's experiments.
        plausibility: candidates whose probability before the subtraction is below this share of the largest are cut
            off (set: yes or no, candidate by candidate), in [0, 1); 0 = none.
        told: what the subtracted branch is told, "question" or, to take away what the strategy goes by, "nothing".

    Learned: ``width_``, the largest number of candidates.
    """

    card = Card(
        summary="Effect subtraction (CF-VQA, VCD): what the question does without the ECG is subtracted at prediction.",
        uses=("objective", "predict"),
        bias_view="question",
        extra_passes=(1, 1),
        consistent_when="the ECG is independent of the question given the answer, all answers are equally frequent, and "
        "the reference's scores are log P(answer | question)",
        fails_when="the topic truly has an effect (R3): it is subtracted with the style's, whole where weight is one; "
        "blank, noised and mean ECGs are none that the scorer was trained on, and its scores there are no "
        "P(answer | question)",
        source="Niu et al. 2021 (CF-VQA); Leng et al. 2024 (VCD)",
        placebo={"told": "nothing"},
    )

    width_: int

    def __init__(
        self,
        reference: Reference = "question",
        weight: float = 1.0,
        fusion: Fusion | None = None,
        noise: float | None = None,
        plausibility: float = 0.0,
        told: Told = "question",
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

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        self.width_ = int(table["candidates"].map(len).max())
        return self

    def stages(self) -> tuple[Stage, ...]:
        main = Stage("main")
        if self.reference == "question":
            return (Stage("question", trains=("question",)), main)
        if self.reference == "constant":
            return (main, Stage("constant", trains=(), epochs=0, wants=("features:branches",)))
        if self.reference == "mean":
            return (main, Stage("mean", trains=(), epochs=0, wants=("features:sum_of_ecgs",)))
        return (main,)

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> Subtraction:
        told = self.told == "question"
        common = {"weight": self.weight, "plausibility": self.plausibility, "told": told}
        if self.reference == "question":
            return QuestionSubtraction(scorer, new_scorer("question_only"), **common)
        if self.reference == "constant":
            branch = new_scorer("question_only")
            return CounterfactualSubtraction(scorer, branch, self.fusion or "sum", self.width_, **common)
        if self.reference == "noise":
            share = VCD_NOISE if self.noise is None else self.noise
            return NoiseSubtraction(scorer, share, int(rng.integers(2**31)), **common)
        return (BlankSubtraction if self.reference == "blank" else MeanSubtraction)(scorer, **common)


class Subtraction(Objective):
    """Trains plainly, and predicts ``total - weight * without_ecg``, cut off where that is implausible.

    Judged on validation rows, which are biased like the training rows, by what is minimised.
    """

    def __init__(self, scorer: Scorer, *, weight: float, plausibility: float, told: bool) -> None:
        super().__init__(scorer)
        self.weight = weight
        self.plausibility = plausibility
        self.told = told

    def total(self, batch: Batch) -> Tensor:
        """(batch, candidates) Z(E, Q), zero at padding."""
        return normalised(self.scorer(batch), batch)

    def without_ecg(self, batch: Batch) -> Tensor:
        """(batch, candidates) Z(reference, Q), zero at padding."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        total = self.total(batch)
        found = total - self.weight * self.without_ecg(batch).to(total.dtype)
        if self.plausibility:
            found = plausible(found, total, self.plausibility, batch)
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
        if not self.told:
            return batch.without_question()
        return bare(batch)


class BlankSubtraction(Subtraction):
    """Reference "blank"."""

    def without_ecg(self, batch: Batch) -> Tensor:
        return normalised(self.scorer(self._altered(batch)), batch)

    def to_reference(self, batch: Batch) -> Batch:
        return batch if self.told else batch.without_question()

    def _altered(self, batch: Batch) -> Batch:
        return self.to_reference(batch).without_ecg()


class NoiseSubtraction(BlankSubtraction):
    """Reference "noise". The seed of the noise is a buffer, so that a model that is put back predicts the same."""

    seed: Tensor

    def __init__(
        self, scorer: Scorer, share: float, seed: int, *, weight: float, plausibility: float, told: bool
    ) -> None:
        super().__init__(scorer, weight=weight, plausibility=plausibility, told=told)
        self.share = share
        self.register_buffer("seed", torch.tensor(seed))

    def _altered(self, batch: Batch) -> Batch:
        return with_noise(self.to_reference(batch), self.share, int(self.seed))


class MeanSubtraction(BlankSubtraction):
    """Reference "mean": blank until the mean is known. ``ecg_sum``: (leads, samples), of ``ecgs`` ECGs."""

    ecg_sum: Tensor
    ecgs: Tensor

    def __init__(self, scorer: Scorer, *, weight: float, plausibility: float, told: bool) -> None:
        super().__init__(scorer, weight=weight, plausibility=plausibility, told=told)
        self.register_buffer("ecg_sum", torch.zeros(0, 0, dtype=torch.float64))
        self.register_buffer("ecgs", torch.zeros((), dtype=torch.int64))

    def wanted(self, batch: Batch, name: str) -> Tensor:
        """Also "features:sum_of_ecgs": adds the batch's ECGs up, and gives (batch, 0): a table of them would be large."""
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

    def __init__(
        self, scorer: Scorer, branch: Scorer, *, weight: float, plausibility: float, told: bool
    ) -> None:
        super().__init__(scorer, weight=weight, plausibility=plausibility, told=told)
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
        branch: Scorer,
        fusion: Fusion,
        width: int,
        *,
        weight: float,
        plausibility: float,
        told: bool,
    ) -> None:
        super().__init__(scorer, weight=weight, plausibility=plausibility, told=told)
        self.branch = branch
        self.fusion: Fusion = fusion
        self.width = width
        self.register_buffer("constant", torch.zeros(()))

    def total(self, batch: Batch) -> Tensor:
        return normalised(fused(self.fusion, self._question(batch), self._both(batch), batch.kind), batch)

    def without_ecg(self, batch: Batch) -> Tensor:
        return normalised(untreated(self.fusion, self._question(batch), self.constant, batch.kind), batch)

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
    groups = []
    for kind, rows in (("one", ~is_set), ("set", is_set)):
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
