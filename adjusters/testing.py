"""The conformance kit: what every adjuster must keep to, checked on a cohort of known truth.

    from adjusters.testing import check_adjuster
    check_adjuster(MyAdjuster, strength=2.0)

Raises :class:`NonConformance`, one sentence, at the first promise that is broken.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from adjusters.contract import Adjuster, Batch, Card, ContractError, HasAbstention, Objective, Scorer, View
from adjusters.reference_loop import columns_of, drive, epoch_batches, step, variants, weighted
from adjusters.registry import adjuster_class, option_names
from adjusters.toy import ESTIMAND, SEVERITY, ToyCohort, ToyScorer, toy_cohort
from structural_models.estimand import Estimand

TRAIN, VALID, TEST = 400, 200, 60


class NonConformance(AssertionError):
    """An adjuster breaks a promise of the contract."""


@dataclass(frozen=True)
class _Cohort(ToyCohort):
    """``splits``: what the training rows are, the further splits of an adjuster's card among them."""

    splits: tuple[str, ...] = ("train",)

    @classmethod
    def of(cls, found: type[Adjuster]) -> _Cohort:
        card = getattr(found, "card", None)
        further = card.further_splits if isinstance(card, Card) else ()
        made = toy_cohort(
            rho=0.9,
            train=TRAIN,
            valid=VALID,
            test=TEST,
            topics=("infarction", "fibrillation"),
            twins=bool(further),
            seed=3,
        )
        return cls(made.items, made.signals, ("train", *further))

    def training(self) -> pd.DataFrame:
        return self.split(*self.splits)


def check_adjuster(adjuster: str | type[Adjuster], **options: Any) -> None:
    """Check one adjuster, with these options, on 400 training rows. Raises NonConformance."""
    found = adjuster_class(adjuster) if isinstance(adjuster, str) else adjuster
    cohort = _Cohort.of(found)

    def make() -> Adjuster:
        return found(**options)

    _card(found)
    _options(make(), options)
    _fit(make, cohort)
    _weights(make, cohort)
    _batches(make, cohort)
    _saved(found, make, cohort)
    _stages(make, cohort)
    _trained(make, cohort)
    _resumed(make, cohort)
    _strangers(make, cohort)
    _missed(make, cohort)
    _renamed(make, cohort)
    _passes(make, cohort)


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
    strangers = sorted(set(found.card.placebo) - set(option_names(found)))
    _require(not strangers, f"{name}'s placebo sets {', '.join(strangers)}, which is no option of it")


def _one_sentence(error: ContractError, name: str) -> None:
    text = str(error).strip()
    _require(bool(text) and "\n" not in text, f"{name} refuses with something else than one sentence: {text!r}")


def _options(adjuster: Adjuster, given: dict[str, Any]) -> None:
    name = type(adjuster).__name__
    parameters = [p for p in inspect.signature(type(adjuster).__init__).parameters.values() if p.name != "self"]
    open_ended = [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if type(adjuster).__init__ is not object.__init__:
        _require(not open_ended, f"{name} swallows unknown options (*args or **kwargs)")
    for option in option_names(type(adjuster)):
        _require(hasattr(adjuster, option), f"{name} does not store its option '{option}' under that name")
    for option, value in given.items():
        _require(getattr(adjuster, option, None) is value, f"{name} does not store its option '{option}' as given")
    again = type(adjuster)(**adjuster.options())
    _require(again.options() == adjuster.options(), f"{name}'s options do not survive being read back")
    learned = [k for k in vars(adjuster) if k.endswith("_")]
    _require(not learned, f"{name} has learned attributes before fit: {', '.join(learned)}")


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _fit(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    table, adjuster = cohort.training(), make()
    name, before = type(adjuster).__name__, table.copy(deep=True)
    options = dict(adjuster.options())
    _require(adjuster.fit(table, ESTIMAND, rng=_rng()) is adjuster, f"{name}.fit does not return self")
    rewritten = adjuster.rewrite(table, rng=_rng())
    adjuster.weights(rewritten)
    _require(list(table.columns) == list(before.columns) and table.equals(before), f"{name} changes the caller's table")
    _require(adjuster.options() == options, f"{name}.fit changes its options")
    odd = [k for k in vars(adjuster) if not k.endswith("_") and k not in options and k != "batch_columns"]
    _require(not odd, f"{name} learns attributes without a trailing underscore: {', '.join(odd)}")
    unserved = make()
    if unserved.card.estimands:
        try:
            unserved.fit(table, _other_estimand(), rng=_rng())
        except ContractError as error:
            _one_sentence(error, name)
        else:
            raise NonConformance(f"{name} accepts an estimand that its card does not list")
    for role in make().card.needs:
        column = ESTIMAND.roles[role]
        try:
            make().fit(table.drop(columns=column), ESTIMAND, rng=_rng())
        except ContractError as error:
            _require(column in str(error), f"{name} does not name the missing column '{column}': {error}")
            _one_sentence(error, name)
        except Exception as error:
            raise NonConformance(f"{name} meets the missing column '{column}' with {_shown(error)}") from error
        else:
            raise NonConformance(f"{name} does not miss the column '{column}' (role {role}) that its card needs")


def _missed(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    """Of the columns that its card does not name it does without each, or says in one sentence that it cannot."""
    table, name = cohort.training(), type(make()).__name__
    for column in table.columns.difference([ESTIMAND.roles[role] for role in make().card.needs]):
        try:
            _told(make(), table.drop(columns=column), cohort.split("valid").drop(columns=column))
        except ContractError as error:
            _one_sentence(error, name)
        except Exception as error:
            raise NonConformance(
                f"{name} meets the missing column '{column}' with {_shown(error)}; call "
                "adjusters.table_columns.require_columns before it is read"
            ) from error


def _renamed(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    """The severity is the column that the estimand says, whatever it is called; and there may be no estimand."""
    train, valid, name = cohort.training(), cohort.split("valid"), type(make()).__name__
    other = "severity_by_another_name"
    estimand = replace(ESTIMAND, roles={**ESTIMAND.roles, "severity": other})
    known = _told(make(), train, valid)
    renamed = [table.rename(columns={SEVERITY: other}) for table in (train, valid)]
    try:
        found = _told(make(), renamed[0], renamed[1], estimand)
    except Exception as error:
        raise NonConformance(
            f"{name} works with a severity called '{SEVERITY}' only, and meets another with {_shown(error)}; take the "
            'column from estimand.roles["severity"]'
        ) from error
    _require(
        len(found) == len(known) and all(map(np.array_equal, found, known)),
        f"{name} gives other weights or columns where the severity is called otherwise; take the column from "
        'estimand.roles["severity"]',
    )
    if make().card.estimands:
        return
    try:
        _told(make(), train, valid, None)
    except ContractError as error:
        _one_sentence(error, name)
    except Exception as error:
        raise NonConformance(f"{name} meets a graph that identifies nothing with {_shown(error)}") from error


def _told(
    adjuster: Adjuster, train: pd.DataFrame, valid: pd.DataFrame, estimand: Estimand | None = ESTIMAND
) -> list[np.ndarray]:
    """Everything an adjuster does with tables, once: its weights and the values of its columns."""
    rewritten = adjuster.fit(train, estimand, rng=_rng()).rewrite(train, rng=_rng())
    found: list[np.ndarray] = []
    for table in (rewritten, valid):
        weights = adjuster.weights(table)
        found += [] if weights is None else [np.asarray(weights)]
        found += [np.asarray(values) for values in adjuster.columns(table).values()]
    list(adjuster.batches(rewritten, 50, seed=0, epoch=0) or ())
    return found


def _shown(error: Exception) -> str:
    return f"{type(error).__name__} ({error}) and not with a ContractError"


def _other_estimand() -> Any:
    return replace(ESTIMAND, name="P(weather)")


def _weights(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    adjuster = make().fit(cohort.training(), ESTIMAND, rng=_rng())
    name = type(adjuster).__name__
    table = adjuster.rewrite(cohort.training(), rng=_rng())
    for part in (table, cohort.split("valid")):
        found = adjuster.weights(part)
        if found is None:
            continue
        _require(isinstance(found, np.ndarray), f"{name}'s weights are a {type(found).__name__}, not an array")
        _require(found.shape == (len(part),), f"{name} gives {found.shape} weights for {len(part)} rows")
        _require(found.dtype == np.float64, f"{name}'s weights are {found.dtype}, not float64")
        _require(bool(np.isfinite(found).all() and (found >= 0).all()), f"{name}'s weights are not finite and >= 0")
        _require(abs(found.mean() - 1) < 1e-9, f"{name}'s weights have mean {found.mean():.6g}, not one")
        order = _rng(1).permutation(len(part))
        turned = adjuster.weights(part.iloc[order].reset_index(drop=True))
        _require(turned is not None and np.allclose(turned, found[order]), f"{name}'s weights depend on the row order")
    shuffled = cohort.training().sample(frac=1.0, random_state=5).reset_index(drop=True)
    other = make().fit(shuffled, ESTIMAND, rng=_rng()).weights(cohort.split("valid"))
    one = adjuster.weights(cohort.split("valid"))
    same = one is other if one is None or other is None else np.allclose(one, other)
    _require(same, f"{name}'s weights depend on the row order of the table it was fitted to")


def _batches(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    """On a table of which one topic is of kind "set"."""
    rows = cohort.training()
    rows = rows.assign(kind=np.where(rows["topic"] == rows["topic"].iloc[0], "one", "set"))
    adjuster = make().fit(rows, ESTIMAND, rng=_rng())
    name = type(adjuster).__name__
    table = adjuster.rewrite(rows, rng=_rng())
    runs = [adjuster.batches(table, 50, seed=seed, epoch=epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1))]
    if runs[0] is None:
        return
    first, again, next_epoch = ([np.asarray(rows) for rows in run] for run in runs if run is not None)
    _require(len(first) > 0, f"{name} gives no batch for {len(table)} rows")
    drawn = np.concatenate(first)
    _require(np.issubdtype(drawn.dtype, np.integer), f"{name}'s batches are not row positions")
    _require(bool((drawn >= 0).all() and (drawn < len(table)).all()), f"{name}'s batches leave the table")
    _require(all(len(positions) for positions in first), f"{name} gives an empty batch")
    kinds = table["kind"].to_numpy()
    mixed = any(len(set(kinds[positions])) > 1 for positions in first)
    _require(not mixed, f"{name} puts items of both kinds into one batch")
    same = len(first) == len(again) and all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    _require(same, f"{name}'s batches differ between two calls with the same seed and epoch")
    moved = len(first) != len(next_epoch) or any(
        not np.array_equal(a, b) for a, b in zip(first, next_epoch, strict=True)
    )
    _require(moved, f"{name}'s batches are the same in every epoch")


def _attached(adjuster: Adjuster, make_scorer: Callable[[], nn.Module]) -> Objective:
    return adjuster.attach(make_scorer(), new_scorer=variants(make_scorer), rng=_rng(2))


def _saved(found: type[Adjuster], make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    table = cohort.training()
    adjuster = make().fit(table, ESTIMAND, rng=_rng())
    name = found.__name__
    with tempfile.TemporaryDirectory() as folder:
        try:
            adjuster.save(Path(folder))
            again = found.load(Path(folder))
        except Exception as error:
            raise NonConformance(f"{name} cannot be saved and loaded: {type(error).__name__}: {error}") from error
    _require(again.options() == adjuster.options(), f"{name}'s options are lost in save and load")
    _require(
        tuple(again.batch_columns) == tuple(adjuster.batch_columns), f"{name} loses batch_columns in save and load"
    )
    try:
        before, after = adjuster.weights(table), again.weights(table)
        one, other = (_attached(a, ToyScorer) for a in (adjuster, again))
    except Exception as error:
        raise NonConformance(f"{name} cannot be used after save and load: {type(error).__name__}: {error}") from error
    _require((before is None) == (after is None), f"{name} loses its weights in save and load")
    if before is not None and after is not None:
        _require(np.array_equal(before, after), f"{name}'s weights change in save and load")
    _require(_alike(one.state_dict(), other.state_dict()), f"{name}'s objective has another state after save and load")
    batch = cohort.batch(cohort.split("test"), np.arange(TEST))
    _require(
        _same(_predicted(one, batch, name), _predicted(other, batch, name)),
        f"{name}'s objective predicts otherwise after save and load",
    )


def _alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())


def _stages(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    adjuster = make().fit(cohort.training(), ESTIMAND, rng=_rng())
    objective = _attached(adjuster, ToyScorer)
    name, stages = type(adjuster).__name__, adjuster.stages()
    _require(
        _alike(objective.state_dict(), _attached(adjuster, ToyScorer).state_dict()),
        f"{name} attaches with random numbers that are not of the generator it is given",
    )
    names = [stage.name for stage in stages]
    _require(bool(names) and len(set(names)) == len(names), f"{name}'s stages are not uniquely named")
    for stage in stages:
        for part in stage.trains:
            _require(part in objective.parts, f"{name}'s stage '{stage.name}' trains '{part}', which is no part")
            _require(any(True for _ in objective.parameters_of(part)), f"{name}'s part '{part}' has no parameter")


def _trained(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    """Two short trainings: the same seed gives the same state; what was trained predicts, and survives a move."""
    states = []
    for _ in range(2):
        adjuster = make()
        with _seeded():
            done = drive(
                adjuster,
                cohort.training(),
                cohort.split("valid"),
                cohort.batch,
                ToyScorer,
                estimand=ESTIMAND,
                epochs=1,
            )
        states.append(done.objective.state_dict())
    name = type(adjuster).__name__
    _require(_alike(states[0], states[1]), f"{name} trains differently twice")
    bare = cohort.split("test").drop(columns=[SEVERITY, "style"])
    batch = cohort.batch(bare, np.arange(len(bare)))
    scores = _predicted(done.objective, batch, name)
    alone = _predicted(done.objective, batch.select([0, 1]), name)
    _require(torch.allclose(scores[:2], alone, atol=1e-4), f"{name}'s prediction of an item depends on its batch")
    _padded(done.objective, batch, scores, name)
    fresh = _attached(adjuster, ToyScorer).eval()
    _put_back(fresh, states[1])
    moved = _predicted(fresh, batch, name)
    _require(_same(scores, moved), f"{name}'s prediction needs something that is not in its state_dict")


@contextmanager
def _seeded(seed: int = 0) -> Iterator[None]:
    """Torch's global generator seeded, as a trainer does before every step, and put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _put_back(objective: Objective, state: dict[str, Tensor]) -> None:
    """``load_state_dict``, for buffers that have changed their size as well."""
    modules, sized = dict(objective.named_modules()), objective.state_dict()
    for key, value in state.items():
        if key in sized and sized[key].shape != value.shape:
            owner, _, own = key.rpartition(".")
            modules[owner].register_buffer(own, value.clone())
    objective.load_state_dict(state)


def _padded(objective: Objective, batch: Batch, scores: Tensor, name: str) -> None:
    """With a column of padding the scores are as before, and -inf at padding; ContractError is a fair answer."""
    wider = batch.replace(
        candidate_ids=nn.functional.pad(batch.candidate_ids, (0, 1), value=-1),
        answer=nn.functional.pad(batch.answer, (0, 1), value=False),
    )
    try:
        found = _predicted(objective, wider, name)
        _predicted(objective, batch.replace(kind="set"), name)
    except ContractError as error:
        _one_sentence(error, name)
        return
    _require(bool(torch.isneginf(found[:, -1]).all()), f"{name} predicts a score at padding that is not -inf")
    _require(torch.allclose(found[:, :-1], scores, atol=1e-4), f"{name}'s prediction depends on padding")


def _predicted(objective: Scorer, batch: Batch, name: str) -> Tensor:
    with torch.no_grad():
        try:
            scores = objective(batch)
        except KeyError as error:
            raise NonConformance(f"{name} cannot predict without the training column {error}") from error
        except ContractError:
            raise
        except Exception as error:
            raise NonConformance(f"{name} cannot predict: {type(error).__name__}: {error}") from error
    _require(scores.shape == batch.candidate_ids.shape, f"{name} predicts scores of shape {tuple(scores.shape)}")
    _require(not bool(torch.isnan(scores).any()), f"{name} predicts NaN")
    return scores


def _resumed(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    """Two steps in one objective, or one, its state moved into a fresh objective, and another: the same."""

    def prepared() -> tuple[Adjuster, Objective, pd.DataFrame]:
        adjuster = make().fit(cohort.training(), ESTIMAND, rng=_rng())
        table = weighted(adjuster, adjuster.rewrite(cohort.training(), rng=_rng()))
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
        with _seeded():
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


def _passes(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    """An answer costs as many passes as the objective says; one that is read off features alone is a pass too."""
    calls = {"scores": 0, "features": 0}

    class Counted(ToyScorer):
        def forward(self, batch: Batch) -> Tensor:
            calls["scores"] += 1
            return super().forward(batch)

        def scores_and_features(self, batch: Batch, view: View) -> tuple[Tensor, Tensor]:
            calls["scores"] += 1
            return super().scores_and_features(batch, view)

        def features(self, batch: Batch, view: View) -> Tensor:
            calls["features"] += 1
            return super().features(batch, view)

    adjuster = make().fit(cohort.training(), ESTIMAND, rng=_rng())
    name, objective = type(adjuster).__name__, _attached(adjuster, Counted).eval()
    batch = cohort.batch(cohort.split("test"), np.arange(2))
    _predicted(objective, batch, name)
    if isinstance(objective, HasAbstention):
        objective.abstains(batch)
    found = calls["scores"] or min(calls["features"], 1)
    _require(objective.passes == found, f"{name}'s objective says passes = {objective.passes}; an answer takes {found}")


class _Plain(nn.Module):
    """A scorer that has neither features nor parts."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ToyScorer()

    def forward(self, batch: Batch) -> Tensor:
        return self.inner(batch)


def _strangers(make: Callable[[], Adjuster], cohort: _Cohort) -> None:
    """A plain module is trained and predicts, or is refused in one sentence."""
    adjuster = make()
    name = type(adjuster).__name__
    train, valid = cohort.training(), cohort.split("valid")
    try:
        done = drive(adjuster, train, valid, cohort.batch, _Plain, estimand=ESTIMAND, epochs=1)
        batch = cohort.batch(cohort.split("test"), np.arange(TEST))
        _predicted(done.objective, batch, name)
    except ContractError as error:
        _one_sentence(error, name)
    except NonConformance:
        raise
    except Exception as error:
        raise NonConformance(f"{name} meets a scorer without features with {_shown(error)}") from error
