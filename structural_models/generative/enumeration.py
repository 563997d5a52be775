"""Exact probabilities of a structural causal model by variable elimination, in float64.

Source: Koller & Friedman 2009, "Probabilistic Graphical Models", §9.3; of what is left to eliminate, the node whose
factor is smallest goes first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from structural_models.errors import GraphError, TableError
from structural_models.generative.mechanisms import LinearGaussian
from structural_models.generative.model import StructuralCausalModel


@dataclass(frozen=True)
class _Factor:
    """A non-negative function of nodes with levels, one axis each."""

    nodes: tuple[str, ...]
    array: np.ndarray


def event_probability(scm: StructuralCausalModel, event: Mapping[str, Any], given: Mapping[str, Any]) -> float:
    """P(event | given) under the model's interventions; see :meth:`StructuralCausalModel.probability`."""
    wanted = {node: scm.value(node, value, "event") for node, value in event.items()}
    for node in wanted:
        scm.finite_levels(node)
    seen = evidence(scm, given)
    fixed = {**scm.interventions, **seen}
    normaliser = _mass(scm, seen)
    if not normaliser > 0:
        raise TableError(_impossible(seen))
    if any(fixed.get(node, value) != value for node, value in wanted.items()):
        return 0.0
    free = {node: value for node, value in wanted.items() if node not in scm.interventions}
    return min(1.0, _mass(scm, {**seen, **free}) / normaliser)


def conditional_law(scm: StructuralCausalModel, node: str, given: Mapping[str, Any]) -> np.ndarray:
    """(levels,) P(node | given) under the model's interventions; see :meth:`StructuralCausalModel.law`."""
    levels = scm.finite_levels(node)
    seen = evidence(scm, given)
    fixed = {**scm.interventions, **seen}
    if node in fixed:
        return np.asarray(np.eye(len(levels))[levels.index(fixed[node])])
    joint = eliminated(scm, (node,), seen)
    if not joint.sum() > 0:
        raise TableError(_impossible(seen))
    return np.asarray(joint / joint.sum())


def evidence(scm: StructuralCausalModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is seen, without what was imposed anyway. Raises TableError where the two contradict each other."""
    seen = {node: scm.value(node, value, "given") for node, value in given.items()}
    for node, value in seen.items():
        if scm.interventions.get(node, value) != value:
            raise TableError(f"given sets node '{node}' to '{value}', but do holds it at '{scm.interventions[node]}'")
    return {node: value for node, value in seen.items() if node not in scm.interventions}


def needed_nodes(scm: StructuralCausalModel, targets: Collection[str], seen: Collection[str]) -> list[str]:
    """The nodes that probabilities of ``targets`` and ``seen`` depend on, causes first, without those intervened on.

    Raises GraphError where a quantity among them would have to be integrated over.
    """
    cut = nx.DiGraph(scm.graph.graph)
    cut.remove_edges_from(list(scm.graph.graph.in_edges(scm.interventions)))
    asked = set(targets) | set(seen)
    wanted = asked.union(*(nx.ancestors(cut, node) for node in asked)) - set(scm.interventions)
    for node in scm.order:
        if node in wanted and node not in seen and scm.levels(node) is None:
            raise GraphError(
                f"node '{node}' is a quantity that the probability depends on; give its value in do or given, or "
                "sample the model instead"
            )
    return [node for node in scm.order if node in wanted]


def eliminated(scm: StructuralCausalModel, keep: Sequence[str], seen: Mapping[str, Any]) -> np.ndarray:
    """(levels of the first of ``keep``, ...) joint probability of ``keep`` and what is ``seen``; a density where that
    has quantities."""
    nodes = needed_nodes(scm, keep, seen)
    fixed = {node: scm.code(node, value) for node, value in {**scm.interventions, **seen}.items()}
    factors = [_factor(scm, node, fixed) for node in nodes]
    left = set(nodes) - set(keep) - set(fixed)
    while left:
        node = min(sorted(left), key=lambda candidate: _size(scm, candidate, factors))
        touching = [factor for factor in factors if node in factor.nodes]
        scope = tuple(sorted({name for factor in touching for name in factor.nodes} - {node}))
        factors = [factor for factor in factors if node not in factor.nodes] + [_product(touching, scope)]
        left.remove(node)
    return _product(factors, tuple(keep)).array


def _mass(scm: StructuralCausalModel, seen: Mapping[str, Any]) -> float:
    return float(eliminated(scm, (), seen)) if seen else 1.0


def _factor(scm: StructuralCausalModel, node: str, fixed: Mapping[str, Any]) -> _Factor:
    """The mechanism of a node as a function of those of its family that are not fixed."""
    mechanism = scm.mechanism(node)
    free = tuple(parent for parent in mechanism.parents if parent not in fixed)
    parents = {}
    for axis, parent in enumerate(free):
        size = len(scm.finite_levels(parent))
        parents[parent] = np.arange(size).reshape([size if i == axis else 1 for i in range(len(free))])
    parents |= {parent: np.asarray(fixed[parent]) for parent in mechanism.parents if parent in fixed}
    shape = tuple(len(scm.finite_levels(parent)) for parent in free)
    if isinstance(mechanism, LinearGaussian):
        return _Factor(free, np.broadcast_to(mechanism.density(parents, fixed[node]), shape))
    if mechanism.levels is None:
        raise GraphError(f"node '{node}' is a function that gives a quantity; nothing can be conditioned on its value")
    law = mechanism.law(parents)
    law = np.broadcast_to(law, (*shape, law.shape[-1]))
    return _Factor(free, law[..., fixed[node]]) if node in fixed else _Factor((*free, node), law)


def _size(scm: StructuralCausalModel, node: str, factors: Sequence[_Factor]) -> int:
    scope = {name for factor in factors if node in factor.nodes for name in factor.nodes}
    return int(np.prod([len(scm.finite_levels(name)) for name in scope]))


def _product(factors: Sequence[_Factor], scope: tuple[str, ...]) -> _Factor:
    """The product of factors, summed down to ``scope``."""
    if not factors:
        return _Factor((), np.ones(()))
    number = {name: i for i, name in enumerate(sorted({name for factor in factors for name in factor.nodes}))}
    operands: list[Any] = []
    for factor in factors:
        operands += [factor.array, [number[name] for name in factor.nodes]]
    return _Factor(scope, np.einsum(*operands, [number[name] for name in scope], optimize="greedy"))


def _impossible(seen: Mapping[str, Any]) -> str:
    text = ", ".join(f"{node} = {value}" for node, value in seen.items())
    return f"given {text} has probability zero in this model, so nothing can be conditioned on it"
