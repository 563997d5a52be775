"""Seconds per training step of each adjuster over those of the unadjusted model.

Run: python benchmarks/training_overhead.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from causalecg import Cohort, RunConfig
from causalecg.benchmark.cohort import simulate_cohort
from causalecg.training.loop import Loop
from causalecg.training.run import train

ARMS = ("none", "ipw", "stratified?epochs=0", "backdoor?prior=marginal", "backdoor")
ROUNDS = 5


def seconds_per_step(cohort: Cohort, arm: str, folder: Path) -> float:
    """Median over the steps of one epoch."""
    taken: list[float] = []
    step = Loop._step

    def timed(self: Loop, *arguments: object) -> None:
        start = time.perf_counter()
        step(self, *arguments)  # type: ignore[arg-type]
        taken.append(time.perf_counter() - start)

    Loop._step = timed  # type: ignore[method-assign, assignment]
    try:
        train(cohort, arm, RunConfig(epochs=1), seed=0, out=folder, progress=False)
    finally:
        Loop._step = step  # type: ignore[method-assign]
    return float(np.median(taken[2:]))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = Cohort.open(simulate_cohort(folder / "c", items=1500, test_items=10, rho=0.9, progress=False))
        found: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for number in range(ROUNDS):  # interleaved, so that a busy moment hits every arm
            for place, arm in enumerate(ARMS):
                found[arm].append(seconds_per_step(cohort, arm, folder / f"{number}-{place}"))
    print("| arm | ms per step of 64 items | ratio to none, median (range) |\n|---|---|---|")
    for arm, values in found.items():
        ratios = np.array(values) / np.array(found["none"])
        spread = f"{np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f})"
        print(f"| {arm} | {1000 * np.median(values):.1f} | {spread} |")


if __name__ == "__main__":
    main()
