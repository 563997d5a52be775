"""An arm made ready for a training loop that is not ours: a plain torch loop, or the Hugging Face Trainer."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from adjusters.contract import Batch, LossTerms, Objective, Stage
from adjusters.kept_state import KeptState
from adjusters.valid_scores import check_first_scores
from causalecg.cohort.ecg_format import ECGFormat, require_known_format
from causalecg.errors import InputError
from causalecg.training.arms import Arm
from causalecg.training.beginnings import patients_of
from causalecg.training.builds import Build, fresh, require_build
from causalecg.training.config import RunConfig
from causalecg.training.fitted import Fitted, fit_arm
from causalecg.training.learned import Learned
from causalecg.training.rows import epoch_order, validation_losses, wanted
from causalecg.training.scorers import TrainedScorer, new_scorer, seed_of

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from causalecg.cohort.schema import Cohort


def prepare(
    cohort: Cohort, arm: str | Arm, scorer: nn.Module | Build, config: RunConfig | None = None, *, seed: int = 0
) -> Prepared:
    """Fit an arm to a cohort and attach it to a model, which is then trained by whoever called.

    Args:
        cohort: learned from are its splits ``train`` and ``valid``, as by :func:`causalecg.training.run.train`.
        arm: e.g. ``"ipw"``.
        scorer: the model, a module that scores a batch; or a function from a seed to a fresh one. Where an adjuster
            needs further models of the same make, the module is copied as it is.
        config: which rows, severity and graph; its model and rates are not used.
        seed: of all that is random before training.

    Raises as ``train`` does; a saved model that was read is a model, and is refused where it has learned from ECGs of
    another form.
    """
    arm = Arm.parse(arm) if isinstance(arm, str) else arm
    if not isinstance(scorer, nn.Module):
        require_build(scorer)
    streams = np.random.SeedSequence(seed).spawn(4)
    fitted = fit_arm(cohort, arm, config or RunConfig(), streams[3])
    initial = copy.deepcopy(scorer) if isinstance(scorer, nn.Module) else None
    build: Build = (lambda _: copy.deepcopy(initial)) if initial is not None else cast(Build, scorer)
    main = scorer if isinstance(scorer, nn.Module) else fresh(build, seed_of(streams[0]))
    require_known_format(main, cohort.signals, f"cohort {cohort.path}")
    objective = fitted.adjuster.attach(
        main, new_scorer=new_scorer(main, build, streams[1]), rng=np.random.default_rng(streams[2])
    )
    check_first_scores(main)
    of = ECGFormat.of(cohort.signals)
    if hasattr(main, "ecg_format"):
        main.ecg_format = of  # type: ignore[assignment]  # what is saved of it in a loop of one's own says so too
    tables = (fitted.learned, fitted.valid.table)
    patients = frozenset().union(*(patients_of(cohort, table["ecg_ids"]) for table in tables))
    learned = Learned(f"arm {arm} prepared on {cohort.path}", patients, cohort.meta["name"], cohort.hash)
    return Prepared(arm, objective, fitted, of, seed_of(streams[0]), learned)


class Prepared:
    """See :func:`prepare`.

    Attributes:
        objective: what is minimised, part by part, and what predicts: a module.
        stages: to be done in this order, each begun by :meth:`begin`.
    """

    def __init__(
        self, arm: Arm, objective: Objective, fitted: Fitted, ecg_format: ECGFormat, seed: int, learned: Learned
    ) -> None:
        self.arm, self.objective, self.ecg_format, self.seed = arm, objective, ecg_format, seed
        self._learned = learned
        self.adjuster = fitted.adjuster
        self.stages: tuple[Stage, ...] = fitted.adjuster.stages()
        self._rows = {"train": fitted.train, "validation": fitted.valid}
        restarts = any(stage.init == "restart" for stage in self.stages)
        self._initial = copy.deepcopy(objective.state_dict()) if restarts else {}
        self._kept: KeptState | None = None

    def begin(self, stage: Stage) -> None:
        """Compute what a stage wants and begin it. One with ``reset_optimizer`` or ``init="restart"`` is to be given
        fresh optimisers."""
        given = wanted(self.objective, stage, self._rows[stage.split], self._device)
        if stage.init == "restart":
            self.objective.load_state_dict(self._initial)
        self.objective.begin(stage, *given)
        keeps = stage.keep_best and stage.split == "train"
        self._kept = KeptState(self.objective, lambda: self._validation_losses(stage)) if keeps else None
        self.objective.train()

    def end_epoch(self, stage: Stage, *, last: bool) -> None:
        """Of a stage that keeps its best state: see whether it is clearly better than the one it began with, and better
        than all since; after the last epoch put the best one back. :meth:`batches` does it behind its last batch."""
        if self._kept is not None:
            self._kept.look()
        if last:
            self.put_back_best()

    def put_back_best(self) -> None:
        """End a stage that keeps its best state; nothing where it does not."""
        if self._kept is not None:
            self._kept.put_back()
        self._kept = None

    def _validation_losses(self, stage: Stage) -> Tensor:
        found = validation_losses(self.objective, self._rows["validation"], stage, self._device)
        self.objective.train()
        return found

    def order(self, stage: Stage, size: int, epoch: int) -> list[np.ndarray]:
        """Row positions of an epoch's batches: the adjuster's own, or all rows in random order."""
        place = (self.seed, self.stages.index(stage), epoch)
        return epoch_order(self.adjuster, stage, self._rows[stage.split], size, *place)

    def batch(self, stage: Stage, positions: np.ndarray | Tensor) -> Batch:
        """These rows, on the objective's device, as the arm sees them."""
        found: Batch = self._rows[stage.split](np.asarray(positions)).to(self._device)
        return found

    def batches(self, stage: Stage, size: int, *, epoch: int = 0, epochs: int = 1) -> Iterator[tuple[float, Batch]]:
        """(progress over the stage from 0 to 1, batch) of one epoch, and then :meth:`end_epoch`."""
        order = self.order(stage, size, epoch)
        for i, positions in enumerate(order):
            yield (epoch + i / len(order)) / epochs, self.batch(stage, positions)
        self.end_epoch(stage, last=epoch + 1 >= epochs)

    def scorer(self) -> TrainedScorer:
        """What was trained, for prediction."""
        of, learned = self.ecg_format, self._learned
        return TrainedScorer(self.objective, self.arm, self.adjuster, ecg_format=of, learned=learned).eval()

    def for_trainer(self, stage: Stage, size: int) -> tuple[StageLoss, StageBatches, TrainerCallback]:
        """Model, training data and callback of a Hugging Face ``Trainer`` that does one stage.

        Its arguments must be ``per_device_train_batch_size=1`` (one of our batches of ``size`` items) and
        ``remove_unused_columns=False``, on one process and with a step after each batch: InputError when it begins with
        others. InputError for a stage that trains several parts in turn, which a Trainer cannot, or none.
        """
        if len(stage.trains) != 1:
            what = f"the parts {' and '.join(stage.trains)} in turn" if stage.trains else "nothing"
            raise InputError(
                f"stage {stage.name} of arm {self.arm} trains {what}, which a Trainer cannot; use a loop of your own, "
                "or begin(stage) alone"
            )
        loss = StageLoss(self, stage)
        return loss, StageBatches(self, stage, size), _after_steps(loss)

    @property
    def _device(self) -> torch.device:
        return next((p.device for p in self.objective.parameters()), torch.device("cpu"))


#: Arguments of a Trainer that must be 1, and what would go wrong otherwise.
_ONE = {
    "train_batch_size": "each item is one of the adjuster's batches, and two would be merged",
    "gradient_accumulation_steps": "the adjuster is told of every batch after its step",
    "world_size": "several processes are served by 'accelerate launch -m causalecg train'",
}


class StageBatches(IterableDataset[dict[str, Any]]):
    """Batches of one stage, an epoch at a time: ``positions`` (items,) int64."""

    def __init__(self, prepared: Prepared, stage: Stage, size: int) -> None:
        self.prepared, self.stage, self.size = prepared, stage, size
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.order = self.prepared.order(self.stage, self.size, epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for positions in self.order:
            yield {"positions": torch.from_numpy(np.asarray(positions, dtype=np.int64))}


class StageLoss(nn.Module):
    """A stage's loss as a module of the kind a Trainer trains: ``forward(positions=...)`` gives ``{"loss": ...}``.

    ``progress``, which few adjusters use, is set by the callback.
    """

    def __init__(self, prepared: Prepared, stage: Stage) -> None:
        super().__init__()
        self.objective = prepared.objective
        self.prepared, self.stage, self.progress = prepared, stage, 0.0
        self.last: tuple[Batch, Mapping[str, LossTerms]] | None = None

    def forward(self, positions: Tensor) -> dict[str, Tensor]:
        batch = self.prepared.batch(self.stage, positions.flatten().cpu())
        (part,) = self.stage.trains
        terms = self.objective.loss(batch, part, progress=self.progress)
        self.last = batch, {part: LossTerms(terms.total.detach(), terms.per_item)}
        return {"loss": terms.total}


def _after_steps(loss: StageLoss) -> TrainerCallback:
    """Tells the objective of every step that was taken, and the loss how far the stage is."""
    from transformers import TrainerCallback

    class AfterSteps(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            for name, value in _ONE.items():
                if getattr(args, name) != 1:
                    raise InputError(f"TrainingArguments: {name} is to be 1, not {getattr(args, name)}: {value}")

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            loss.prepared.end_epoch(loss.stage, last=False)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            loss.prepared.put_back_best()

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            loss.progress = state.global_step / max(state.max_steps, 1)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if loss.last is not None:
                with torch.no_grad():
                    loss.objective.after_step(*loss.last)

    return AfterSteps()
