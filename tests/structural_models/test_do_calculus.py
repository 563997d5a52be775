"""ID and IDC: formulas against truncated factorisation of random laws, verdicts against enumeration and known cases."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from structural_models.do_calculus import Hedge, interventional_law
from structural_models.expressions import evaluate, free, text
from structural_models.graph import CausalGraph
from structural_models.mixed_graph import latent_projection


def written(edges: str, latent: str = "", given: str = "") -> str:
    """The formula of P(a | given, do(q)) in a graph of one-letter nodes, edges as "qa sa"."""
    graph = nx.DiGraph([tuple(edge) for edge in edges.split()])
    found = interventional_law(latent_projection(graph, latent), ["a"], ["q"], list(given))
    capital = {node: node.upper() for node in ("a", *given, "q")}
    return text(found, {**capital, **{node: node for node in free(found) - set(capital)}}, {n: n for n in graph})


@pytest.mark.parametrize(
    ("edges", "latent", "given", "formula"),
    [
        ("qa", "", "", "P(A | Q)"),
        ("qa sq sa", "", "", "Σ_s P(A | Q, s) P(s)"),
        ("aq", "", "", "P(A)"),
        ("qm ma uq ua", "u", "", "Σ_m P(m | Q) Σ_q P(A | m, q) P(q)"),
        ("qm ma uq ua ue ea", "u", "e", "Σ_m P(m | Q) Σ_q P(A | E, m, q) P(q | E)"),
        ("wz zq qa uw uq vw va", "uv", "", "[Σ_w P(A | Q, z, w) P(Q | z, w) P(w)] / [Σ_w P(Q | z, w) P(w)]"),
        ("qa sq sa se ea", "", "e", "[Σ_s P(A | E, Q, s) P(E | s) P(s)] / [Σ_s P(E | s) P(s)]"),
    ],
    ids=["none", "back-door", "reversed", "front-door", "front-door given e", "napkin", "visible severity"],
)
def test_textbook_graphs(edges: str, latent: str, given: str, formula: str) -> None:
    assert written(edges, latent, given) == formula


@pytest.mark.parametrize(
    ("edges", "latent"),
    [
        ("qa uq ua", "u"),
        ("zq qa uq ua", "u"),
        ("qz za uq uz", "u"),
        ("qm ma uq um ua", "u"),
        ("qw wa uq ua vw va", "uv"),
    ],
    ids=["bow", "instrument", "confounded mediator", "one cause of all three", "blocked front door"],
)
def test_textbook_graphs_without_a_formula(edges: str, latent: str) -> None:
    with pytest.raises(Hedge) as caught:
        written(edges, latent)
    assert "q" in caught.value.around - caught.value.inside
    assert caught.value.inside < caught.value.around


def agreement(graph, given: list[str], law_of, seed: int) -> bool:
    """Whether P(a | do(q), given) is identified; where it is, its formula is checked on a random law."""
    mixed = latent_projection(graph.graph, graph.latent)
    try:
        found = interventional_law(mixed, ["a"], ["q"], given)
    except Hedge:
        return False
    law = law_of(graph.graph, np.random.default_rng(seed), None)
    nodes = sorted(graph.observed)
    result = evaluate(found, law.marginal(nodes), nodes)
    assert free(found) <= graph.observed
    for q in (0, 1):
        done = law_of(graph.graph, np.random.default_rng(seed), {"q": q})
        truth = done.conditional(["a"], given) if given else done.marginal(["a"])
        shape = [2 if node in ("a", *given) else 1 for node in nodes]
        order = np.argsort([nodes.index(node) for node in (*given, "a")])
        wanted = truth.transpose(order).reshape(shape)
        at = np.take(result, [min(q, result.shape[nodes.index("q")] - 1)], axis=nodes.index("q"))
        # Whatever else the formula mentions must make no difference.
        assert np.abs(at - wanted).max() < 1e-10
    return True


@pytest.mark.parametrize("conditional", [False, True])
def test_formulas_hold_on_random_laws_of_random_graphs(conditional: bool, random_graph, law_of) -> None:
    rng = np.random.default_rng(11 + conditional)
    verdicts = []
    for seed in range(200):
        graph = random_graph(rng, latent=int(rng.integers(2, 5)))
        verdicts.append(agreement(graph, ["e"] if conditional else [], law_of, seed))
    assert min(sum(verdicts), 200 - sum(verdicts)) >= 25


def test_a_law_identified_in_three_steps_holds(law_of) -> None:
    """The napkin behind a mediator: a quotient of sums, which random graphs seldom need."""
    drawn = nx.DiGraph([tuple(edge) for edge in ["wz", "zq", "qm", "ma", "uw", "uq", "vw", "va"]])
    graph = CausalGraph("napkin", drawn, {"treatment": "q", "outcome": "a"}, frozenset("uv"))
    assert agreement(graph, [], law_of, 5)


def test_observed_graphs_are_always_identified_and_as_dowhy_has_it(random_graph, law_of) -> None:
    from dowhy.causal_identifier import identify_effect_id
    from dowhy.causal_identifier.id_identifier import IDExpression

    def theirs(expression, joint: np.ndarray, nodes: list[str]) -> np.ndarray:
        if not isinstance(expression, IDExpression):
            of, given = list(expression["outcome_vars"]), list(expression["condition_vars"])
            axes = tuple(i for i, node in enumerate(nodes) if node not in (*of, *given))
            both = joint.sum(axis=axes, keepdims=True)
            return both / both.sum(axis=tuple(nodes.index(node) for node in of), keepdims=True)
        result = np.ones((1,) * len(nodes))
        for part in expression.get_val("prod"):
            result = result * theirs(part, joint, nodes)
        for node in dict.fromkeys(expression.get_val("sum")):
            result = result.sum(axis=nodes.index(node), keepdims=True)
        return result

    rng = np.random.default_rng(3)
    for seed in range(20):
        graph = random_graph(rng, latent=0)
        law = law_of(graph.graph, np.random.default_rng(seed), None)
        nodes = sorted(graph.graph)
        found = interventional_law(latent_projection(graph.graph, ()), ["a"], ["q"])
        expression = identify_effect_id(nx.DiGraph(graph.graph), ["q"], ["a"])
        ours = evaluate(found, law.joint, nodes)
        np.testing.assert_allclose(*np.broadcast_arrays(ours, theirs(expression, law.joint, nodes)), atol=1e-12)
