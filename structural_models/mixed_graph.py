"""What a graph with unmeasured nodes says of the measured ones: arrows, and common causes nobody has measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import combinations

import networkx as nx


@dataclass(frozen=True)
class MixedGraph:
    """An acyclic directed mixed graph.

    Attributes:
        directed: a → b.
        bidirected: a ↔ b, an unmeasured common cause; the same nodes as ``directed``.
    """

    directed: nx.DiGraph
    bidirected: nx.Graph

    def only(self, nodes: Collection[str]) -> MixedGraph:
        """The graph induced on ``nodes``."""
        return MixedGraph(self.directed.subgraph(nodes), self.bidirected.subgraph(nodes))

    def ancestors(self, nodes: Iterable[str]) -> frozenset[str]:
        """``nodes`` and everything with a directed path to one of them."""
        return frozenset().union(*({node} | nx.ancestors(self.directed, node) for node in nodes))

    def district(self, node: str) -> frozenset[str]:
        """Every node that bidirected edges link to ``node`` (its c-component), and ``node``."""
        return frozenset(nx.node_connected_component(self.bidirected, node))

    def districts(self) -> list[frozenset[str]]:
        """All districts, in alphabetical order of their first nodes."""
        return sorted(map(frozenset, nx.connected_components(self.bidirected)), key=sorted)

    def order(self) -> list[str]:
        """A topological order; the alphabet decides where the arrows leave it open."""
        return list(nx.lexicographical_topological_sort(self.directed))

    def markov_blanket(self, node: str, before: Collection[str]) -> frozenset[str]:
        """What ``node`` still depends on, of the nodes ``before`` it in a topological order.

        The rest of its district among them, and the parents of that district (Richardson 2003, ordered local Markov
        property).
        """
        so_far = self.only({*before, node})
        district = so_far.district(node)
        parents = frozenset().union(*(so_far.directed.predecessors(member) for member in district))
        return (district | parents) - {node}

    def acting_on(self, nodes: Collection[str]) -> MixedGraph:
        """Without any edge into ``nodes``: the graph of do(nodes)."""
        directed, bidirected = nx.DiGraph(self.directed), nx.Graph(self.bidirected)
        directed.remove_edges_from(list(self.directed.in_edges(nodes)))
        bidirected.remove_edges_from(list(self.bidirected.edges(nodes)))
        return MixedGraph(directed, bidirected)

    def muting(self, nodes: Collection[str]) -> MixedGraph:
        """Without any arrow out of ``nodes``."""
        directed = nx.DiGraph(self.directed)
        directed.remove_edges_from(list(self.directed.out_edges(nodes)))
        return MixedGraph(directed, self.bidirected)

    def separated(self, first: Collection[str], second: Collection[str], given: Collection[str]) -> bool:
        """m-separation: d-separation where every a ↔ b is a cause of its own."""
        drawn = nx.DiGraph(self.directed)
        for a, b in self.bidirected.edges:
            drawn.add_edges_from((((a, b), a), ((a, b), b)))
        return bool(nx.is_d_separator(drawn, set(first), set(second), set(given)))


def latent_projection(graph: nx.DiGraph, latent: Collection[str]) -> MixedGraph:
    """Take the latent nodes out of a directed acyclic graph, one after the other (Verma 1993).

    Whatever led through a latent node leads past it: a → u → b becomes a → b, and a ← u → b becomes a ↔ b. The result
    has the same independences among what is left, and the same interventional laws are identified from it.
    """
    directed = nx.DiGraph(graph.edges)
    directed.add_nodes_from(graph)
    bidirected = nx.Graph()
    bidirected.add_nodes_from(graph)
    for node in sorted(latent):
        causes, effects = list(directed.predecessors(node)), list(directed.successors(node))
        siblings = list(bidirected.neighbors(node))
        directed.add_edges_from((cause, effect) for cause in causes for effect in effects)
        bidirected.add_edges_from(combinations(effects, 2))
        bidirected.add_edges_from((sibling, effect) for sibling in siblings for effect in effects if sibling != effect)
        directed.remove_node(node)
        bidirected.remove_node(node)
    return MixedGraph(directed, bidirected)
