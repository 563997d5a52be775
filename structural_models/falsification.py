"""Is a graph better than the same graph with its nodes exchanged?

Any large data set contradicts some implication of any graph. So the graph's violations are compared with those of the
graphs one gets by exchanging its nodes, which claim as much: if many of these are violated no more, the graph says
nothing right about which node is which. Where many of them imply just what the graph implies, the comparison cannot
tell, whatever the data.

Source: Eulig, Mastakouri, Blöbaum, Hardt & Janzing 2023, "Toward falsifying causal graphs using a permutation-based
test" (arXiv 2305.09565); dowhy.gcm.falsify is the authors' implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import permutations
from typing import Any, Literal

import numpy as np

from structural_models.graph import CausalGraph
from structural_models.implications import Independence, implied_independences, parental_independences
from structural_models.json_values import plain

Verdict = Literal["falsified", "not falsified", "not informative"]
#: With no more nodes, every exchange is looked at (7! = 5,040).
MOST_NODES_ENUMERATED = 7


@dataclass(frozen=True)
class Falsification:
    """What :meth:`NodePermutations.judge` found.

    Attributes:
        graph: its name.
        nodes: that were exchanged.
        permutations: of the nodes, the given order among them.
        exact: whether these are all there are; else they were drawn.
        tests: independences of the graph that could be tested.
        violations: of these, how many were rejected.
        share_no_worse: of permutations with no larger share of their independences rejected; NaN where that is not
            informative.
        share_equivalent: of permutations that imply what the graph implies, so that no data can tell them apart.
        level: both shares are compared with it.
        verdict: "not informative" where ``share_equivalent`` exceeds the level or nothing could be tested; else
            "falsified" where ``share_no_worse`` exceeds it; else "not falsified".
    """

    graph: str
    nodes: tuple[str, ...]
    permutations: int
    exact: bool
    tests: int
    violations: int
    share_no_worse: float
    share_equivalent: float
    level: float
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = plain(asdict(self))
        return record


@dataclass(frozen=True)
class NodePermutations:
    """A graph's independences, and the same with its nodes exchanged; the given order comes first.

    Made by :func:`node_permutations`.

    Attributes:
        graph: whose nodes were exchanged.
        nodes: those exchanged.
        exact: whether all orders are here.
        claims: independences of the graph, then of each permutation.
    """

    graph: CausalGraph
    nodes: tuple[str, ...]
    exact: bool
    claims: tuple[tuple[Independence, ...], ...]

    @cached_property
    def share_equivalent(self) -> float:
        """Of the permutations that imply what the graph implies."""
        holds = {one: self.graph.independent(one.first, one.second, one.given) for one in _distinct(self.claims)}
        return float(np.mean([all(map(holds.__getitem__, claimed)) for claimed in self.claims]))

    def asked(self, level: float = 0.05) -> tuple[Independence, ...]:
        """Every independence that :meth:`judge` will ask for at this level, once: the graph's own, and those of its
        permutations where the comparison can tell anything."""
        return _distinct(self.claims[:1] if self.share_equivalent > level else self.claims)

    def judge(
        self, p_value: Callable[[Independence], float], *, level: float = 0.05, test_level: float = 0.05
    ) -> Falsification:
        """Compare the graph with its permutations.

        Args:
            p_value: of an independence; NaN where it cannot be tested, and then it counts nothing.
            level: of the comparison.
            test_level: an independence is violated where its p is at most this.
        """
        p = {independence: p_value(independence) for independence in self.asked(level)}
        violations, tests = _violations(self.claims[0], p, test_level)
        informative = self.share_equivalent <= level and tests > 0
        no_worse = float("nan")
        if informative:
            # Shares of the tests that could be made, compared without rounding.
            counts = [_violations(claimed, p, test_level) for claimed in self.claims]
            no_worse = float(np.mean([v * tests <= violations * n for v, n in counts if n]))
        verdict: Verdict = "falsified" if no_worse > level else "not falsified"
        return Falsification(
            graph=self.graph.name,
            nodes=self.nodes,
            permutations=len(self.claims),
            exact=self.exact,
            tests=tests,
            violations=violations,
            share_no_worse=no_worse,
            share_equivalent=self.share_equivalent,
            level=level,
            verdict=verdict if informative else "not informative",
        )


def node_permutations(
    graph: CausalGraph, *, held: Sequence[str] = (), rng: np.random.Generator, draws: int = 999
) -> NodePermutations:
    """A graph and its node permutations: all of them for up to :data:`MOST_NODES_ENUMERATED` nodes.

    Where every node is measured, the independences compared are the parental ones
    (:func:`~structural_models.implications.parental_independences`). With latent nodes, which stay in their places,
    they are those of pairs (:func:`~structural_models.implications.implied_independences`), and a permutation counts
    as equivalent where all that would be tested of it holds in the graph too.

    Args:
        held: nodes held fixed in every test: they stay in their places too, and every independence is given them. One
            that does not survive that is left out.
        draws: permutations to draw where there are more nodes.

    Raises GraphError for a node in ``held`` that is not in the graph.
    """
    for node in held:
        graph.require_node(node, "as held fixed")
    nodes = tuple(sorted(graph.observed - set(held)))
    claimed = tuple(_given_too(graph, held))
    exact = len(nodes) <= MOST_NODES_ENUMERATED
    orders = permutations(nodes) if exact else _drawn(nodes, rng, draws)
    claims = [tuple(_renamed(one, dict(zip(nodes, order, strict=True))) for one in claimed) for order in orders]
    return NodePermutations(graph, nodes, exact, tuple(claims))


def _given_too(graph: CausalGraph, held: Sequence[str]) -> Iterator[Independence]:
    for one in implied_independences(graph).pairs if graph.latent else parental_independences(graph):
        given = {*one.given, *held}
        if given.isdisjoint((*one.first, *one.second)) and graph.independent(one.first, one.second, given):
            yield Independence.of(one.first, one.second, given)


def _drawn(nodes: tuple[str, ...], rng: np.random.Generator, draws: int) -> Iterator[tuple[str, ...]]:
    yield nodes
    for _ in range(draws):
        yield tuple(nodes[i] for i in rng.permutation(len(nodes)))


def _renamed(independence: Independence, names: dict[str, str]) -> Independence:
    first, second, given = (
        [names.get(node, node) for node in side]
        for side in (independence.first, independence.second, independence.given)
    )
    return Independence.of(first, second, given)


def _distinct(claims: Sequence[tuple[Independence, ...]]) -> tuple[Independence, ...]:
    return tuple(sorted({independence for claimed in claims for independence in claimed}))


def _violations(claimed: Sequence[Independence], p: dict[Independence, float], level: float) -> tuple[int, int]:
    """How many are violated, and how many could be tested."""
    made = [p[one] for one in claimed if p[one] == p[one]]
    return sum(value <= level for value in made), len(made)
