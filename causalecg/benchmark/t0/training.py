"""Training at tier T0: an arm, a law, a seed; every stage to convergence on all rows at once.

The steps are those of :mod:`adjusters.reference_loop` (fit, rewrite, weights, columns, stages, begin, parts), whose
pieces are used. Only how a stage is minimised differs: minibatches and early stopping would blur what a strategy's own
optimum is. A stage that trains one part of an objective without moving state is a smooth problem, convex for the plain
likelihood, and is solved by L-BFGS; any other by Adam on all rows, part by part. What a loss draws at random is the
same at every evaluation, once or, on request, several times, over which it is averaged. ``progress`` is that of the end
of the stage. An epoch is a round of L-BFGS (or as many steps of Adam), so that "a few epochs" means as much as it does
with minibatches; where a stage names no number, rounds are done until convergence.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from adjusters.contract import Adjuster, Batch, LossTerms, Objective, Stage
from adjusters.kept_state import KeptState
from adjusters.reference_loop import columns_of, epoch_batches, validation_losses, variants, wanted, weighted
from adjusters.registry import adjuster_class, option_names
from causalecg.benchmark import exact
from causalecg.benchmark.effective_rows import effective_rows
from causalecg.benchmark.law import Law, World
from causalecg.benchmark.t0.arms import ESS_ORACLE, EvidenceArm
from causalecg.benchmark.t0.scorer import EvidenceScorer, Fit
from causalecg.benchmark.t0.tables import EvidenceBatches, items_of
from causalecg.errors import InputError
from causalecg.training.arms import Arm
from causalecg.training.scorers import seed_of
from causalecg.training.tables import refuse_test_splits
from structural_models.estimand import Estimand

#: Half of it times the squared weights, in units of their prior standard deviation, is added to the summed loss.
RIDGE = 1.0
#: Iterations of a round, and how many rounds there are at most; how many iterations L-BFGS remembers.
ITERATIONS, ROUNDS, MEMORY = 20, 40, 150
#: A stage has converged where no derivative of the mean loss is larger.
TOLERANCE = 1e-5
_RATE = 0.1
#: Split of the training items' twins, for adjusters whose card asks for it.
TWINS = "train_twins"


class NoRows(InputError):
    """An arm has nothing to learn from under this law."""


@dataclass(frozen=True)
class StageRecord:
    """How one stage went: ``largest`` is the largest absolute derivative at its end, NaN where nothing was trained;
    ``named``: whether the stage names its number of epochs, and so is not meant to converge."""

    name: str
    method: str
    rounds: int
    loss: float
    largest: float
    named: bool = False

    @property
    def converged(self) -> bool:
        return self.named or not self.largest > TOLERANCE


@dataclass(frozen=True)
class Trained:
    """A trained arm.

    Attributes:
        arm: as it is written.
        objective: predicts.
        stages: how each went.
        rows: how many it learned from.
        effective: how many of them its weights left; ``None`` where it was trained without.
    """

    arm: EvidenceArm
    objective: Objective
    stages: tuple[StageRecord, ...]
    rows: int
    effective: float | None

    @torch.no_grad()
    def yes(self, batch: Batch) -> np.ndarray:
        """(batch,) P(yes), float64."""
        scores = self.objective(self.arm.see(batch)).double()
        return torch.softmax(scores.masked_fill(batch.padding, float("-inf")), dim=1)[:, 0].numpy()

    def to_dict(self) -> dict[str, Any]:
        stages = [{**asdict(s), "converged": s.converged} for s in self.stages]
        return {"rows": self.rows, "effective_rows": self.effective, "stages": stages}


def training_world(law: Law, items: int, valid: int, seed: int) -> World:
    """Training patients, then validation patients; the same noise for every law of as many levels."""
    return law.draw(items + valid, np.random.default_rng([seed, 1]))


def training_tables(law: Law, arm: EvidenceArm, world: World, items: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to learn from and to validate on, of :func:`training_world`; the oracle's have the style re-drawn."""
    names = arm.splits
    seen = world.unbiased() if names[0] == "train_oracle" else world
    kept = items
    if arm.name == ESS_ORACLE:
        share = exact.weighting_share(law, severity="recorded")
        kept = round(items * share)
        if not kept:
            raise NoRows("no row is left by weights for the style given the severity, so no oracle matches them")
    rows = np.arange(len(world))
    return items_of(seen, rows[:kept], names[0]), items_of(seen, rows[items:], names[1])


def with_twins(table: pd.DataFrame, world: World) -> tuple[pd.DataFrame, np.ndarray]:
    """Training rows with a twin of each behind them, in split :data:`TWINS`: the finding set to what it was not, the
    same noise and words; and (2 patients, 2) the evidence of all patients and of their twins."""
    rows = np.arange(len(table))
    flipped = world.do(finding=1 - world.finding)
    twins = items_of(flipped, rows, TWINS).assign(twin_of=table["item_id"].to_numpy())
    twins["ecg_ids"] = twins["ecg_ids"].map(lambda ids: [f"e{len(world) + int(ids[0][1:]):06d}"])
    return pd.concat([table, twins], ignore_index=True), np.concatenate([world.evidence, flipped.evidence])


def train(
    law: Law,
    arm: EvidenceArm,
    *,
    seed: int,
    estimand: Estimand,
    items: int = 4000,
    valid: int = 500,
    fit: Fit = "spline",
    draws: int = 1,
) -> Trained:
    """Train an arm on ``items`` patients of a law, its loss averaged over so many ``draws`` of what it draws at random.

    Raises ContractError where the adjuster refuses the table, and InputError where test rows would be learned from.
    """
    world = training_world(law, items, valid, seed)
    fit_rng, rewrite_rng, attach_rng, placebo_rng = np.random.default_rng([seed, 2]).spawn(4)
    table, valid_table = training_tables(law, arm, world, items)
    evidence = world.evidence
    if TWINS in adjuster_class(arm.adjuster).card.further_splits:
        table, evidence = with_twins(table, world)
    found = arm.make()
    refuse_test_splits(table)
    found.fit(table, estimand, rng=fit_rng)
    learned = found.rewrite(table, rng=rewrite_rng)
    refuse_test_splits(learned)
    tables = {"train": weighted(found, learned), "validation": weighted(found, valid_table)}
    tables = {name: arm.dealt(part, columns_of(found, part), placebo_rng) for name, part in tables.items()}
    words = severity_words(arm, law.levels)

    def make_scorer() -> EvidenceScorer:
        return EvidenceScorer(law.shortcuts, words, fit)

    make_batch = _AsSeen(EvidenceBatches(evidence), arm)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        objective = found.attach(make_scorer(), new_scorer=variants(make_scorer), rng=attach_rng).double()
        records = _Stages(objective, found, tables, make_batch, seed, draws).run()
    weights = tables["train"].get("weight")
    effective = effective_rows(found, None if weights is None else weights.to_numpy())
    return Trained(arm, objective.eval(), records, len(learned), effective)


def severity_words(arm: Arm, levels: int) -> tuple[str, ...]:
    """What the levels are called in texts: the adjuster's option ``words``, or its default."""
    if "words" in option_names(adjuster_class(arm.adjuster)) and arm.options.get("words"):
        return tuple(arm.options["words"])
    return tuple(f"level {level}" for level in range(levels))


@dataclass(frozen=True)
class _AsSeen:
    """Batches as the arm sees them."""

    batches: EvidenceBatches
    arm: Arm

    def __call__(self, table: pd.DataFrame, positions: np.ndarray, columns: tuple[str, ...], /) -> Batch:
        return self.arm.see(self.batches(table, positions, columns))


class _Stages:
    def __init__(
        self,
        objective: Objective,
        found: Adjuster,
        tables: dict[str, pd.DataFrame],
        make_batch: _AsSeen,
        seed: int,
        draws: int,
    ) -> None:
        self.objective, self.adjuster, self.tables = objective, found, tables
        self.make_batch, self.seed, self.draws = make_batch, seed, draws
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    def run(self) -> tuple[StageRecord, ...]:
        initial = copy.deepcopy(self.objective.state_dict())
        records = []
        for stage in self.adjuster.stages():
            table = self.tables[stage.split]
            columns = columns_of(self.adjuster, table)
            given = wanted(self.objective, stage, table, columns, self.make_batch)
            if stage.init == "restart":
                self.objective.load_state_dict(initial)
            if stage.reset_optimizer or stage.init == "restart":
                self.optimizers = {}
            self.objective.begin(stage, *given)
            records.append(self._minimised(stage, table, columns))
            self.objective.eval()
        return tuple(records)

    def _minimised(self, stage: Stage, table: pd.DataFrame, columns: tuple[str, ...]) -> StageRecord:
        rounds = ROUNDS if stage.epochs is None else stage.epochs
        if not stage.trains or not rounds:
            return StageRecord(stage.name, "none", 0, float("nan"), float("nan"))
        smooth = len(stage.trains) == 1 and type(self.objective).after_step is Objective.after_step
        keeps = stage.keep_best and stage.split == "train"
        judge = KeptState(self.objective, lambda: self._validation_losses(stage)) if keeps else None
        own = stage.split == "train" and type(self.adjuster).batches is not Adjuster.batches
        batches = [] if own else [self.make_batch(table, np.arange(len(table)), columns)]
        drawn: list[np.ndarray] = []
        made, loss, largest = 0, float("nan"), float("inf")
        for made in range(1, rounds + 1):
            if own:
                order = epoch_batches(self.adjuster, stage, table, len(table), seed=self.seed, epoch=made - 1)
                # Their order changes no sum, so that all rows, once each, are one and the same batch.
                dealt = [np.sort(positions) for positions in order]
                if len(dealt) != len(drawn) or not all(map(np.array_equal, drawn, dealt)):
                    drawn, batches = dealt, [self.make_batch(table, positions, columns) for positions in dealt]
            self.objective.train()
            if smooth and len(batches) == 1:
                loss, largest = self._round(stage.trains[0], batches[0])
            else:
                loss, largest = self._steps(stage, batches, made - 1, rounds)
            if judge is not None:
                judge.look()
            if smooth and largest <= TOLERANCE:
                break
        if judge is not None:
            judge.put_back()
        return StageRecord(stage.name, "L-BFGS" if smooth else "Adam", made, loss, largest, stage.epochs is not None)

    def _round(self, part: str, batch: Batch) -> tuple[float, float]:
        """One round of L-BFGS. Returns the penalised mean loss and its largest derivative."""
        parameters = self._parameters(part)
        if part not in self.optimizers:
            self.optimizers[part] = torch.optim.LBFGS(
                parameters,
                max_iter=ITERATIONS,
                history_size=MEMORY,
                tolerance_grad=TOLERANCE,
                tolerance_change=0.0,
                line_search_fn="strong_wolfe",
            )

        def closure() -> float:
            return float(self._differentiated(part, parameters, batch, 1.0)[0])

        self.optimizers[part].step(closure)
        loss = closure()
        return loss, max(float(p.grad.abs().max()) for p in parameters if p.grad is not None)

    def _steps(self, stage: Stage, batches: list[Batch], done: int, rounds: int) -> tuple[float, float]:
        """As many steps of Adam as a round has iterations, each of every part in turn."""
        for part in stage.trains:
            if not isinstance(self.optimizers.get(part), torch.optim.Adam):
                self.optimizers[part] = torch.optim.Adam(self._parameters(part), lr=_RATE)
        loss, largest = float("nan"), 0.0
        for i in range(ITERATIONS):
            progress = (done + i / ITERATIONS) / rounds
            for batch in batches:
                terms: dict[str, LossTerms] = {}
                largest = 0.0
                for part in stage.trains:
                    parameters = self._parameters(part)
                    total, terms[part] = self._differentiated(part, parameters, batch, progress)
                    for group in self.optimizers[part].param_groups:
                        group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * progress))
                    largest = max(largest, *(float(p.grad.abs().max()) for p in parameters if p.grad is not None))
                    self.optimizers[part].step()
                    loss = float(total)
                with torch.no_grad():
                    self.objective.after_step(batch, terms)
        return loss, largest

    def _differentiated(
        self, part: str, parameters: list[nn.Parameter], batch: Batch, progress: float
    ) -> tuple[Tensor, LossTerms]:
        """The penalised mean loss, whose gradient is left in ``grad``; the part's other parameters get none."""
        terms = []
        for draw in range(self.draws):
            torch.manual_seed(seed_of(np.random.SeedSequence([self.seed, draw])) if draw else self.seed)
            terms.append(self.objective.loss(batch, part, progress=progress))
        mean = torch.stack([each.total for each in terms]).mean()
        per_item = torch.stack([each.per_item for each in terms]).mean(0)
        penalty = torch.stack([(p.double() ** 2).sum() for p in parameters]).sum()
        total = mean.double() + RIDGE / (2 * len(batch)) * penalty
        for parameter, gradient in zip(parameters, torch.autograd.grad(total, parameters), strict=True):
            parameter.grad = gradient
        return total.detach(), LossTerms(mean.detach(), per_item)

    def _validation_losses(self, stage: Stage) -> Tensor:
        self.objective.eval()
        table = self.tables["validation"]
        return validation_losses(self.objective, table, self.adjuster, self.make_batch, weighted=stage.weighted)

    def _parameters(self, part: str) -> list[nn.Parameter]:
        return [p for p in dict.fromkeys(self.objective.parameters_of(part)) if p.requires_grad]
