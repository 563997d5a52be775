"""Building scorers for a run: the composite, or the user's own module; and what an arm is never shown."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import Adjuster, Batch, HasAbstention, NewScorer, Objective, Scorer, Variant
from adjusters.valid_scores import check_first_scores
from causalecg.cohort.ecg_format import ECGFormat
from causalecg.errors import InputError
from causalecg.models.answering import writing
from causalecg.training.arms import Arm
from causalecg.training.builds import Build, fresh

if TYPE_CHECKING:
    from causalecg.cohort.schema import Cohort
    from causalecg.models.config import ModelConfig
    from causalecg.training.config import RunConfig
    from causalecg.training.learned import Learned


def composite_builder(cohort: Cohort, config: RunConfig, texts: list[str]) -> Build:
    """Fresh encoder-projector-LLMs; ``texts`` train the embedded tokenizer. Raises as :func:`require_readable` does."""
    from causalecg.models.pretrained import build_model

    require_readable(cohort, config.model)
    of = ECGFormat.of(cohort.signals)

    def build(seed: int) -> nn.Module:
        model = build_model(config.model, texts=texts, leads=len(cohort.signals.leads), seed=seed)
        model.ecg_format = of
        return model

    return build


def require_readable(cohort: Cohort, model: ModelConfig) -> None:
    """InputError where the encoder reads ECGs of another rate or length than the cohort's."""
    from causalecg.models.encoder import require_signals

    signals = cohort.signals
    require_signals(model.encoder, model.encoder_options, rate_hz=signals.rate_hz, samples=signals.samples)


def new_scorer(main: nn.Module, build: Build, seeds: np.random.SeedSequence) -> NewScorer:
    """Further scorers with weights of their own; "frozen_copy" is ``main`` as it is now, without gradients."""

    def make(variant: Variant) -> Scorer:
        if variant == "frozen_copy":
            return copy.deepcopy(main).requires_grad_(False).eval()
        scorer = fresh(build, seed_of(seeds.spawn(1)[0]))
        check_first_scores(scorer)
        return scorer if variant == "same" else _Withheld(scorer, Arm(special=variant))

    return make


def seed_of(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1, np.uint32)[0])


class _Withheld(nn.Module):
    def __init__(self, scorer: nn.Module, arm: Arm) -> None:
        super().__init__()
        self.scorer, self.arm = scorer, arm

    def forward(self, batch: Batch) -> Tensor:
        scores: Tensor = self.scorer(self.arm.see(batch))
        return scores


class TrainedScorer(nn.Module):
    """A trained arm: predicts with its objective, from what the arm is shown.

    ``passes`` is the number of scorer passes a prediction costs; :meth:`caching` keeps each ECG's encoding and each
    question while scoring, where the scorer can. ``kinds`` are those of the questions that it learned from ("one",
    "set"), ``None`` where that is not known; ``ecg_format`` tells of the ECGs, ``learned`` of whom it learned from.
    """

    def __init__(
        self,
        objective: Objective,
        arm: Arm,
        adjuster: Adjuster,
        *,
        ecg_format: ECGFormat,
        learned: Learned,
        kinds: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        self.objective, self.arm, self.kinds = objective, arm, kinds
        self.ecg_format, self.learned = ecg_format, learned
        self._predicts = "predict" in adjuster.card.uses
        self.passes = objective.passes

    def forward(self, batch: Batch) -> Tensor:
        scores: Tensor = self.objective(self.arm.see(batch))
        return scores

    def abstains(self, batch: Batch) -> Tensor:
        """(batch,) bool: the arm would rather give none of the candidates, as those trained to abstain may."""
        if isinstance(self.objective, HasAbstention):
            return self.objective.abstains(self.arm.see(batch))
        return torch.zeros(len(batch), dtype=torch.bool, device=batch.rows.device)

    def generate(self, batch: Batch, *, max_new_tokens: int = 32) -> list[str]:
        """Texts by the arm's model. InputError for an arm whose prediction is not its model's alone, and for a model
        that cannot write."""
        if self._predicts:
            raise InputError(
                f"arm {self.arm} predicts from several answers of its model, each with its probability, and has no "
                "text of its own; ask it with candidates"
            )
        return writing(self.objective.scorer).generate(self.arm.see(batch), max_new_tokens=max_new_tokens)

    @contextmanager
    def caching(self) -> Iterator[None]:
        cache = getattr(self.objective.scorer, "caching", nullcontext)
        with cache():
            yield
