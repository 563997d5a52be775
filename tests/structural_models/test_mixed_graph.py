"""Latent projections against d-separation with the unmeasured nodes still in the graph."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np

from structural_models.mixed_graph import latent_projection


def test_the_projection_has_the_independences_of_the_graph(random_graph) -> None:
    rng = np.random.default_rng(1)
    separations = {True: 0, False: 0}
    for _ in range(40):
        graph = random_graph(rng, nodes="qaevw", latent=2, density=0.35)
        hidden = graph.latent | {str(rng.choice(list("evw")))}
        mixed = latent_projection(graph.graph, hidden)
        seen = sorted(set(graph.graph) - hidden)
        assert sorted(mixed.directed) == sorted(mixed.bidirected) == seen
        for first, second in combinations(seen, 2):
            given = {node for node in seen if node not in (first, second) and rng.random() < 0.5}
            wanted = nx.is_d_separator(graph.graph, {first}, {second}, given)
            assert mixed.separated([first], [second], given) == wanted
            separations[wanted] += 1
    assert min(separations.values()) >= 40


def test_what_leads_through_a_latent_node_leads_past_it() -> None:
    graph = nx.DiGraph([("a", "u"), ("u", "b"), ("u", "v"), ("v", "c"), ("w", "u"), ("w", "d")])
    mixed = latent_projection(graph, ["u", "v", "w"])
    assert set(mixed.directed.edges) == {("a", "b"), ("a", "c")}
    assert {frozenset(edge) for edge in mixed.bidirected.edges} == {frozenset(x) for x in ("bc", "bd", "cd")}
    assert mixed.districts() == [frozenset("a"), frozenset("bcd")]
    assert mixed.district("c") == frozenset("bcd")


def test_the_markov_blanket_screens_off_everything_earlier(random_graph) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        graph = random_graph(rng, latent=3)
        mixed = latent_projection(graph.graph, graph.latent)
        order = mixed.order()
        for place, node in enumerate(order):
            blanket = mixed.markov_blanket(node, order[:place])
            rest = set(order[:place]) - blanket
            assert not rest or mixed.separated([node], rest, blanket)


def test_surgery_leaves_the_graph_itself_alone() -> None:
    mixed = latent_projection(nx.DiGraph([("u", "a"), ("u", "b"), ("a", "b"), ("b", "c")]), ["u"])
    assert set(mixed.acting_on(["b"]).directed.edges) == {("b", "c")}
    assert not mixed.acting_on(["b"]).bidirected.edges
    assert set(mixed.muting(["b"]).directed.edges) == {("a", "b")}
    assert set(mixed.directed.edges) == {("a", "b"), ("b", "c")}
    assert mixed.bidirected.has_edge("a", "b")
