"""The loop over an objective's stages and parts, with exact resume.

What happens at a step depends on (seed, stage, epoch, step) and the state in the checkpoint alone: the order of the
batches, the learning rate and the random numbers of dropout and of what precedes a stage are recomputed, so a killed
run continues byte for byte. Modules whose every parameter is frozen stay in evaluation mode.

Under ``accelerate launch`` with several processes every batch is dealt out over them (or, where the objective is not
``per_item``, computed whole by each), and the gradient is that of the whole batch; validation and what stages want are
computed by each process, and files are written by the first. Under FSDP each keeps a share of what is trained
(:mod:`causalecg.training.sharding`); checkpoints are whole all the same, and any number of processes goes on with them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adjusters.contract import Adjuster, Batch, LossTerms, Objective, Stage
from adjusters.kept_state import clearly_lower
from causalecg.errors import InputError
from causalecg.processes import on_processors
from causalecg.training import checkpoint, sharding
from causalecg.training.config import RunConfig
from causalecg.training.rows import Rows, epoch_order, mixed, validation_losses, wanted

#: AdamW's decay rates. With the usual 0.999 one heavy row holds the second moment up, and the rate down, for a thousand
#: steps, which is all there are in a short weighted run.
BETAS = (0.9, 0.95)
#: Sets the seed of what precedes a stage apart from those of its steps.
BEFORE = 2**32 - 1


@dataclass
class Position:
    """Where a run stands: stage, epoch and step to be done next, and what early stopping remembers."""

    stage: int = 0
    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    logged: int = 0
    running: dict[str, list[float]] = field(default_factory=dict)


class _Losses(nn.Module):
    """Makes ``Objective.loss`` a forward pass, which is what distributed wrappers hook into."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective
        self.shares: sharding.Shares | None = None

    def forward(self, batch: Batch, part: str, progress: float) -> tuple[Tensor, Tensor]:
        terms = self.objective.loss(batch, part, progress=progress)
        total = terms.total if self.shares is None else self.shares.joined(terms.total)
        return total, terms.per_item


class Loop:
    """Trains one objective.

    Args:
        objective: as the adjuster attached it.
        adjuster: for its stages and batches.
        train, valid: rows for stages on "train" and on "validation".
        config: sizes, rates and patience.
        seed: of batch order and dropout.
        folder: run folder; checkpoints go to ``checkpoint/``, metrics to ``metrics.jsonl``.
        report: called after every step with (stage name, epoch, epochs, step, steps).
    """

    def __init__(
        self,
        objective: Objective,
        adjuster: Adjuster,
        train: Rows,
        valid: Rows,
        config: RunConfig,
        *,
        seed: int,
        folder: Path,
        report: Callable[[str, int, int, int, int], None],
    ) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        # A part's step leaves the other parts' parameters out of the graph.
        self.accelerator = Accelerator(
            cpu=on_processors(), kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)]
        )
        self.objective, self.adjuster, self.config, self.seed = objective, adjuster, config, seed
        self.rows = {"train": train, "validation": valid}
        self.folder, self.report = folder, report
        self.frozen = {n for n, p in objective.named_parameters(remove_duplicate=False) if not p.requires_grad}
        self.shares: sharding.Shares | None = None
        losses = _Losses(objective)
        if not sharding.is_asked_for():
            self.model: nn.Module = self.accelerator.prepare(losses)
        elif self.accelerator.num_processes > 1:
            self.shares = losses.shares = sharding.Shares(losses, self.accelerator.device)
            self.model = losses
        else:  # there is nobody to share with
            self.model = losses.to(self.accelerator.device)
        restarts = any(stage.init == "restart" for stage in adjuster.stages())
        self.initial = {name: value.detach().clone() for name, value in self._state().items()} if restarts else {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.best: dict[str, Tensor] | None = None
        #: (rows,) weighted validation losses of the state that a stage with ``keep_best`` began with.
        self.began: Tensor | None = None
        self.at = Position()
        self.saved = 0

    # ------------------------------------------------------------------ the whole

    def run(self) -> None:
        """Do every stage, going on from the newest checkpoint."""
        stages = self.adjuster.stages()
        _check_stages(stages, self.objective)
        with torch.random.fork_rng(devices=[]):
            self._resume()
            self.accelerator.wait_for_everyone()
            while self.at.stage < len(stages):
                stage = stages[self.at.stage]
                if self.at.epoch == 0 and self.at.step == 0:
                    self._begin(stage)
                self._train(stage)
                self.at = Position(stage=self.at.stage + 1, logged=self.at.logged)
                self.best = self.began = None
                self._save()
        if self.shares is not None:
            self.shares.end()
        self.objective.eval()

    def _train(self, stage: Stage) -> None:
        epochs = self._epochs(stage)
        rows = self.rows[stage.split]
        self._optimizers_for(stage)
        if stage.keep_best and stage.split == "train" and not self.at.losses:
            self._judge(stage)
        while self.at.epoch < epochs and not self._stopped(stage):
            epoch = self.at.epoch
            order = epoch_order(self.adjuster, stage, rows, self.config.batch_size, self.seed, self.at.stage, epoch)
            self.objective.train()
            while self.at.step < len(order):
                step = self.at.step
                process = (self.accelerator.process_index,) if self._deals else ()
                torch.manual_seed(mixed(self.seed, self.at.stage, epoch, step, *process))
                progress = (epoch + step / len(order)) / epochs
                self._step(stage, rows, order[step], progress)
                self.at.step += 1
                self.report(stage.name, epoch, epochs, step + 1, len(order))
                if self.config.checkpoint_steps and self.at.step % self.config.checkpoint_steps == 0:
                    self._save()
            self._end_epoch(stage)
        if self.best is not None:
            _put_back(self.objective, self.best)

    def _end_epoch(self, stage: Stage) -> None:
        record: dict[str, Any] = {"stage": stage.name, "epoch": self.at.epoch}
        record |= {f"loss_{part}": float(np.mean(values)) for part, values in sorted(self.at.running.items())}
        if stage.split == "train":
            record["validation_loss"] = self._judge(stage)
        if self.accelerator.is_main_process:
            with open(self.folder / "metrics.jsonl", "a") as file:
                file.write(json.dumps(record) + "\n")
        self.at.epoch, self.at.step, self.at.running = self.at.epoch + 1, 0, {}
        self.at.logged += 1
        self._save()

    def _judge(self, stage: Stage) -> float:
        """Validation loss of the state as it is, remembered as the best where it is and one is wanted."""
        each = self._validation_losses(stage)
        loss = float(each.mean())
        self.at.losses.append(loss)
        wanted = bool(self.config.patience or stage.keep_best) and loss == min(self.at.losses)
        if stage.keep_best and self.began is None:
            self.began = each
        elif wanted and self.began is not None:
            wanted = clearly_lower(self.began, each)
        if wanted:
            self.best = {name: value.clone() for name, value in self._state().items()}
        return loss

    def _stopped(self, stage: Stage) -> bool:
        if not self.config.patience or stage.split != "train" or not self.at.losses:
            return False
        return len(self.at.losses) - 1 - int(np.argmin(self.at.losses)) >= self.config.patience

    def _epochs(self, stage: Stage) -> int:
        if not stage.trains:
            return 0
        return self.config.epochs if stage.epochs is None else stage.epochs

    # ------------------------------------------------------------------ one step

    def _step(self, stage: Stage, rows: Rows, positions: np.ndarray, progress: float) -> None:
        terms: dict[str, LossTerms] = {}
        shards = self._shards(positions)
        mine_only = shards[self.accelerator.process_index if self._deals else 0]
        batch = rows(mine_only if len(mine_only) else positions[:1]).to(self.accelerator.device)
        # Gradients are averaged over processes: what each counts for is its share of the batch.
        share = len(mine_only) * len(shards) / len(positions)
        for part in stage.trains:
            mine = [p for p in self.objective.parameters_of(part) if p.requires_grad]
            others = self._others(mine) if len(self.objective.parts) > 1 else []
            for parameter in others:
                parameter.requires_grad_(False)
            try:
                total, per_item = self.model(batch, part, progress)
                if len(shards) > 1:
                    total = total * share
                whole = self._reduced(total)
                if not torch.isfinite(whole):
                    raise InputError(
                        f"the loss of part {part} is {float(whole)} in stage {stage.name}, epoch {self.at.epoch}, "
                        f"step {self.at.step}; lower the learning rate"
                    )
                self.accelerator.backward(total)
            finally:
                for parameter in others:
                    parameter.requires_grad_(True)
            self._clip(mine)
            optimizer = self.optimizers[part]
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * schedule(progress, self.config.warmup)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            terms[part] = LossTerms(whole, per_item.detach()[: len(mine_only)])
            self.at.running.setdefault(part, []).append(float(whole))
        with torch.no_grad():
            follows = type(self.objective).after_step is not Objective.after_step
            if len(shards) > 1 and follows:
                batch = rows(np.concatenate(shards)).to(self.accelerator.device)
                terms = {p: LossTerms(t.total, self._gathered(t.per_item, shards)) for p, t in terms.items()}
            if follows:
                with self._whole():
                    self.objective.after_step(batch, terms)

    def _clip(self, mine: list[nn.Parameter]) -> None:
        if self.shares is None:
            self.accelerator.clip_grad_norm_(mine, self.config.clip_norm)
        else:
            self.shares.reduce_apart()
            sharding.clip(mine, self.config.clip_norm)

    def _whole(self) -> AbstractContextManager[None]:
        """The objective's weights are all there, outside a step."""
        return nullcontext() if self.shares is None else self.shares.whole()

    def _others(self, mine: list[nn.Parameter]) -> list[nn.Parameter]:
        own = set(map(id, mine))
        return [p for p in self.objective.parameters() if p.requires_grad and id(p) not in own]

    @property
    def _deals(self) -> bool:
        """Whether a batch is dealt out over processes; otherwise each computes the whole batch."""
        return self.accelerator.num_processes > 1 and self.objective.per_item

    def _shards(self, positions: np.ndarray) -> list[np.ndarray]:
        """The parts of a batch that are computed apart."""
        n = self.accelerator.num_processes if self._deals else 1
        return [positions[i::n] for i in range(n)]

    def _reduced(self, total: Tensor) -> Tensor:
        """Mean over processes, without gradient."""
        if self.accelerator.num_processes == 1:
            return total.detach()
        return self.accelerator.reduce(total.detach().clone(), reduction="mean")

    def _gathered(self, per_item: Tensor, shards: list[np.ndarray]) -> Tensor:
        """Every process's values, one shard after the other."""
        missing = len(shards[0]) - len(per_item)  # the first shard is the largest
        parts = self.accelerator.gather(nn.functional.pad(per_item, (0, missing))).chunk(len(shards))
        return torch.cat([part[: len(shard)] for part, shard in zip(parts, shards, strict=True)])

    def _optimizers_for(self, stage: Stage) -> None:
        for part in stage.trains:
            if part not in self.optimizers:
                self.optimizers[part] = _adamw(self.objective, part, self.config)

    # ------------------------------------------------------------------ between stages

    def _begin(self, stage: Stage) -> None:
        torch.manual_seed(mixed(self.seed, self.at.stage, BEFORE))
        with self._whole():
            given = wanted(self.objective, stage, self.rows[stage.split], self.accelerator.device)
        if stage.init == "restart":
            _put_back(self.objective, self.initial)
        if stage.reset_optimizer or stage.init == "restart":
            self.optimizers = {}
        with self._whole():
            self.objective.begin(stage, *given)

    def _validation_losses(self, stage: Stage) -> Tensor:
        with self._whole():
            return validation_losses(self.objective, self.rows["validation"], stage, self.accelerator.device)

    # ------------------------------------------------------------------ state

    def _state(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.objective.state_dict().items() if name not in self.frozen}

    def _save(self) -> None:
        if self.shares is None and not self.accelerator.is_main_process:
            return
        tensors = {f"state/{name}": value for name, value in self._state().items()}
        if self.best is not None:
            tensors |= {f"best/{name}": value for name, value in self.best.items()}
        if self.began is not None:
            tensors["began"] = self.began
        for part, optimizer in self.optimizers.items():
            tensors |= checkpoint.flatten_optimizer(optimizer, f"optimizer/{part}/")
        if self.shares is not None:
            tensors = self.shares.gathered(tensors)
            if not self.accelerator.is_main_process:
                return
        about = {**vars(self.at), "optimizers": sorted(self.optimizers), "saved": self.saved + 1}
        self.saved += 1
        checkpoint.save(self.folder / "checkpoint", self.saved, tensors, about)

    def _resume(self) -> None:
        found = checkpoint.load_latest(self.folder / "checkpoint")
        metrics = self.folder / "metrics.jsonl"
        writes = self.accelerator.is_main_process
        if found is None:
            if writes:
                metrics.write_text("")
            return
        tensors, about = found
        self.saved = about["saved"]
        self.at = Position(**{name: about[name] for name in vars(Position())})
        restore(self.objective, _under(tensors, "state/"), elsewhere=self.frozen)
        self.best = _under(tensors, "best/") or None
        self.began = tensors.get("began")
        for part in about["optimizers"]:
            self.optimizers[part] = _adamw(self.objective, part, self.config)
            checkpoint.restore_optimizer(self.optimizers[part], f"optimizer/{part}/", tensors)
        if writes:
            lines = metrics.read_text().splitlines() if metrics.exists() else []
            metrics.write_text("".join(line + "\n" for line in lines[: self.at.logged]))


def schedule(progress: float, warmup: float) -> float:
    """Share of the learning rate at ``progress`` in [0, 1]: linear warm-up, then a cosine to zero."""
    if progress < warmup:
        return max(progress, 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def restore(objective: nn.Module, tensors: Mapping[str, Tensor], *, elsewhere: Collection[str] = ()) -> None:
    """Put back what was saved of an objective.

    Args:
        objective: as the adjuster attached it.
        tensors: by name. A buffer may have changed its size since (e.g. one entry per row). Where nothing of
            ``scorer`` is among them, it has been read from a folder of its own.
        elsewhere: names that may be missing.

    Raises:
        InputError: a name is missing or unknown, or a parameter has another shape: it was saved of another model.
    """
    apart = not any(name.startswith("scorer.") for name in tensors)
    expected = {name for name in objective.state_dict() if not (apart and name.startswith("scorer."))}
    missing = expected - set(elsewhere) - set(tensors)
    if missing:
        raise InputError(
            f"the saved state lacks {min(missing)}, which the scorer or adjuster now has; build what was trained"
        )
    modules, parameters = (
        dict(objective.named_modules(remove_duplicate=False)),
        dict(objective.named_parameters(remove_duplicate=False)),
    )
    for name, value in tensors.items():
        owner, _, own = name.rpartition(".")
        if name not in parameters and not (owner in modules and own in modules[owner]._buffers):
            raise InputError(
                f"the saved state has {name}, which the scorer or adjuster now lacks; build what was trained"
            )
        if name in parameters and parameters[name].shape != value.shape:
            raise InputError(
                f"the saved {name} has shape {tuple(value.shape)}, the scorer's or adjuster's has "
                f"{tuple(parameters[name].shape)}; build what was trained"
            )
    _put_back(objective, tensors)


def _put_back(objective: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    modules = dict(objective.named_modules(remove_duplicate=False))
    sized = objective.state_dict()
    with torch.no_grad():
        for name, value in tensors.items():
            if name in sized and sized[name].shape == value.shape:
                sized[name].copy_(sharding.share_of(value, sized[name]))
                continue
            owner, _, own = name.rpartition(".")
            modules[owner].register_buffer(own, value.clone())


def _check_stages(stages: tuple[Stage, ...], objective: Objective) -> None:
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise InputError(f"two stages of the adjuster are called the same: {', '.join(names)}")
    for stage in stages:
        for part in stage.trains:
            if part not in objective.parts:
                raise InputError(f"stage {stage.name} trains '{part}'; the objective has {', '.join(objective.parts)}")


def _adamw(objective: Objective, part: str, config: RunConfig) -> torch.optim.Optimizer:
    """AdamW on the part's trainable parameters; vectors (biases, norms) are not decayed."""
    parameters = list({id(p): p for p in objective.parameters_of(part) if p.requires_grad}.values())
    if not parameters:
        raise InputError(f"part {part} has nothing to train: every parameter of it is frozen")
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, betas=BETAS)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
