"""Rows of a table as batches, and what an objective wants of them before a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from adjusters.contract import Adjuster, Batch, Objective, Stage

if TYPE_CHECKING:
    from causalecg.cohort.batches import TableBatches

EVALUATION_BATCH = 256


@dataclass
class Rows:
    """A table to learn from or to be judged on, and its batches as the arm sees them."""

    table: pd.DataFrame
    batches: TableBatches
    see: Callable[[Batch], Batch]
    columns: tuple[str, ...]

    def __call__(self, positions: np.ndarray) -> Batch:
        return self.see(self.batches(positions))

    def in_order(self) -> Iterator[Batch]:
        for positions in self.batches.in_order(EVALUATION_BATCH):
            yield self(positions)


def epoch_order(
    adjuster: Adjuster, stage: Stage, rows: Rows, size: int, seed: int, number: int, epoch: int
) -> list[np.ndarray]:
    """Row positions of the batches of an epoch of stage ``number``: the adjuster's own, or all rows in random order."""
    if stage.split == "train":
        own = adjuster.batches(rows.table, size, seed=mixed(seed, number), epoch=epoch)
        if own is not None:
            return list(own)
    return rows.batches.shuffled(size, np.random.default_rng([seed, number, epoch]))


def mixed(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def wanted(
    objective: Objective, stage: Stage, rows: Rows, device: torch.device | str
) -> tuple[Tensor | None, dict[str, Tensor], dict[str, Tensor]]:
    """Predictions, features and columns of a stage's rows, in row order: what :meth:`Objective.begin` is given.

    The objective is left in evaluation mode where it wants anything.
    """
    if not stage.wants:
        return None, {}, {}
    objective.eval()
    found: dict[str, list[Tensor]] = {name: [] for name in stage.wants}
    known: dict[str, list[Tensor]] = {name: [] for name in (*rows.columns, "answer")}
    order: list[Tensor] = []
    with torch.no_grad():
        for batch in rows.in_order():
            batch = batch.to(device)
            for name in stage.wants:
                found[name].append(objective.wanted(batch, name).cpu())
            for name in rows.columns:
                known[name].append(batch.columns[name].cpu())
            known["answer"].append(_answer_position(batch).cpu())
            order.append(batch.rows.cpu())
    back = torch.argsort(torch.cat(order))
    columns = {name: torch.cat(values)[back] for name, values in known.items()}
    patients = pd.factorize(rows.table["patient_ids"].str[0])[0].astype(np.int64)
    columns["patient"] = torch.from_numpy(patients)
    predictions = _padded(found["predictions"])[back] if "predictions" in found else None
    features = {n.partition(":")[2]: torch.cat(v)[back] for n, v in found.items() if ":" in n}
    return predictions, features, columns


def _answer_position(batch: Batch) -> Tensor:
    known = batch.answer.any(1) & torch.tensor(batch.kind == "one", device=batch.answer.device)
    return torch.where(known, batch.answer.long().argmax(1), -1)


def _padded(scores: list[Tensor]) -> Tensor:
    width = max(s.shape[1] for s in scores)
    return torch.cat([nn.functional.pad(s, (0, width - s.shape[1]), value=float("-inf")) for s in scores])


def validation_losses(objective: Objective, rows: Rows, stage: Stage, device: torch.device) -> Tensor:
    """(rows,) float64 losses, times weights of mean one where the stage's loss is weighted; the same order at every
    call."""
    losses, weights = [], []
    objective.eval()
    with torch.no_grad():
        for batch in rows.in_order():
            batch = batch.to(device)
            losses.append(objective.validation_loss(batch).double().cpu())
            weights.append(batch.columns.get("weight", torch.ones(len(batch))).double().cpu())
    if not stage.weighted:
        return torch.cat(losses)
    weight = torch.cat(weights)
    return torch.cat(losses) * weight / weight.mean()
