"""A model with a latent node, fitted by its marginal likelihood; and why its interval must not stand alone.

The latent node is summed out exactly, all tables get Dirichlet priors, and the posterior is approximated by a normal
law with independent coordinates. It concentrates whether or not the target is identified: the likelihood is flat along
a ridge, and where on it the posterior comes to lie is said by the prior and the number of latent levels. So there is no
result without a label, and none at all unless somebody says what is to identify the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from structural_models.errors import GraphError, NotIdentified, TableError
from structural_models.generative.saturated import node_codes
from structural_models.graph import CausalGraph
from structural_models.json_values import plain
from structural_models.tabulation import require_rows

#: A joint table larger than this is refused.
MAXIMUM_CELLS = 200_000


@dataclass(frozen=True)
class LabelledInterval:
    """An estimate that cannot be printed without saying what it rests on.

    Attributes:
        estimate: posterior mean.
        low, high: central posterior interval.
        label: what it rests on.
    """

    estimate: float
    low: float
    high: float
    label: str

    def to_dict(self) -> dict[str, Any]:
        return plain({"estimate": self.estimate, "low": self.low, "high": self.high, "label": self.label})

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}] ({self.label})"


@dataclass(frozen=True)
class LatentPosterior:
    """Posterior draws of P(outcome | do(treatment)) of a model with a latent node.

    Attributes:
        arms: (arms,) values of the treatment.
        levels: (levels,) of the outcome.
        draws: (draws, arms, levels) float64; each law sums to one.
        identified: whether observed variables alone identify the target.
        label: what every number from it rests on.
    """

    arms: tuple[Any, ...]
    levels: tuple[Any, ...]
    draws: np.ndarray
    identified: bool
    label: str

    def probability(self, level: Any, arm: Any, *, coverage: float = 0.95) -> LabelledInterval:
        """P(outcome = level | do(treatment = arm)). Raises TableError for a level or an arm it does not have."""
        return self._interval(self._draws(level, arm), coverage)

    def contrast(self, level: Any, high: Any, low: Any, *, coverage: float = 0.95) -> LabelledInterval:
        """The difference between two arms; arguments and errors as for :meth:`probability`."""
        return self._interval(self._draws(level, high) - self._draws(level, low), coverage)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: every arm and level, each with its label."""
        laws = {arm: {level: self.probability(level, arm).to_dict() for level in self.levels} for arm in self.arms}
        return plain({"label": self.label, "identified": self.identified, "laws": laws})

    def __str__(self) -> str:
        lines = [self.label]
        for arm in self.arms:
            lines += [f"  P({level} | do({arm})) = {self.probability(level, arm)}" for level in self.levels]
        return "\n".join(lines)

    def _draws(self, level: Any, arm: Any) -> np.ndarray:
        for value, known, what in ((level, self.levels, "level"), (arm, self.arms, "arm")):
            if value not in known:
                raise TableError(f"there is no {what} '{value}'; there are {', '.join(map(str, known))}")
        return np.asarray(self.draws[:, self.arms.index(arm), self.levels.index(level)])

    def _interval(self, draws: np.ndarray, coverage: float) -> LabelledInterval:
        tail = (1 - coverage) / 2
        low, high = np.quantile(draws, [tail, 1 - tail])
        return LabelledInterval(float(draws.mean()), float(low), float(high), self.label)


def latent_model_posterior(
    graph: CausalGraph,
    table: pd.DataFrame,
    *,
    latent_levels: Mapping[str, int],
    rng: np.random.Generator,
    assume_identified: str | None = None,
    concentration: float = 1.0,
    draws: int = 1000,
    steps: int = 1000,
) -> LatentPosterior:
    """Fit saturated tables with latent nodes summed out.

    Args:
        graph: with at least one latent node.
        table: a column of levels, without gaps, for every observed node. Rows are taken to be independent.
        latent_levels: latent node -> how many levels it is supposed to have.
        assume_identified: a sentence that says why the target is identified although no observed set closes its
            back-door paths. It becomes part of the label of every number.
        concentration: of the symmetric Dirichlet priors, positive.
        draws: from the approximate posterior.
        steps: of the optimiser.

    Raises:
        NotIdentified: P(outcome | do(treatment)) is not identified, and no assumption is stated.
        GraphError: no latent node, or ``latent_levels`` are not those of the latent nodes.
        TableError: no rows, a column missing or with gaps, a number out of range, or too large a joint table.
    """
    if not graph.latent:
        raise GraphError(f"graph '{graph.name}' has no latent node; count its tables with StructuralCausalModel.fit")
    identified, label = _standing(graph, assume_identified)
    require_rows(table)
    if set(latent_levels) != graph.latent or any(count < 2 for count in latent_levels.values()):
        raise GraphError(
            f"latent_levels must give at least two levels to each latent node of graph '{graph.name}' "
            f"({', '.join(sorted(graph.latent))}), and to no other"
        )
    for value, what in ((concentration, "concentration"), (draws, "draws"), (steps, "steps")):
        if not (np.isfinite(value) and value > 0):
            raise TableError(f"{what} must be a positive number, not {value}")
    nodes = tuple(sorted(graph.graph))
    codes, domains = {}, {}
    for node in nodes:
        if node in graph.latent:
            domains[node] = tuple(range(latent_levels[node]))
        else:
            codes[node], domains[node] = node_codes(table, node, None)
    sizes = {node: len(domains[node]) for node in nodes}
    cells = int(np.prod(list(sizes.values())))
    if cells > MAXIMUM_CELLS:
        raise TableError(f"the joint table has {cells} cells, more than {MAXIMUM_CELLS}; merge levels first")
    families = {node: (*sorted(graph.graph.predecessors(node)), node) for node in nodes}
    seen = [node for node in nodes if node in codes]
    shape = tuple(sizes[node] for node in seen)
    cell = np.ravel_multi_index([codes[node] for node in seen], shape)
    counts = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape)
    fitted = _posterior_tables(families, sizes, seen, counts, concentration, draws, steps, rng)
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    done = {node: array for node, array in fitted.items() if node != treatment}
    number = {node: i for i, node in enumerate(nodes)}
    operands: list[Any] = []
    for node, array in done.items():
        operands += [array, [len(nodes), *(number[name] for name in families[node])]]
    # With the treatment's own table left out its axis is do(treatment); the ones keep it where it causes nothing.
    operands += [np.ones(sizes[treatment]), [number[treatment]]]
    law = np.einsum(*operands, [len(nodes), number[treatment], number[outcome]], optimize="greedy")
    return LatentPosterior(domains[treatment], domains[outcome], law, identified, label)


def _standing(graph: CausalGraph, assumption: str | None) -> tuple[bool, str]:
    """Whether the target is identified, and the label."""
    from structural_models.identification import identify

    if assumption is not None and len(assumption.split()) < 3:
        raise NotIdentified(
            f"'{assumption}' states no assumption; write a sentence that says what identifies the target"
        )
    try:
        estimand = identify(graph, conditioning=())
    except NotIdentified as refusal:
        if assumption is None:
            raise NotIdentified(
                f"{refusal}; a posterior would be confident all the same, so state in assume_identified what "
                "identifies the target, or measure proxies and use proximal_effect"
            ) from refusal
        latent = ", ".join(sorted(graph.latent))
        verb = "is" if len(graph.latent) == 1 else "are"
        return False, (
            f"not identified: {latent} {verb} latent; the interval reflects the prior and model form only; "
            f"assumed: {assumption}"
        )
    by = ", ".join(estimand.adjustment) or "nothing"
    return True, f"identified by adjusting for {by}; mean-field posterior"


def _posterior_tables(
    families: Mapping[str, tuple[str, ...]],
    sizes: Mapping[str, int],
    seen: Sequence[str],
    counts: np.ndarray,
    concentration: float,
    draws: int,
    steps: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """node -> (draws, parents' levels, levels) tables."""
    import pyro
    import pyro.distributions as dist
    import torch
    from pyro.infer import SVI, JitTrace_ELBO, Predictive
    from pyro.infer.autoguide import AutoDiagonalNormal, init_to_sample

    from structural_models.generative.program import seeded

    number = {node: i for i, node in enumerate(families)}
    rows = torch.as_tensor(counts, dtype=torch.float64)

    def program() -> None:
        operands: list[Any] = []
        for node, family in families.items():
            shape = [sizes[name] for name in family]
            prior = dist.Dirichlet(torch.full(shape, concentration, dtype=torch.float64)).to_event(len(shape) - 1)
            operands += [pyro.sample(node, prior), [number[name] for name in family]]
        joint = torch.einsum(*operands, [number[name] for name in seen])
        pyro.factor("likelihood", (rows * joint.clamp_min(1e-300).log()).sum())

    with seeded(rng):
        guide = AutoDiagonalNormal(program, init_loc_fn=init_to_sample, init_scale=0.05)
        optimiser = pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.02 ** (1 / steps)})
        svi = SVI(program, guide, optimiser, JitTrace_ELBO(ignore_jit_warnings=True))
        for _ in range(steps):
            svi.step()
        with torch.no_grad():
            found = Predictive(guide, num_samples=draws, parallel=True)()
    return {node: found[node].reshape(draws, *(sizes[n] for n in families[node])).numpy() for node in families}
