"""Sets of observed nodes to adjust for. The one place that speaks to DoWhy.

DoWhy's default searches try subsets one by one: with 18 confounders ``minimal-adjustment`` gives up after 100,000 of
them and reports that none exists. Its efficient searches (Rotnitzky & Smucler 2020; Smucler, Sapienza & Rotnitzky 2022;
Smucler & Rotnitzky 2022) are cuts in a small undirected graph, but list every path to build it: 35 s for 8 confounders,
a crash where two causal paths begin with the same arrow. That graph is built here without paths; the cuts are DoWhy's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any, Literal

import networkx as nx

from structural_models.graph import CausalGraph

Preference = Literal["minimal", "efficient"]


def adjustment_set(graph: CausalGraph, held: Sequence[str], prefer: Preference) -> tuple[tuple[str, ...], bool] | None:
    """What to adjust for besides ``held``, such that the two together close every back-door path.

    Args:
        held: observed nodes that are conditioned on anyway; no consequences of treatment or outcome.
        prefer: "minimal": as few nodes as possible; among equally small sets one that holds the severity, and among
            those the one of smallest asymptotic variance. "efficient": the smallest asymptotic variance of all sets;
            where unmeasured nodes leave open whether there is such a set, the best of those without superfluous nodes.

    Returns:
        The nodes, sorted, and whether no other set has a smaller asymptotic variance. None where no set will do.
    """
    # DoWhy marks nodes with ' and ''; names of our own keep a node called A' apart from those.
    alias = {node: f"n{place}" for place, node in enumerate(sorted(graph.graph))}
    name = {short: node for node, short in alias.items()}
    with quiet("dowhy"):
        search = _search(_renamed(graph, alias), [alias[node] for node in held])
        if search is None:
            return None
        if prefer == "minimal":
            found, best = search.optimal_mincost_adj_set(), False
        else:
            try:
                found, best = search.optimal_adj_set(), True
            except ValueError:
                found, best = search.optimal_minimal_adj_set(), False
    return tuple(sorted({name[short] for short in found} - set(held))), best


def _renamed(graph: CausalGraph, names: Mapping[str, str]) -> CausalGraph:
    roles = {role: names[node] for role, node in graph.roles.items()}
    latent = frozenset(names[node] for node in graph.latent)
    return CausalGraph(graph.name, nx.relabel_nodes(graph.graph, names), roles, latent)


def _search(graph: CausalGraph, held: Sequence[str]) -> Any | None:
    """DoWhy's search on ``graph``, or None where no adjustment set exists."""
    from dowhy.causal_identifier.efficient_backdoor import EfficientBackdoor

    class Search(EfficientBackdoor):
        """The same search, each of these three without listing paths."""

        def causal_vertices(self) -> set[str]:
            return nx.descendants(self.graph, treatment) & (nx.ancestors(self.graph, outcome) | {outcome})

        def backdoor_graph(self, G: nx.DiGraph) -> nx.DiGraph:
            cut = nx.DiGraph(G)
            cut.remove_edges_from([(treatment, node) for node in self.causal_vertices()])
            return cut

        def build_H1(self) -> nx.Graph:
            moral, ignored = self.build_H0(), self.ignore()
            kept = nx.Graph(moral.subgraph(set(moral) - ignored))
            for part in nx.connected_components(moral.subgraph(ignored)):
                kept.add_edges_from(combinations(nx.node_boundary(moral, part), 2))
            kept.add_edges_from((node, end) for node in self.conditional_node_names for end in (treatment, outcome))
            return kept

    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    # A consequence of the treatment is in no adjustment set, so it may as well be unmeasured; measured, it would hide
    # from DoWhy that an optimal set exists.
    usable = graph.observed - nx.descendants(graph.graph, treatment) if graph.latent else graph.observed
    severity = graph.roles.get("severity")
    one = len(graph.graph) + 1
    search = Search(
        nx.DiGraph(graph.graph),
        [treatment],
        [outcome],
        sorted(usable | {treatment, outcome}),
        conditional_node_names=list(held),
        costs=[(node, {"cost": one - 1 if node == severity else one}) for node in sorted(graph.graph)],
    )
    return None if search.build_H1().has_edge(treatment, outcome) else search


@contextmanager
def quiet(package: str) -> Iterator[None]:
    """Only errors of a package's logger."""
    logger = logging.getLogger(package)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
