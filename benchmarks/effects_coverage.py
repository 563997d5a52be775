"""Coverage of the effects' 95 % intervals, and of what they estimate: 10,000 data sets of a law that is enumerated.

Run: python benchmarks/effects_coverage.py [data sets]
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from structural_models.effects.arm_means import ArmMeans
from structural_models.effects.association import Association
from structural_models.effects.augmented import Augmented
from structural_models.effects.bayesian import BayesianGFormula
from structural_models.effects.cells import Part, tabulate
from structural_models.effects.clusters import Clusters
from structural_models.effects.entropy_balancing import EntropyBalancing
from structural_models.effects.g_formula import GFormula
from structural_models.effects.weighting import InverseProbability, Overlap
from structural_models.errors import PositivityError

SEVERITY = np.array([0.35, 0.3, 0.2, 0.15])
QUESTION = np.array([[0.6, 0.3, 0.1], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.1, 0.3, 0.6]])
ANSWER = np.array([[0.10, 0.15, 0.30], [0.20, 0.30, 0.40], [0.40, 0.45, 0.65], [0.60, 0.75, 0.80]])
#: Every patient is asked the same question this often and answers alike with probability ALIKE.
REPEATS, ALIKE = 2, 0.5
PATIENTS = 2000

METHODS = {
    "g-formula": GFormula(),
    "inverse probability": InverseProbability(),
    "inverse probability, multinomial": InverseProbability("multinomial"),
    "inverse probability, weights known": InverseProbability(weights_known=True),
    "overlap": Overlap(),
    "entropy balancing": EntropyBalancing(),
    "augmented, one fold": Augmented(folds=1),
    "g-formula, regression": GFormula("regression", interactions="all"),
}


def truths() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(arms,) P(yes | arm), P(yes | do(arm)) in all, and in the overlap population."""
    joint = SEVERITY[:, None] * QUESTION
    tilt = SEVERITY / (1 / QUESTION).sum(1)
    return (joint * ANSWER).sum(0) / joint.sum(0), SEVERITY @ ANSWER, tilt @ ANSWER / tilt.sum()


def every_cell() -> Part:
    grid = pd.DataFrame(list(np.ndindex(4, 3, 2)), columns=["severity", "question", "answer"])
    (part,) = tabulate(grid, "question", "answer", ["severity"]).parts
    return part


def main(data_sets: int) -> None:
    part = every_cell()
    s_of, cells = part.cells.strata["severity"].to_numpy()[part.cells.stratum], part.cells
    number = np.empty((4, 3, 2), dtype=np.int64)
    number[s_of, cells.arm, cells.value] = np.arange(len(cells))
    seen, done, overlap = truths()
    rng = np.random.default_rng(0)
    names = [*METHODS, "Bayesian g-formula (patients once)", "association, patients ignored"]
    inside = {name: np.zeros(9) for name in names}
    lost = dict.fromkeys(names, 0)
    for _ in track(range(data_sets), "data sets", console=Console(stderr=True), transient=True):
        s = rng.choice(4, PATIENTS, p=SEVERITY)
        q = (rng.random(PATIENTS)[:, None] > QUESTION.cumsum(1)[s, :2]).sum(1)
        first = rng.random(PATIENTS) < ANSWER[s, q]
        again = np.where(rng.random(PATIENTS) < ALIKE, first, rng.random(PATIENTS) < ANSWER[s, q])
        rows = np.concatenate([number[s, q, a.astype(int)] for a in (first, again)])
        members = np.tile(np.arange(PATIENTS), 2)[:, None]
        drawn = cells.with_counts(np.bincount(rows, minlength=len(cells)).astype(float))
        for name, method in METHODS.items():
            clusters = Clusters.of(rows, len(cells), members)
            try:
                _count(inside[name], drawn, part, method, clusters, seen, done, overlap)
            except PositivityError:
                lost[name] += 1
        alone = Clusters.of(rows, len(cells), None)
        _count(inside["association, patients ignored"], drawn, part, GFormula(), alone, seen, done, overlap)
        once = cells.with_counts(np.bincount(rows[:PATIENTS], minlength=len(cells)).astype(float))
        draws = BayesianGFormula().draws(once, 400, rng)[..., 1]
        both = np.concatenate([draws, (draws[:, 0] - draws[:, 1])[:, None]], axis=1)
        low, high = np.quantile(both, [0.025, 0.975], axis=0)
        truth = np.stack([seen, done, seen - done])
        inside["Bayesian g-formula (patients once)"] += ((low <= truth) & (truth <= high)).ravel()
    error = 3 * np.sqrt(0.95 * 0.05 / data_sets)
    print(f"{data_sets:,} data sets of {PATIENTS:,} patients, {REPEATS} rows each; 95 % +- {error:.4f}\n")
    print("| intervals | P(A &#124; Q) | P(A &#124; do(Q)) | bias | within |\n|---|---|---|---|---|")
    for name, count in inside.items():
        made = data_sets - lost[name]
        shares = (count / made).reshape(3, 3)
        left = f" ({lost[name]} not estimated)" if lost[name] else ""
        told = " | ".join(f"{row.min():.4f} to {row.max():.4f}" for row in shares)
        fits = "yes" if np.abs(shares - 0.95).max() <= error else ("conservative" if shares.min() > 0.95 else "no")
        print(f"| {name}{left} | {told} | {fits} |")


def _count(kept, drawn, part, method, clusters, seen, done, overlap) -> None:  # type: ignore[no-untyped-def]
    means = [Association().means(drawn), method.means(drawn)]
    influence = np.hstack([Association().influence(drawn, means[0], 1), method.influence(drawn, means[1], 1)])
    spread = clusters.covariance(influence, np.arange(len(drawn)), drawn.rows)
    both = np.stack([np.zeros_like(spread), spread])
    found = ArmMeans(part, *means, covariance=both, draws=None)
    target = overlap if isinstance(method, Overlap) else done
    for arm in range(3):
        for which, (truth, factors) in enumerate(
            (
                (seen[arm], ({arm: 1.0}, {})),
                (target[arm], ({}, {arm: 1.0})),
                (seen[arm] - target[arm], ({arm: 1.0}, {arm: -1.0})),
            )
        ):
            limits = found.limits(1, 0.95, seen=factors[0], done=factors[1])
            kept[3 * which + arm] += limits.low <= truth <= limits.high


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_sets", type=int, nargs="?", default=10_000, help="how many")
    main(parser.parse_args().data_sets)
