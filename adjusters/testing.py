"""The conformance kit: what every adjuster must keep to, checked on a cohort of known truth.

    from adjusters.testing import check_adjuster
    check_adjuster(MyAdjuster, strength=2.0)

Raises :class:`NonConformance`, one sentence, at the first promise that is broken.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from adjusters.contract import Adjuster, Batch, Card, ContractError, Objective, Scorer
from adjusters.reference_loop import columns_of, drive, epoch_batches, step, variants, weighted
from adjusters.registry import adjuster_class
from adjusters.toy import ESTIMAND, SEVERITY, ToyCohort, ToyScorer, toy_cohort

TRAIN, VALID, TEST = 400, 200, 60


class NonConformance(AssertionError):
    """An adjuster breaks a promise of the contract."""


def check_adjuster(adjuster: str | type[Adjuster], **options: Any) -> None:
    """Check one adjuster, with these options, on 400 training rows. Raises NonConformance."""
    found = adjuster_class(adjuster) if isinstance(adjuster, str) else adjuster
    cohort = toy_cohort(rho=0.9, train=TRAIN, valid=VALID, test=TEST, topics=("infarction", "fibrillation"), seed=3)
    cohort = ToyCohort(cohort.items.assign(question_id=cohort.items["topic"]), cohort.signals)

    def make() -> Adjuster:
        return found(**options)

    _card(found)
    _options(make())
    _fit(make, cohort)
    _weights(make, cohort)
    _batches(make, cohort)
    _saved(found, make, cohort)
    _trained(make, cohort)
    _resumed(make, cohort)
    _strangers(make, cohort)


def _require(held: bool, sentence: str) -> None:
    if not held:
        raise NonConformance(sentence)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _card(found: type[Adjuster]) -> None:
    name = found.__name__
    _require(isinstance(getattr(found, "card", None), Card), f"{name} has no card")
    _require(bool(found.card.summary.strip()), f"{name}'s card has no summary")
    known = {"weights", "batches", "rewrite", "objective", "predict"}
    changed = {
        use
        for use, method in (
            ("weights", "weights"),
            ("batches", "batches"),
            ("rewrite", "rewrite"),
            ("objective", "attach"),
        )
        if getattr(found, method) is not getattr(Adjuster, method)
    }
    _require(set(found.card.uses) <= known, f"{name}'s card uses something that is none of {', '.join(sorted(known))}")
    missing = changed - set(found.card.uses) - ({"objective"} if "predict" in found.card.uses else set())
    _require(not missing, f"{name} changes {', '.join(sorted(missing))}, which its card does not say")


def _options(adjuster: Adjuster) -> None:
    name = type(adjuster).__name__
    again = type(adjuster)(**adjuster.options())
    _require(again.options() == adjuster.options(), f"{name}'s options do not survive being read back")
    parameters = [p for p in inspect.signature(type(adjuster).__init__).parameters.values() if p.name != "self"]
    open_ended = [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if type(adjuster).__init__ is not object.__init__:
        _require(not open_ended, f"{name} swallows unknown options (*args or **kwargs)")
    learned = [k for k in vars(adjuster) if k.endswith("_")]
    _require(not learned, f"{name} has learned attributes before fit: {', '.join(learned)}")


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _fit(make: Callable[[], Adjuster], cohort: ToyCohort) -> None:
    table, adjuster = cohort.split("train"), make()
    name, before = type(adjuster).__name__, table.copy(deep=True)
    options = dict(adjuster.options())
    _require(adjuster.fit(table, ESTIMAND, rng=_rng()) is adjuster, f"{name}.fit does not return self")
    rewritten = adjuster.rewrite(table, rng=_rng())
    adjuster.weights(rewritten)
    pd.testing.assert_frame_equal(table, before, obj=f"the table given to {name}")
    _require(adjuster.options() == options, f"{name}.fit changes its options")
    odd = [k for k in vars(adjuster) if not k.endswith("_") and k not in options and k != "batch_columns"]
    _require(not odd, f"{name} learns attributes without a trailing underscore: {', '.join(odd)}")
    unserved = make()
    if unserved.card.estimands:
        try:
            unserved.fit(table, _other_estimand(), rng=_rng())
        except ContractError:
            pass
        else:
            raise NonConformance(f"{name} accepts an estimand that its card does not list")
    for role in make().card.needs:
        column = ESTIMAND.roles[role]
        try:
            make().fit(table.drop(columns=column), ESTIMAND, rng=_rng())
        except ContractError as error:
            _require(column in str(error), f"{name} does not name the missing column '{column}': {error}")
        else:
            raise NonConformance(f"{name} does not miss the column '{column}' (role {role}) that its card needs")


def _other_estimand() -> Any:
    from dataclasses import replace

    return replace(ESTIMAND, name="P(weather)")


def _weights(make: Callable[[], Adjuster], cohort: ToyCohort) -> None:
    adjuster = make().fit(cohort.split("train"), ESTIMAND, rng=_rng())
    name = type(adjuster).__name__
    table = adjuster.rewrite(cohort.split("train"), rng=_rng())
    for part in (table, cohort.split("valid")):
        found = adjuster.weights(part)
        if found is None:
            continue
        _require(found.shape == (len(part),), f"{name} gives {found.shape} weights for {len(part)} rows")
        _require(found.dtype == np.float64, f"{name}'s weights are {found.dtype}, not float64")
        _require(bool(np.isfinite(found).all() and (found >= 0).all()), f"{name}'s weights are not finite and >= 0")
        _require(abs(found.mean() - 1) < 1e-9, f"{name}'s weights have mean {found.mean():.6g}, not one")
        order = _rng(1).permutation(len(part))
        turned = adjuster.weights(part.iloc[order].reset_index(drop=True))
        _require(turned is not None and np.allclose(turned, found[order]), f"{name}'s weights depend on the row order")


def _batches(make: Callable[[], Adjuster], cohort: ToyCohort) -> None:
    adjuster = make().fit(cohort.split("train"), ESTIMAND, rng=_rng())
    name = type(adjuster).__name__
    table = adjuster.rewrite(cohort.split("train"), rng=_rng())
    runs = [adjuster.batches(table, 50, seed=seed, epoch=epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1))]
    if runs[0] is None:
        return
    first, again, next_epoch = ([np.asarray(rows) for rows in run] for run in runs if run is not None)
    _require(len(first) > 0, f"{name} gives no batch for {len(table)} rows")
    rows = np.concatenate(first)
    _require(np.issubdtype(rows.dtype, np.integer), f"{name}'s batches are not row positions")
    _require(bool((rows >= 0).all() and (rows < len(table)).all()), f"{name}'s batches leave the table")
    same = len(first) == len(again) and all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    _require(same, f"{name}'s batches differ between two calls with the same seed and epoch")
    moved = len(first) != len(next_epoch) or any(
        not np.array_equal(a, b) for a, b in zip(first, next_epoch, strict=True)
    )
    _require(moved, f"{name}'s batches are the same in every epoch")


def _attached(adjuster: Adjuster, make_scorer: Callable[[], nn.Module]) -> Objective:
    return adjuster.attach(make_scorer(), new_scorer=variants(make_scorer), rng=_rng(2))


def _saved(found: type[Adjuster], make: Callable[[], Adjuster], cohort: ToyCohort) -> None:
    table = cohort.split("train")
    adjuster = make().fit(table, ESTIMAND, rng=_rng())
    with tempfile.TemporaryDirectory() as folder:
        adjuster.save(Path(folder))
        again = found.load(Path(folder))
    name = found.__name__
    _require(again.options() == adjuster.options(), f"{name}'s options are lost in save and load")
    _require(
        tuple(again.batch_columns) == tuple(adjuster.batch_columns), f"{name} loses batch_columns in save and load"
    )
    before, after = adjuster.weights(table), again.weights(table)
    _require((before is None) == (after is None), f"{name} loses its weights in save and load")
    if before is not None and after is not None:
        _require(np.array_equal(before, after), f"{name}'s weights change in save and load")
    one, other = (_attached(a, ToyScorer).state_dict() for a in (adjuster, again))
    _require(one.keys() == other.keys(), f"{name}'s objective has another state after save and load")


def _stages(adjuster: Adjuster, objective: Objective) -> None:
    name, stages = type(adjuster).__name__, adjuster.stages()
    names = [stage.name for stage in stages]
    _require(bool(names) and len(set(names)) == len(names), f"{name}'s stages are not uniquely named")
    for stage in stages:
        for part in stage.trains:
            _require(part in objective.parts, f"{name}'s stage '{stage.name}' trains '{part}', which is no part")
            _require(any(True for _ in objective.parameters_of(part)), f"{name}'s part '{part}' has no parameter")


def _trained(make: Callable[[], Adjuster], cohort: ToyCohort) -> None:
    """Two short trainings: the same seed gives the same state; prediction needs no training column."""
    states = []
    for _ in range(2):
        adjuster = make()
        done = drive(
            adjuster, cohort.split("train"), cohort.split("valid"), cohort.batch, ToyScorer, estimand=ESTIMAND, epochs=1
        )
        states.append(done.objective.state_dict())
    name = type(adjuster).__name__
    _stages(adjuster, done.objective)
    _require(all(_same(states[0][key], states[1][key]) for key in states[0]), f"{name} trains differently twice")
    bare = cohort.split("test").drop(columns=[SEVERITY, "style"])
    batch = cohort.batch(bare, np.arange(len(bare)))
    scores = _predicted(done.objective, batch, name)
    alone = _predicted(done.objective, batch.select([0, 1]), name)
    _require(torch.allclose(scores[:2], alone, atol=1e-4), f"{name}'s prediction of an item depends on its batch")


def _predicted(objective: Scorer, batch: Batch, name: str) -> Tensor:
    with torch.no_grad():
        try:
            scores = objective(batch)
        except KeyError as error:
            raise NonConformance(f"{name} cannot predict without the training column {error}") from error
    _require(scores.shape == batch.candidate_ids.shape, f"{name} predicts scores of shape {tuple(scores.shape)}")
    _require(not bool(torch.isnan(scores).any()), f"{name} predicts NaN")
    return scores


def _resumed(make: Callable[[], Adjuster], cohort: ToyCohort) -> None:
    """Two steps in one objective, or one, its state moved into a fresh objective, and another: the same."""

    def prepared() -> tuple[Adjuster, Objective, pd.DataFrame]:
        adjuster = make().fit(cohort.split("train"), ESTIMAND, rng=_rng())
        table = weighted(adjuster, adjuster.rewrite(cohort.split("train"), rng=_rng()))
        return adjuster, _attached(adjuster, ToyScorer), table

    adjuster, whole, table = prepared()
    stage = next((s for s in adjuster.stages() if s.trains and s.split == "train" and not s.wants), None)
    if stage is None:
        return
    _, moved, _ = prepared()
    for objective in (whole, moved):
        objective.begin(stage, None, {}, {})
        objective.train()
    batches = [
        cohort.batch(table, rows, columns_of(adjuster, table))
        for rows in epoch_batches(adjuster, stage, table, 50, seed=0, epoch=0)[:2]
    ]

    def go(objective: Objective, batch: Batch) -> None:
        plain = {part: torch.optim.SGD(list(objective.parameters_of(part)), lr=0.05) for part in stage.trains}
        step(objective, batch, stage, plain, progress=0.0)

    go(whole, batches[0])
    go(moved, batches[0])
    _, fresh, _ = prepared()
    fresh.load_state_dict(moved.state_dict())
    fresh.train()
    go(whole, batches[1])
    go(fresh, batches[1])
    one, other = whole.state_dict(), fresh.state_dict()
    lost = [key for key in one if not _same(one[key], other[key])]
    _require(not lost, f"{type(adjuster).__name__} keeps state outside its state_dict: {', '.join(lost[:3])} differ")


class _Plain(nn.Module):
    """A scorer that has neither features nor parts."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ToyScorer()

    def forward(self, batch: Batch) -> Tensor:
        return self.inner(batch)


def _strangers(make: Callable[[], Adjuster], cohort: ToyCohort) -> None:
    """A plain module is trained, or refused in one sentence."""
    try:
        drive(make(), cohort.split("train"), cohort.split("valid"), cohort.batch, _Plain, estimand=ESTIMAND, epochs=1)
    except ContractError as error:
        _require("\n" not in str(error), "a refusal must be one sentence")
