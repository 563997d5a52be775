"""Instruments: what moves the treatment, and the outcome only through it."""

from __future__ import annotations

from collections.abc import Collection

import networkx as nx

from structural_models.graph import CausalGraph


def instruments(graph: CausalGraph, held: Collection[str]) -> tuple[str, ...]:
    """Observed nodes that are instruments given ``held`` (Pearl 2009, definition 7.4.1), sorted.

    Such a node depends on the treatment given ``held``, and no longer on the outcome once the treatment is set. Alone
    it only bounds P(outcome | do(treatment)).
    """
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    done = nx.DiGraph(graph.graph)
    done.remove_edges_from(list(graph.graph.in_edges(treatment)))
    others = graph.observed - nx.descendants(graph.graph, treatment) - {treatment, outcome, *held}
    return tuple(
        node
        for node in sorted(others)
        if not graph.independent([node], [treatment], held) and nx.is_d_separator(done, {node}, {outcome}, set(held))
    )
