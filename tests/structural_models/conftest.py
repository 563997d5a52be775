"""A structural causal model small enough to enumerate, as a law and as a table that holds it exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import networkx as nx
import numpy as np
import pandas as pd
import pytest

SEVERITY = np.array([5, 3, 2]) / 10
STYLE = np.array([[6, 3, 1], [3, 4, 3], [1, 2, 7]]) / 10
ECG = np.array([1, 2, 3]) / 4
ANSWER = np.array([[[1, 2], [2, 3], [2, 5]], [[2, 4], [4, 6], [5, 7]], [[4, 6], [6, 8], [7, 9]]]) / 10


@dataclass(frozen=True)
class Toy:
    """Three severities, three styles, a binary ECG and answer; ``table`` has 4,000 rows in exact proportions."""

    table: pd.DataFrame
    do: np.ndarray
    do_given_ecg: np.ndarray


@pytest.fixture(scope="session")
def toy() -> Toy:
    rows: list[tuple[int, str, int, int]] = []
    for s, f, e, a in product(range(3), range(3), range(2), range(2)):
        p_e = ECG[s] if e else 1 - ECG[s]
        p_a = ANSWER[s, f, e] if a else 1 - ANSWER[s, f, e]
        rows += [(s, "abc"[f], e, a)] * round(4000 * SEVERITY[s] * STYLE[s, f] * p_e * p_a)
    table = pd.DataFrame(rows, columns=["severity", "style", "ecg", "answer"])
    assert len(table) == 4000
    law = np.stack([1 - ECG, ECG], axis=1)
    do = np.einsum("s,se,sfe->f", SEVERITY, law, ANSWER)
    joint = SEVERITY[:, None] * law
    do_given_ecg = np.einsum("se,sfe->fe", joint / joint.sum(axis=0), ANSWER)
    return Toy(table, do, do_given_ecg)


@dataclass(frozen=True)
class BinaryLaw:
    """A joint law of binary nodes: one axis per node, in the order of ``nodes``."""

    nodes: tuple[str, ...]
    joint: np.ndarray

    def marginal(self, keep: Sequence[str]) -> np.ndarray:
        """Joint law of ``keep``, axes in that order."""
        dropped = tuple(i for i, node in enumerate(self.nodes) if node not in keep)
        left = [node for node in self.nodes if node in keep]
        return self.joint.sum(axis=dropped).transpose([left.index(node) for node in keep])

    def conditional(self, of: Sequence[str], given: Sequence[str]) -> np.ndarray:
        """P(of | given), axes of ``given`` first."""
        both = self.marginal([*given, *of])
        return both / both.sum(axis=tuple(range(len(given), both.ndim)), keepdims=True)


LawOf = Callable[[nx.DiGraph, np.random.Generator, Mapping[str, int] | None], BinaryLaw]


@pytest.fixture(scope="session")
def law_of() -> LawOf:
    """Draws conditional tables for a graph from a generator and multiplies them; ``do`` sets nodes to values."""

    def build(graph: nx.DiGraph, rng: np.random.Generator, do: Mapping[str, int] | None = None) -> BinaryLaw:
        nodes = tuple(sorted(graph))
        joint = np.ones((2,) * len(nodes))
        for node in nodes:
            parents = sorted(graph.predecessors(node))
            one = rng.uniform(0.1, 0.9, size=(2,) * len(parents))
            if do and node in do:
                one = np.full(one.shape, float(do[node]))
            table = np.stack([1 - one, one], axis=-1)
            axes = [nodes.index(name) for name in (*parents, node)]
            shape = [2 if i in axes else 1 for i in range(len(nodes))]
            joint = joint * table.transpose(np.argsort(axes)).reshape(shape)
        return BinaryLaw(nodes, joint)

    return build
