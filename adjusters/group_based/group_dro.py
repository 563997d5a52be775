"""Group DRO: the worst group's risk is minimised, by weights of the groups that climb with their losses.

min over the model, max over q of  sum_g q_g L_g,   and at every step   q_g <- q_g exp(eta (L_g + C / sqrt(n_g))) / sum
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from adjusters.contract import (
    Batch,
    Card,
    ContractError,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    negative_log_likelihood,
)
from adjusters.group_based.batches import balanced_batches
from adjusters.group_based.groups import GROUP, GroupAdjuster
from adjusters.group_based.risks import equal_measure, members_of, risks_of

if TYPE_CHECKING:
    import pandas as pd


class GroupDRO(GroupAdjuster):
    """Distributionally robust optimisation over groups.

    Args:
        groups: columns joined by "-", of which "answer", "style" and "severity" mean their roles.
        rate: eta, how fast the groups' weights move; > 0.
        adjustment: C of the adjustment C / sqrt(n_g) for groups of few rows; >= 0. It counts for the groups' weights.
        memory: share of the past in the losses that the weights climb with, in [0, 1); 0 = the batch's own, as
            published.
        balanced: batches in which each group is equally likely, as published; otherwise a plain shuffle. A group that a
            batch lacks keeps its weight.
        smallest: groups of fewer rows are merged.

    Learned: ``groups_``.
    """

    name = "group_dro"
    card = Card(
        summary="Group DRO: the worst group of answer and style decides what is learned.",
        needs=("treatment",),
        uses=("batches", "objective"),
        consistent_when="given the answer, ECG and topic are independent of the style, all answers are equally "
        "frequent, and a worst group has rows enough",
        fails_when="the rows of the rare groups can be memorised (very strong confounding); R5, where they are absent; "
        "R3, where a group is harder for a reason that is not the shortcut",
        source="Sagawa et al. 2020, algorithm 1 and section 3.2",
    )

    def __init__(
        self,
        groups: str = "answer-style",
        rate: float = 0.01,
        adjustment: float = 0.0,
        memory: float = 0.0,
        balanced: bool = True,
        smallest: int = 5,
    ) -> None:
        self.groups = groups
        self.rate = rate
        self.adjustment = adjustment
        self.memory = memory
        self.balanced = balanced
        self.smallest = smallest
        self.check_groups()
        if not 0 < rate < float("inf"):
            raise ContractError(f"group_dro's rate must be a positive number, not {rate}")
        if not 0 <= adjustment < float("inf"):
            raise ContractError(f"group_dro's adjustment must be a number, at least 0, not {adjustment}")
        if not 0 <= memory < 1:
            raise ContractError(f"group_dro's memory must be a share, at least 0 and below 1, not {memory}")

    def columns(self, table: pd.DataFrame) -> Mapping[str, np.ndarray]:
        return {GROUP: self.codes(table)}

    def batches(self, table: pd.DataFrame, size: int, *, seed: int, epoch: int) -> Iterator[np.ndarray] | None:
        if not self.balanced:
            return None
        rng = np.random.default_rng([seed, epoch])
        # A trainer's table has the column already: in a placebo's it is that of other rows.
        codes = table[GROUP].to_numpy() if GROUP in table.columns else self.codes(table)
        return balanced_batches(table, codes, len(self.groups_["rows"]), size, rng)

    def attach(self, scorer: Scorer, *, new_scorer: NewScorer, rng: np.random.Generator) -> GroupDROObjective:
        return GroupDROObjective(scorer, self.groups_["rows"], self.rate, self.adjustment, self.memory)


class GroupDROObjective(Objective):
    """See :class:`GroupDRO`.

    ``q``: (groups,) weights, sum one. ``running``: (groups,) losses that q climbs with. ``seen``: (groups,) bool,
    whether a group has been in a batch.

    Args:
        rows: training rows per group.
    """

    per_item = False
    q: Tensor
    running: Tensor
    seen: Tensor
    rows: Tensor

    def __init__(self, scorer: Scorer, rows: list[int], rate: float, adjustment: float, memory: float) -> None:
        super().__init__(scorer)
        self.rate, self.adjustment, self.memory = rate, adjustment, memory
        self.register_buffer("q", torch.full((len(rows),), 1.0 / len(rows)))
        self.register_buffer("running", torch.zeros(len(rows)))
        self.register_buffer("seen", torch.zeros(len(rows), dtype=torch.bool))
        self.register_buffer("rows", torch.tensor(rows, dtype=torch.float32))

    def loss(self, batch: Batch, part: str, *, progress: float) -> LossTerms:
        """The groups' losses under weights that have already climbed with this batch, as in the algorithm; the weights
        themselves are moved after the step."""
        per_item = negative_log_likelihood(self.scorer(batch), batch)
        means, present = self.group_losses(per_item, batch)
        q, _ = self.climbed(means.detach(), present)
        return LossTerms((q.to(means.dtype) * means).sum(), per_item.detach())

    def after_step(self, batch: Batch, terms: Mapping[str, LossTerms]) -> None:
        means, present = self.group_losses(terms["main"].per_item, batch)
        q, running = self.climbed(means, present)
        self.q.copy_(q)
        self.running.copy_(running)
        self.seen |= present

    def group_losses(self, per_item: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(groups,) mean loss of each group, 0 where it has no row in the batch, and whether it has one."""
        return risks_of(per_item, members_of(batch.columns[GROUP], len(self.q), per_item.dtype))

    def climbed(self, means: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """(groups,) weights and running losses after a batch with these losses. Groups it lacks are left as they are,
        but for the normalisation."""
        means = means.to(self.running.dtype)
        mixed = torch.where(self.seen, self.memory * self.running + (1 - self.memory) * means, means)
        running = torch.where(present, mixed, self.running)
        climb = self.rate * (running + self.adjustment * self.rows.rsqrt())
        return torch.softmax(self.q.log() + torch.where(present, climb, 0.0), 0), running

    def validation_loss(self, batch: Batch) -> Tensor:
        """The loss in the measure under which all groups count the same: it rewards no shortcut between them, and, as
        the weights do not move with the epochs, those can be compared."""
        per_item = negative_log_likelihood(self(batch), batch)
        members = members_of(batch.columns[GROUP], len(self.rows), per_item.dtype)
        return members @ equal_measure(self.rows).to(per_item.dtype) * per_item
