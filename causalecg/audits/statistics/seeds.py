"""Several trainings of a model: seeds are a layer of their own, above patients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from causalecg.audits.statistics.bootstrap import REPLICATES, ClusterBootstrap
from causalecg.audits.statistics.means import Interval, percentile

Grid = dict[str, np.ndarray]
#: An estimate, and draws of it.
Draws = tuple[float, np.ndarray]


class SeededBootstrap:
    """Resamples patients and, where there are several, seeds: the same for every arm, whose runs are paired.

    Drawing k seeds with replacement gives far too narrow an interval for a handful of them (their spread is
    underestimated by (k - 1) / k, and taken as known). Instead each seed's deviation from the mean over seeds gets a
    random weight such that, patients aside, the mean over seeds is drawn from its t distribution with k - 1 degrees of
    freedom: exact for normally distributed seeds. With patients' noise in the spread between seeds it is a little
    conservative, as in the Behrens-Fisher problem, and with two seeds very wide.

    Source: Student 1908; as draws, the posterior of a normal mean (Gelman et al., Bayesian Data Analysis, section 3.2).

    Args:
        patients: (items, some) codes.
        seeds: how many.
        seed: of the draws.
        donors: (items, some) codes of the donors' patients, negative where there is none.
    """

    def __init__(
        self,
        patients: np.ndarray,
        seeds: int,
        *,
        seed: int,
        donors: np.ndarray | None = None,
        replicates: int = REPLICATES,
    ) -> None:
        self.seeds = seeds
        rng = np.random.default_rng([seed, 11])
        self.boot = ClusterBootstrap(patients, donors=donors, rng=rng, replicates=replicates)
        self.shares = np.ones((replicates, 1)) if seeds == 1 else _shares(seeds, replicates, rng)

    def arms(self, grid: Grid, weights: np.ndarray | None = None) -> dict[str, Draws]:
        """arm -> estimate and (replicates,) draws of the mean over seeds; ``grid``: arm -> (items, seeds)."""
        means = self.boot.means(np.concatenate(list(grid.values()), axis=1), weights)
        found = {}
        for i, arm in enumerate(grid):
            at = slice(i * self.seeds, (i + 1) * self.seeds)
            found[arm] = (float(means.estimate[at].mean()), (means.drawn[:, at] * self.shares).sum(1))
        return found

    def without_seeds(self, values: np.ndarray) -> Draws:
        """Of (items,) values that no training decides, such as the majority answer's."""
        means = self.boot.means(values)
        return float(means.estimate[0]), means.drawn[:, 0]

    def interval(self, statistic: Callable[..., Any], *means: Draws) -> Interval:
        """Of a function of arms' means."""
        with np.errstate(divide="ignore", invalid="ignore"):
            centre = float(statistic(*(np.asarray(value) for value, _ in means)))
            values = np.asarray(statistic(*(drawn for _, drawn in means)), dtype=np.float64)
        return percentile(centre, values, self.boot.clusters)

    def share(self, mean: Draws) -> dict[str, float]:
        found = self.interval(lambda m: m, mean)
        return Interval(found.estimate, max(found.low, 0.0), min(found.high, 1.0)).as_dict()


def _shares(seeds: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """(replicates, seeds) weights that sum to 1."""
    normal = rng.standard_normal((replicates, seeds))
    deviation = (normal - normal.mean(1, keepdims=True)) / np.sqrt(seeds * (seeds - 1))
    spread = np.sqrt((seeds - 1) / rng.chisquare(seeds - 1, (replicates, 1)))
    return np.asarray(1 / seeds + deviation * spread)
