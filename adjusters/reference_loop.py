"""The contract, obeyed step by step: what any trainer must do with an adjuster, in the fewest lines.

For tests and for reading. One device, no mixed precision, no checkpoints. A real trainer differs in speed only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from adjusters.contract import (
    Adjuster,
    Batch,
    LossTerms,
    NewScorer,
    Objective,
    Scorer,
    Stage,
    Variant,
)
from adjusters.kept_state import clearly_lower
from adjusters.valid_scores import check_first_scores
from structural_models.estimand import Estimand


class BatchMaker(Protocol):
    def __call__(self, table: pd.DataFrame, positions: np.ndarray, columns: tuple[str, ...], /) -> Batch: ...


@dataclass
class Training:
    """What the loop was given, and what it leaves: the objective and, per stage, the validation loss of each epoch."""

    objective: Objective
    validation: dict[str, list[float]] = field(default_factory=dict)


def drive(
    adjuster: Adjuster,
    train: pd.DataFrame,
    valid: pd.DataFrame,
    make_batch: BatchMaker,
    make_scorer: Callable[[], nn.Module],
    *,
    estimand: Estimand | None,
    seed: int = 0,
    epochs: int = 15,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    patience: int = 4,
) -> Training:
    """Train what ``make_scorer`` builds (the same initial weights at every call) with ``adjuster``."""
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3)]
    adjuster.fit(train, estimand, rng=rngs[0])
    train = weighted(adjuster, adjuster.rewrite(train, rng=rngs[1]))
    tables = {"train": train, "validation": weighted(adjuster, valid)}
    scorer = make_scorer()
    objective = adjuster.attach(scorer, new_scorer=variants(make_scorer), rng=rngs[2])
    check_first_scores(scorer)
    initial = copy.deepcopy(objective.state_dict())
    result = Training(objective)
    optimizers: dict[str, torch.optim.Optimizer] = {}
    for stage in adjuster.stages():
        table = tables[stage.split]
        columns = columns_of(adjuster, table)
        predictions, features, known = wanted(objective, stage, table, columns, make_batch)
        if stage.init == "restart":
            objective.load_state_dict(initial)
        if stage.reset_optimizer or stage.init == "restart":
            optimizers = {}
        objective.begin(stage, predictions, features, known)
        for part in stage.trains:
            if part not in optimizers:
                optimizers[part] = torch.optim.AdamW(
                    objective.parameters_of(part), lr=learning_rate, weight_decay=weight_decay
                )
        losses = result.validation.setdefault(stage.name, [])
        best = (np.inf, copy.deepcopy(objective.state_dict()))
        began: Tensor | None = None
        if stage.keep_best and stage.split == "train":
            objective.eval()
            began = validation_losses(objective, tables["validation"], adjuster, make_batch, weighted=stage.weighted)
            best = (float(began.mean()), best[1])
        count = epochs if stage.epochs is None else stage.epochs
        for epoch in range(count if stage.trains else 0):
            objective.train()
            order = list(epoch_batches(adjuster, stage, table, batch_size, seed=seed, epoch=epoch))
            for i, positions in enumerate(order):
                step(
                    objective,
                    make_batch(table, positions, columns),
                    stage,
                    optimizers,
                    progress=(epoch + i / len(order)) / count,
                )
            objective.eval()
            if stage.split == "validation":
                continue
            each = validation_losses(objective, tables["validation"], adjuster, make_batch, weighted=stage.weighted)
            losses.append(float(each.mean()))
            if losses[-1] < best[0] and (began is None or clearly_lower(began, each)):
                best = (losses[-1], copy.deepcopy(objective.state_dict()))
            elif len(losses) - int(np.argmin(losses)) > patience:
                break
        if np.isfinite(best[0]):
            objective.load_state_dict(best[1])
    objective.eval()
    return result


def step(
    objective: Objective,
    batch: Batch,
    stage: Stage,
    optimizers: Mapping[str, torch.optim.Optimizer],
    *,
    progress: float,
) -> dict[str, LossTerms]:
    """One batch: for each part, its loss, gradients of its parameters only, its step; then ``after_step``."""
    terms: dict[str, LossTerms] = {}
    for part in stage.trains:
        parameters = [p for p in objective.parameters_of(part) if p.requires_grad]
        terms[part] = objective.loss(batch, part, progress=progress)
        gradients = torch.autograd.grad(terms[part].total, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizers[part].step()
        optimizers[part].zero_grad(set_to_none=True)
    objective.after_step(batch, terms)
    return terms


def weighted(adjuster: Adjuster, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the adjuster's columns and, where it has any, its weights as column ``weight``."""
    weights = adjuster.weights(table)
    table = table.assign(**adjuster.columns(table))
    return table if weights is None else table.assign(weight=weights.astype(np.float32))


def columns_of(adjuster: Adjuster, table: pd.DataFrame) -> tuple[str, ...]:
    return (*adjuster.columns(table), *(("weight",) if "weight" in table.columns else ()))


def epoch_batches(
    adjuster: Adjuster, stage: Stage, table: pd.DataFrame, size: int, *, seed: int, epoch: int
) -> list[np.ndarray]:
    """The adjuster's batches on training rows, else a plain shuffle."""
    own = adjuster.batches(table, size, seed=seed, epoch=epoch) if stage.split == "train" else None
    if own is not None:
        return list(own)
    order = np.random.default_rng((seed, epoch)).permutation(len(table))
    return np.array_split(order, max(1, round(len(order) / size)))


def validation_losses(
    objective: Objective, table: pd.DataFrame, adjuster: Adjuster, make_batch: BatchMaker, *, weighted: bool
) -> Tensor:
    """(rows,) the objective's validation losses, times weights of mean one where ``weighted``."""
    losses, weights = [], []
    columns = columns_of(adjuster, table)
    with torch.no_grad():
        for positions in np.array_split(np.arange(len(table)), max(1, len(table) // 500)):
            batch = make_batch(table, positions, columns)
            losses.append(objective.validation_loss(batch).double())
            weights.append(batch.columns.get("weight", torch.ones(len(batch))).double())
    if not weighted:
        return torch.cat(losses)
    weight = torch.cat(weights)
    return torch.cat(losses) * weight / weight.mean()


def variants(make_scorer: Callable[[], nn.Module]) -> NewScorer:
    """``new_scorer``: a further scorer, with an input withheld or without gradients."""

    def new_scorer(variant: Variant) -> Scorer:
        scorer = make_scorer()
        check_first_scores(scorer)
        if variant == "frozen_copy":
            return scorer.requires_grad_(False).eval()
        return scorer if variant == "same" else Withholding(scorer, variant)

    return new_scorer


class Withholding(nn.Module):
    """A scorer that is not shown the ECG ("question_only") or the question ("ecg_only")."""

    def __init__(self, scorer: nn.Module, variant: Variant) -> None:
        super().__init__()
        self.scorer, self.variant = scorer, variant

    def forward(self, batch: Batch) -> Tensor:
        seen = batch.without_ecg() if self.variant == "question_only" else batch.without_question()
        return cast(Tensor, self.scorer(seen))


def wanted(
    objective: Objective, stage: Stage, table: pd.DataFrame, columns: tuple[str, ...], make_batch: BatchMaker
) -> tuple[Tensor | None, dict[str, Tensor], dict[str, Tensor]]:
    """Predictions, features and columns of a stage's table, in row order."""
    if not stage.wants:
        return None, {}, {}
    parts = np.array_split(np.arange(len(table)), max(1, len(table) // 500))
    found: dict[str, list[Tensor]] = {name: [] for name in stage.wants}
    objective.eval()
    with torch.no_grad():
        batches = [make_batch(table, positions, columns) for positions in parts]
        for batch in batches:
            for name in stage.wants:
                found[name].append(objective.wanted(batch, name))
    known = {name: torch.cat([batch.columns[name] for batch in batches]) for name in columns}
    known["answer"] = torch.cat([_answer(batch) for batch in batches])
    patients = pd.factorize(table["patient_ids"].str[0])[0].astype(np.int64)
    known["patient"] = torch.from_numpy(patients)
    predictions = _padded(found["predictions"]) if "predictions" in found else None
    return predictions, {n.partition(":")[2]: torch.cat(v) for n, v in found.items() if ":" in n}, known


def _answer(batch: Batch) -> Tensor:
    known = batch.answer.any(1) & torch.tensor(batch.kind == "one")
    return torch.where(known, batch.answer.long().argmax(1), -1)


def _padded(scores: list[Tensor]) -> Tensor:
    width = max(s.shape[1] for s in scores)
    return torch.cat([nn.functional.pad(s, (0, width - s.shape[1]), value=float("-inf")) for s in scores])
