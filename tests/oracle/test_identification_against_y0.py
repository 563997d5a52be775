"""What is identified, and what is not, against y0's ID and IDC (extra "oracle")."""

from __future__ import annotations

from collections.abc import Collection

import networkx as nx
import numpy as np
import pytest

from structural_models.do_calculus import Hedge, interventional_law
from structural_models.graph import PRESETS, CausalGraph, preset
from structural_models.mixed_graph import latent_projection

pytestmark = pytest.mark.oracle


def ours(graph: CausalGraph, given: Collection[str]) -> bool:
    mixed = latent_projection(graph.graph, graph.latent)
    try:
        interventional_law(mixed, [graph.node("outcome")], [graph.node("treatment")], given)
    except Hedge:
        return False
    return True


def theirs(graph: CausalGraph, given: Collection[str]) -> bool:
    """By y0's ID, after conditions have become interventions where networkx finds the separation that allows it.

    y0's own IDC (0.2.11) is no oracle: it refuses some laws that plainly are identified, such as P(a | do(q), e, v)
    where e and v are all the treatment's causes and v ↔ a, v ↔ e; and it loses a node whose last edge it cuts.
    """
    pytest.importorskip("y0")
    from y0.algorithm.identify import identify_outcomes
    from y0.dsl import Variable
    from y0.graph import NxMixedGraph

    outcome, acted, held = graph.node("outcome"), {graph.node("treatment")}, set(given)
    exchanged = True
    while exchanged:
        exchanged = False
        for node in sorted(held):
            cut = nx.DiGraph(graph.graph)
            cut.remove_edges_from([*cut.in_edges(acted), *cut.out_edges(node)])
            if nx.is_d_separator(cut, {outcome}, {node}, acted | held - {node}):
                acted, held, exchanged = acted | {node}, held - {node}, True
                break
    mixed = latent_projection(graph.graph, graph.latent)
    drawn = NxMixedGraph.from_edges(
        nodes=[Variable(node) for node in mixed.directed],
        directed=[(Variable(a), Variable(b)) for a, b in mixed.directed.edges],
        undirected=[(Variable(a), Variable(b)) for a, b in mixed.bidirected.edges],
    )
    return (
        identify_outcomes(drawn, set(map(Variable, acted)), {Variable(node) for node in (outcome, *held)}) is not None
    )


def presets() -> list[CausalGraph]:
    graphs = [preset(name) for name in PRESETS]
    return graphs + [graph.with_latent(graph.node("severity")) for graph in graphs]


@pytest.mark.parametrize("graph", presets(), ids=lambda graph: f"{graph.name}-{len(graph.latent)}")
def test_verdicts_on_the_presets_with_severity_measured_and_hidden(graph: CausalGraph) -> None:
    for given in ([], [graph.node("ecg")]):
        assert ours(graph, given) == theirs(graph, given)


@pytest.mark.parametrize("given", [[], ["e"], ["e", "v"]], ids=["marginal", "given e", "given e and v"])
def test_verdicts_on_random_graphs(given: list[str], random_graph) -> None:
    rng = np.random.default_rng(20 + len(given))
    verdicts = []
    for _ in range(150):
        graph = random_graph(rng, latent=int(rng.integers(2, 5)))
        verdicts.append(ours(graph, given))
        assert verdicts[-1] == theirs(graph, given), (sorted(graph.graph.edges), given)
    assert min(sum(verdicts), 150 - sum(verdicts)) >= 20


def test_latent_projections_are_those_of_y0(random_graph) -> None:
    pytest.importorskip("y0")
    from y0.algorithm.simplify_latent import simplify_latent_dag
    from y0.dsl import Variable
    from y0.graph import NxMixedGraph, set_latent

    rng = np.random.default_rng(9)
    for _ in range(60):
        drawn = random_graph(rng, nodes="qaevwx")
        latent = drawn.latent | {str(node) for node in rng.choice(list("evwx"), 2, replace=False)}
        labelled = nx.relabel_nodes(nx.DiGraph(drawn.graph), Variable)
        set_latent(labelled, [Variable(node) for node in latent])
        wanted = NxMixedGraph.from_latent_variable_dag(simplify_latent_dag(labelled).graph)
        found = latent_projection(drawn.graph, latent)
        assert {*found.directed.edges} == {(a.name, b.name) for a, b in wanted.directed.edges}
        bidirected = {frozenset(edge) for edge in found.bidirected.edges}
        assert bidirected == {frozenset((a.name, b.name)) for a, b in wanted.undirected.edges}
