"""The front-door criterion: an effect read off the nodes that carry it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

import networkx as nx

from structural_models.expressions import Expression, Law, product, total
from structural_models.graph import CausalGraph

#: Larger sets are left to the ID algorithm, which finds the same law.
_MOST = 3


def frontdoor_set(graph: CausalGraph, held: Collection[str]) -> tuple[str, ...] | None:
    """A smallest set of observed nodes that fulfils the front-door criterion given ``held`` (Pearl 2009, 3.3.4).

    It lies on every directed path from treatment to outcome; no back-door path leads from the treatment to it, and the
    treatment blocks those from it to the outcome. ``held``: no consequences of the treatment.

    Returns:
        At most three nodes, sorted; None where there is no such set.
    """
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    carrying = nx.descendants(graph.graph, treatment) & nx.ancestors(graph.graph, outcome) & graph.observed
    muted = _muted(graph.graph, [treatment])
    clean = [node for node in sorted(carrying) if nx.is_d_separator(muted, {treatment}, {node}, set(held))]
    for size in range(1, min(_MOST, len(clean)) + 1):
        for chosen in combinations(clean, size):
            around = nx.DiGraph(graph.graph)
            around.remove_nodes_from(chosen)
            if not nx.has_path(around, treatment, outcome) and nx.is_d_separator(
                _muted(graph.graph, chosen), set(chosen), {outcome}, {*held, treatment}
            ):
                return chosen
    return None


def _muted(graph: nx.DiGraph, nodes: Collection[str]) -> nx.DiGraph:
    """Without the arrows out of ``nodes``."""
    cut = nx.DiGraph(graph)
    cut.remove_edges_from(list(graph.out_edges(nodes)))
    return cut


def frontdoor_law(graph: CausalGraph, held: Sequence[str], mediators: Sequence[str]) -> Expression:
    """Σ_m P(m | held, Q) Σ_q P(A | held, m, q) P(q | held)."""
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    behind = product([Law((outcome,), (*held, *mediators, treatment)), Law((treatment,), tuple(held))])
    return total(mediators, product([Law(tuple(mediators), (*held, treatment)), total([treatment], behind)]))
