"""What a graph says about data: which of the measured nodes are independent, given which others.

Source: Pearl 2009, "Causality", section 1.2 (d-separation, the parental Markov condition); van der Zander & Liśkiewicz
2020, "Finding minimal d-separators in linear time" (the search, as networkx has it).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import networkx as nx

from structural_models.graph import CausalGraph, Path
from structural_models.json_values import plain


@dataclass(frozen=True, order=True)
class Independence:
    """``first`` ⟂ ``second`` | ``given``; :meth:`of` orders nodes and sides, so that equal claims are equal."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    given: tuple[str, ...] = ()

    @classmethod
    def of(cls, first: Collection[str], second: Collection[str], given: Collection[str] = ()) -> Independence:
        """The smaller side comes first, then the alphabet decides."""
        sides = sorted((tuple(sorted(first)), tuple(sorted(second))), key=lambda side: (len(side), side))
        return cls(sides[0], sides[1], tuple(sorted(given)))

    @property
    def nodes(self) -> tuple[str, ...]:
        return (*self.first, *self.second, *self.given)

    def __str__(self) -> str:
        given = f" | {', '.join(self.given)}" if self.given else ""
        return f"{_side(self.first)} ⟂ {_side(self.second)}{given}"


def _side(nodes: tuple[str, ...]) -> str:
    return nodes[0] if len(nodes) == 1 else "{" + ", ".join(nodes) + "}"


@dataclass(frozen=True)
class Unseparated:
    """Two measured nodes without an arrow between them that no set of measured nodes separates.

    Attributes:
        path: stays open whatever is held, e.g. "question ← severity → answer".
    """

    first: str
    second: str
    path: str

    @property
    def reason(self) -> str:
        return f"no set of measured nodes separates them: {self.path} stays open"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reason": self.reason}


@dataclass(frozen=True)
class Implications:
    """What :func:`implied_independences` found.

    Attributes:
        pairs: one independence per pair that measured nodes can separate, given a minimal separating set.
        joint: the same ones taken together, where a node has the same separating set from several others.
        unseparated: the pairs that nothing measured separates.
    """

    pairs: tuple[Independence, ...]
    joint: tuple[Independence, ...]
    unseparated: tuple[Unseparated, ...]

    @property
    def testable(self) -> tuple[Independence, ...]:
        return (*self.pairs, *self.joint)

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = plain({name: list(map(asdict, getattr(self, name))) for name in ("pairs", "joint")})
        return {**record, "unseparated": [pair.to_dict() for pair in self.unseparated]}


def implied_independences(graph: CausalGraph) -> Implications:
    """Every pair of measured nodes that have no arrow between them, with a minimal set that separates them.

    Minimal: without any one of its nodes it would not separate. Which independence holds given which other sets follows
    from these, where everything is measured.
    """
    pairs: list[Independence] = []
    unseparated: list[Unseparated] = []
    for one, other in combinations(sorted(graph.observed), 2):
        if graph.graph.has_edge(one, other) or graph.graph.has_edge(other, one):
            continue
        given = nx.find_minimal_d_separator(graph.graph, one, other, restricted=graph.observed - {one, other})
        if given is None:
            unseparated.append(Unseparated(one, other, graph.path_text(_never_closed(graph, one, other))))
        else:
            pairs.append(Independence.of([one], [other], given))
    return Implications(tuple(pairs), tuple(_joint(pairs)), tuple(unseparated))


def _joint(pairs: Collection[Independence]) -> Iterator[Independence]:
    """d-separation is compositional: what is separated from each is separated from all."""
    partners: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for pair in pairs:
        for one, other in ((pair.first[0], pair.second[0]), (pair.second[0], pair.first[0])):
            partners.setdefault((one, pair.given), []).append(other)
    for (node, given), others in sorted(partners.items()):
        if len(others) > 1:
            yield Independence.of([node], others, given)


def _never_closed(graph: CausalGraph, one: str, other: str) -> Path:
    """A shortest path that is open given all measured ancestors of both; where those do not separate, nothing does."""
    ancestors = nx.ancestors(graph.graph, one) | nx.ancestors(graph.graph, other)
    held = (ancestors & graph.observed) - {one, other}
    opened = held.union(*(nx.ancestors(graph.graph, node) for node in held))
    for path in nx.shortest_simple_paths(graph.graph.to_undirected(), one, other):
        triples = zip(path, path[1:], path[2:], strict=False)
        if all(_passes(graph.graph, triple, held, opened) for triple in triples):
            return list(path)
    raise AssertionError(f"{one} and {other} are separated by {sorted(held)}")


def _passes(graph: nx.DiGraph, triple: tuple[str, str, str], held: Collection[str], opened: Collection[str]) -> bool:
    before, node, after = triple
    collider = graph.has_edge(before, node) and graph.has_edge(after, node)
    return node in opened if collider else node not in held


def parental_independences(graph: CausalGraph) -> tuple[Independence, ...]:
    """The parental Markov condition: each node ⟂ each non-descendant that is no parent, given its parents.

    One entry per node and non-descendant, so two nodes of the same parents give the same one twice, as in dowhy.gcm and
    in Eulig et al. 2023. Latent nodes count like any other.
    """
    found = []
    for node in sorted(graph.graph):
        parents = set(graph.graph.predecessors(node))
        others = set(graph.graph) - nx.descendants(graph.graph, node) - parents - {node}
        found += [Independence.of([node], [other], parents) for other in sorted(others)]
    return tuple(found)
