"""Random structural causal models small enough for a sum in plain Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import networkx as nx
import numpy as np
import pytest

from structural_models.generative.mechanisms import CategoricalLogit, CategoricalTable
from structural_models.generative.model import StructuralCausalModel
from structural_models.graph import CausalGraph

ROLES = {"treatment": "q", "outcome": "a"}


def random_model(seed: int, nodes: str = "qauvw", share: float = 0.6) -> StructuralCausalModel:
    """A random graph, 2 or 3 levels a node, tables and logits in turn."""
    rng = np.random.default_rng(seed)
    order = [str(node) for node in rng.permutation(list(nodes))]
    drawn = nx.DiGraph([(a, b) for i, a in enumerate(order) for b in order[i + 1 :] if rng.random() < share])
    drawn.add_nodes_from(nodes)
    graph = CausalGraph(f"random {seed}", drawn, ROLES)
    levels = {node: tuple(f"{node}{k}" for k in range(rng.integers(2, 4))) for node in nodes}
    mechanisms: dict[str, Any] = {}
    for node in sorted(nodes):
        parents = tuple(sorted(drawn.predecessors(node)))
        size = len(levels[node])
        if rng.random() < 0.5:
            shape = tuple(len(levels[parent]) for parent in parents)
            mechanisms[node] = CategoricalTable(levels[node], rng.dirichlet(np.ones(size), size=shape), parents)
        else:
            slopes = {parent: rng.normal(size=(len(levels[parent]), size)) for parent in parents}
            mechanisms[node] = CategoricalLogit(levels[node], rng.normal(size=size), slopes)
    return StructuralCausalModel(graph, mechanisms)


def worlds(scm: StructuralCausalModel, do: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], float]]:
    """Every assignment of levels and its probability under ``do``, by the truncated factorisation, in plain Python."""
    nodes = list(scm.mechanisms)
    for values in product(*(scm.mechanisms[node].levels for node in nodes)):
        world = dict(zip(nodes, values, strict=True))
        p = 1.0
        for node, value in world.items():
            mechanism = scm.mechanisms[node]
            at = mechanism.levels.index(value)
            position = {parent: scm.mechanisms[parent].levels.index(world[parent]) for parent in mechanism.parents}
            if node in do:
                p *= float(value == do[node])
            elif isinstance(mechanism, CategoricalTable):
                p *= float(mechanism.probabilities[tuple(position[parent] for parent in mechanism.parents)][at])
            else:
                logits = [float(z) for z in mechanism.intercepts]
                for parent, slope in mechanism.slopes.items():
                    logits = [z + float(slope[position[parent]][k]) for k, z in enumerate(logits)]
                odds = [float(np.exp(z)) for z in logits]
                p *= odds[at] / sum(odds)
        yield world, p


def summed(
    scm: StructuralCausalModel, node: str, do: Mapping[str, Any], given: Mapping[str, Any] | None = None
) -> np.ndarray:
    """(levels,) P(node | do, given)."""
    mass = dict.fromkeys(scm.mechanisms[node].levels, 0.0)
    for world, p in worlds(scm, do):
        if all(world[name] == value for name, value in (given or {}).items()):
            mass[world[node]] += p
    return np.array(list(mass.values())) / sum(mass.values())


@pytest.fixture(scope="session")
def model_of() -> Callable[[int], StructuralCausalModel]:
    return random_model


@pytest.fixture(scope="session")
def by_summing() -> Callable[..., np.ndarray]:
    return summed


@pytest.fixture(scope="session")
def paper() -> StructuralCausalModel:
    """Severity visible in a binary ECG; three levels of severity, two questions, a binary answer."""
    from structural_models.generative.mechanisms import bernoulli_logit
    from structural_models.graph import preset

    return StructuralCausalModel(
        preset("severity_visible"),
        {
            "severity": CategoricalTable((0, 1, 2), np.array([0.5, 0.3, 0.2])),
            "question": CategoricalTable((0, 1), np.array([[0.85, 0.15], [0.5, 0.5], [0.15, 0.85]]), ("severity",)),
            "ecg": CategoricalTable((0, 1), np.array([[0.7, 0.3], [0.5, 0.5], [0.3, 0.7]]), ("severity",)),
            "answer": bernoulli_logit(-2.0, {"severity": [0, 0.8, 1.6], "question": [0, 0.6], "ecg": [0, 0.5]}),
        },
    )
