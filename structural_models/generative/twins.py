"""The same units in another world: what was, and what would have been under an intervention.

Abduction, action, prediction (Pearl 2009, "Causality", theorem 7.1.7), unit by unit: the noise of every node is drawn
from its posterior given the unit's row, then the model is run again under the intervention with that noise. The noise
of a quantity is additive, as declared, and known from the row; that of a node with levels is not, and how it acts is a
choice: the coupling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from structural_models.errors import TableError
from structural_models.generative.coupling import COUPLINGS, Coupling, counterfactual_levels
from structural_models.generative.mechanisms import BoundMechanism, Function, LinearGaussian
from structural_models.generative.model import StructuralCausalModel
from structural_models.json_values import plain
from structural_models.tabulation import require_rows


@dataclass(frozen=True)
class Twins:
    """Units and their twins.

    Attributes:
        factual: (units, nodes) as observed.
        counterfactual: the same index and columns, under ``do``.
        do: node -> value.
        coupling: how noise becomes a level, in both worlds.
        coupling_dependent: whether another coupling, with the same law in every single world, could have given other
            twins. False where no unit's law changed, or every changed law is without chance.
    """

    factual: pd.DataFrame
    counterfactual: pd.DataFrame
    do: Mapping[str, Any]
    coupling: Coupling
    coupling_dependent: bool

    @property
    def label(self) -> str:
        """What must stand beside every number taken from these twins."""
        if not self.coupling_dependent:
            return "independent of the coupling"
        return (
            f"coupling-dependent ({self.coupling}): no data, not even of an experiment, can tell one coupling from "
            "another"
        )

    def changed(self, node: str) -> float:
        """Share of units whose value of ``node`` differs between the worlds. Raises TableError for no such node."""
        if node not in self.factual:
            raise TableError(f"the twins have no node '{node}'; they have {', '.join(map(str, self.factual))}")
        return float((self.factual[node].to_numpy() != self.counterfactual[node].to_numpy()).mean())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the tables."""
        return plain(
            {
                "do": dict(self.do),
                "units": len(self.factual),
                "coupling": self.coupling,
                "coupling_dependent": self.coupling_dependent,
                "label": self.label,
                "changed": {node: self.changed(node) for node in map(str, self.factual)},
            }
        )

    def __str__(self) -> str:
        done = ", ".join(f"{node} = {value}" for node, value in self.do.items())
        lines = [f"{len(self.factual)} units and their twins under do({done}); {self.label}"]
        shares = {str(node): self.changed(str(node)) for node in self.factual}
        lines += [f"  {node}: changed in {share:.1%}" for node, share in shares.items() if share]
        return "\n".join(lines)


def twins(
    scm: StructuralCausalModel,
    units: pd.DataFrame,
    *,
    do: Mapping[str, Any],
    rng: np.random.Generator,
    coupling: Coupling = "inverse_cdf",
) -> Twins:
    """Each unit under ``do``, its exogenous noise kept.

    Args:
        scm: under its own interventions, if any, the units were observed.
        units: (units, at least the nodes) a complete value for every node, latent ones included.
        do: node -> value.
        coupling: "inverse_cdf" or "gumbel_max"; see :mod:`structural_models.generative.coupling`.

    Raises:
        GraphError: a name in ``do`` that is no node.
        TableError: a column missing or with gaps, a value a node cannot have, a row that the model rules out, or an
            unknown coupling.
    """
    require_rows(units)
    if coupling not in COUPLINGS:
        raise TableError(f"no coupling is called '{coupling}'; use {' or '.join(COUPLINGS)}")
    after = scm.intervene(do)
    factual = scm.codes(units)
    other: dict[str, np.ndarray] = {}
    dependent = False
    # One stream per node: what a node draws does not depend on what is done to others.
    for node, stream in zip(scm.order, rng.spawn(len(scm.order)), strict=True):
        mechanism = scm.mechanism(node)
        if node in scm.interventions:
            _require_possible(scm, node, factual[node] == scm.code(node, scm.interventions[node]))
        else:
            _check_unit(scm, node, mechanism, factual)
        if node in after.interventions:
            other[node] = np.full(len(units), after.code(node, after.interventions[node]), dtype=factual[node].dtype)
        elif isinstance(mechanism, LinearGaussian):
            other[node] = factual[node] + (mechanism.mean(other) - mechanism.mean(factual))
        elif isinstance(mechanism, Function) and mechanism.levels is None:
            other[node] = np.broadcast_to(mechanism.value(other), (len(units),))
        else:
            before, now = _rows(mechanism, factual, len(units)), _rows(mechanism, other, len(units))
            other[node] = counterfactual_levels(factual[node], before, now, coupling, rng=stream)
            open_to_chance = (before != now).any(1) & (before.max(1) < 1) & (now.max(1) < 1)
            dependent = dependent or bool(open_to_chance.any())
    held = {node: after.interventions[node] for node in do}
    return Twins(scm.table(factual, units.index), scm.table(other, units.index), held, coupling, dependent)


def _rows(mechanism: Any, values: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    law = mechanism.law(values)
    return np.asarray(np.broadcast_to(law, (rows, law.shape[-1])))


def _check_unit(
    scm: StructuralCausalModel, node: str, mechanism: BoundMechanism, factual: Mapping[str, np.ndarray]
) -> None:
    if isinstance(mechanism, LinearGaussian):
        return
    rows = len(factual[node])
    if isinstance(mechanism, Function) and mechanism.levels is None:
        possible = np.isclose(factual[node], mechanism.value(factual), rtol=1e-9, atol=1e-12)
    else:
        possible = _rows(mechanism, factual, rows)[np.arange(rows), factual[node]] > 0
    _require_possible(scm, node, possible)


def _require_possible(scm: StructuralCausalModel, node: str, possible: np.ndarray) -> None:
    if not possible.all():
        first = int(np.flatnonzero(~possible)[0])
        causes = ", ".join(sorted(scm.graph.graph.predecessors(node)))
        given = f" given its {causes}" if causes else ""
        raise TableError(
            f"row {first} of the units has a value of '{node}' that the model rules out{given}; correct the row or the "
            "mechanism"
        )
