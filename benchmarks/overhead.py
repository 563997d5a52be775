"""What each adjuster adds to a training step of the unadjusted model: same model, same cohort, one run.

    python benchmarks/overhead.py                      # every adjuster, about ten minutes on an idle core
    python benchmarks/overhead.py ipw backdoor --rounds 30

Every stage that trains is taken by itself: after a few steps to warm up, a few steps of the unadjusted model and a few
of the arm take turns, and the ratio is that of neighbours, so that a busy moment hits both. Seconds are those of the
processor (one thread) and include making the batch. A stage's other work, such as caching what a bias model says, is
done once before it and not counted. `none` against itself shows how exact the ratios are.

Where an adjuster adds rows, an epoch has more steps: that is the column "rows".
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adjusters.catalogue import in_order, table
from adjusters.contract import ContractError, Stage
from adjusters.registry import card
from causalecg import Cohort, RunConfig
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.training.arms import Arm
from causalecg.training.loop import Loop, Position
from causalecg.training.rows import epoch_order
from causalecg.training.run import train

ITEMS, WARM, STEPS = 1500, 3, 3
COHORT: dict[str, Any] = {"items": ITEMS, "train_twins": ITEMS, "test_items": 10, "rho": 0.9}
#: What a step may cost without a further pass of the model, as a multiple of the unadjusted one.
BAR = 1.05
#: name -> options that it needs on this cohort.
OPTIONS: dict[str, str] = {"irm": "environment=severity", "vrex": "environment=severity"}
#: Arms with other options, whose steps are others.
FURTHER = (
    "backdoor?prior=marginal",
    "product_of_experts?bias_view=question",
    "effect_subtraction?reference=blank",
    "last_layer_refit?refit=projector",
)


class _Made(Exception):
    """Carries a loop that is ready to run out of ``train``."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self.loop = loop


def loop_of(cohort: Cohort, arm: str, folder: Path) -> Loop:
    """The loop that ``train`` makes of an arm, before its first stage. Raises ContractError where the arm refuses."""
    run = Loop.run

    def stop(self: Loop) -> None:
        raise _Made(self)

    Loop.run = stop  # type: ignore[method-assign]
    try:
        train(cohort, arm, RunConfig(epochs=1), seed=0, out=folder, progress=False)
    except _Made as made:
        return made.loop
    finally:
        Loop.run = run  # type: ignore[method-assign]
    raise AssertionError("train ended without running its loop")


class Steps:
    """The steps of one stage, one after the other, as the loop does them."""

    def __init__(self, loop: Loop, number: int) -> None:
        self.loop, self.stage = loop, loop.adjuster.stages()[number]
        self.rows = loop.rows[self.stage.split]
        loop.at = Position(stage=number)
        loop._begin(self.stage)
        if self.stage.trains:
            loop._optimizers_for(self.stage)
            self.batches = self._whole_batches()
            loop.objective.train()
            self.seconds(WARM)

    def _whole_batches(self) -> Iterator[np.ndarray]:
        loop = self.loop
        order = epoch_order(
            loop.adjuster, self.stage, self.rows, loop.config.batch_size, loop.seed, loop.at.stage, epoch=0
        )
        largest = max(map(len, order))
        return cycle([positions for positions in order if len(positions) == largest])

    def seconds(self, steps: int) -> float:
        """Processor seconds per item."""
        items, start = 0, time.process_time()
        for _ in range(steps):
            positions = next(self.batches)
            self.loop._step(self.stage, self.rows, positions, 0.5)
            items += len(positions)
        return (time.process_time() - start) / items


@dataclass(frozen=True)
class Measured:
    """One stage of one arm: seconds per item, and ratios to the unadjusted model's, one per round."""

    stage: Stage
    main: bool
    seconds: np.ndarray
    ratios: np.ndarray


def measured(loop: Loop, plain: Steps, rounds: int) -> list[Measured]:
    """Every stage that trains, in its order."""
    stages, found = loop.adjuster.stages(), []
    trained = [number for number, stage in enumerate(stages) if stage.trains and stage.split == "train"]
    for number, stage in enumerate(stages):
        steps = Steps(loop, number)
        if not stage.trains:
            continue
        pairs = []
        for turn in range(rounds):
            if turn % 2:
                mine, theirs = steps.seconds(STEPS), plain.seconds(STEPS)
            else:
                theirs, mine = plain.seconds(STEPS), steps.seconds(STEPS)
            pairs.append((mine, theirs))
        mine, theirs = np.array(pairs).T
        found.append(Measured(stage, bool(trained) and number == trained[-1], mine, mine / theirs))
    return found


def rows_of(arm: str, loop: Loop, measures: Sequence[Measured]) -> Iterator[tuple[str, ...]]:
    """Rows of the printed table."""
    passes = card(Arm.parse(arm).adjuster).extra_passes[0]
    more = len(loop.rows["train"].table) / ITEMS
    for found in measures:
        ratio = np.median(found.ratios)
        verdict = ("yes" if ratio <= BAR else "**no**") if found.main and passes == 0 else ""
        yield (
            f"`{arm}`",
            found.stage.name,
            f"{64_000 * np.median(found.seconds):.1f}",
            f"{ratio:.3f} ({found.ratios.min():.3f} to {found.ratios.max():.3f})",
            f"{more:.2f}",
            str(passes),
            verdict,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("arms", nargs="*", help="by default every built-in adjuster, and some with other options")
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = [f"{name}?{OPTIONS[name]}" if name in OPTIONS else name for name in in_order()]
    heads = ("arm", "stage", "ms per 64 items", "ratio to `none`, median (range)", "rows", "extra language-model "
             "passes in training (card)", f"at most {BAR} where none")  # fmt: skip
    lines: list[tuple[Any, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = Cohort.open(simulate_cohort(folder / "c", **COHORT, progress=False))
        plain = Steps(loop_of(cohort, "none", folder / "none"), 0)
        for place, arm in enumerate(given.arms or [*names, *FURTHER]):
            try:
                loop = loop_of(cohort, arm, folder / str(place))
            except ContractError as error:
                lines.append((f"`{arm}`", f"refused: {error}", "", "", "", "", ""))
                continue
            lines += rows_of(arm, loop, measured(loop, plain, given.rounds))
    print(table(heads, lines))


if __name__ == "__main__":
    main()
