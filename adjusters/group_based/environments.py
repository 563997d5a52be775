"""Environments: sites, devices, years, between which the shortcut's strength differs and what is to be learned does
not. Column, batches and risks that the strategies on them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from adjusters.batching import dealt_batches
from adjusters.contract import (
    Adjuster,
    Batch,
    ContractError,
    LossTerms,
    Objective,
    Scorer,
    Stage,
    negative_log_likelihood,
)
from adjusters.group_based.groups import group_codes, learn_groups
from adjusters.group_based.risks import equal_measure, members_of, risks_of

if TYPE_CHECKING:
    import pandas as pd

    from structural_models.estimand import Estimand

#: Column of the items table, and of a batch.
ENVIRONMENT, CODE = "environment", "environment_code"
_WARM, _MAIN = "warm", "main"


class EnvironmentAdjuster(Adjuster):
    """The options ``environment``, ``strength`` and ``anneal``, and what is learned of the environments.

    Learned: ``environments_``, their column, levels and rows.
    """

    name: ClassVar[str]
    environment: str | None
    strength: float
    anneal: int
    environments_: dict[str, Any]

    def check_options(self) -> None:
        """ContractError for options that no table could serve."""
        if not 0 <= self.strength < float("inf"):
            raise ContractError(f"{self.name}'s strength must be a number, at least 0, not {self.strength}")
        if not isinstance(self.anneal, int) or self.anneal < 0:
            raise ContractError(f"{self.name}'s anneal is a whole number of epochs, at least 0, not {self.anneal}")

    def fit(self, table: pd.DataFrame, estimand: Estimand | None = None, *, rng: np.random.Generator) -> Self:
        super().fit(table, estimand, rng=rng)
        if self.environment is None and (ENVIRONMENT not in table.columns or table[ENVIRONMENT].nunique() < 2):
            raise ContractError(
                f"{self.name} needs environments, but the table has no column '{ENVIRONMENT}' with several values; "
                "name a column, such as environment=severity"
            )
        self.environments_ = learn_groups(self.name, [self.environment or ENVIRONMENT], table, estimand, 1)
        return self

    def codes(self, table: pd.DataFrame) -> np.ndarray:
        """(rows,) int64 environment of each row, -1 = none that training had."""
        return group_codes(self.environments_, table, self.name)

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        return {CODE: self.codes(table)}

    def batches(self, table: pd.DataFrame, size: int, *, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """Every batch holds each environment in proportion, so that it can tell them apart."""
        codes = table[CODE].to_numpy() if CODE in table.columns else self.codes(table)
        return dealt_batches(table, codes, size, np.random.default_rng([seed, epoch]))

    def stages(self) -> tuple[Stage, ...]:
        main = Stage(_MAIN, reset_optimizer=self.anneal > 0)
        return (Stage(_WARM, epochs=self.anneal), main) if self.anneal else (main,)


class EnvironmentObjective(Objective):
    """Mean of the environments' risks plus ``weight`` times a penalty on how they differ.

    ``weight`` is at most 1 in the stage "warm" and ``strength`` after it.

    Args:
        rows: training rows per environment.
    """

    per_item = False
    weight: Tensor
    rows: Tensor

    def __init__(self, scorer: Scorer, rows: list[int], strength: float) -> None:
        super().__init__(scorer)
        self.strength = strength
        self.register_buffer("weight", torch.tensor(float(strength)))
        self.register_buffer("rows", torch.tensor(rows, dtype=torch.float32))

    def begin(
        self,
        stage: Stage,
        predictions: Tensor | None,
        features: Mapping[str, Tensor],
        columns: Mapping[str, Tensor],
    ) -> None:
        self.weight.fill_(min(1.0, self.strength) if stage.name == _WARM else self.strength)

    def members(self, batch: Batch, dtype: torch.dtype) -> Tensor:
        """(batch, environments) 1 where a row is of an environment."""
        return members_of(batch.columns[CODE], len(self.rows), dtype)

    def penalty(self, scores: Tensor, per_item: Tensor, batch: Batch) -> Tensor:
        """Scalar: how much the environments of a batch differ."""
        raise NotImplementedError

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        scores = self.scorer(batch)
        per_item = negative_log_likelihood(scores, batch)
        risks, present = risks_of(per_item, self.members(batch, per_item.dtype))
        total = risks.sum() / present.sum().clamp(min=1)
        return LossTerms(total + self.weight * self.penalty(scores, per_item, batch), per_item.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        """The training loss: each row's own, in the measure under which all environments count the same, and for all of
        them the penalty of the rows they come with. Without the penalty the shortcut would be rewarded."""
        scores = self(batch)
        per_item = negative_log_likelihood(scores, batch)
        own = self.members(batch, per_item.dtype) @ equal_measure(self.rows).to(per_item.dtype)
        return own * per_item + self.weight.to(per_item.dtype) * self.penalty(scores, per_item, batch)
