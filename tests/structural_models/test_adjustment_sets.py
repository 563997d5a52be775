"""Adjustment sets against brute force, networkx's separators, DoWhy's own searches, and exact asymptotic variances."""

from __future__ import annotations

from itertools import chain, combinations

import networkx as nx
import numpy as np
import pytest

from structural_models.adjustment_sets import adjustment_set
from structural_models.errors import NotIdentified
from structural_models.graph import PRESETS, CausalGraph, preset
from structural_models.identification import identify

ROLES = {"treatment": "q", "outcome": "a"}


def valid_sets(graph: CausalGraph, held: set[str]) -> list[set[str]]:
    """Every set of observed nodes before the outcome that, with ``held``, closes all back-door paths."""
    cut = nx.DiGraph(graph.graph)
    cut.remove_edges_from(list(graph.graph.out_edges("q")))
    after = nx.descendants(graph.graph, "q") | nx.descendants(graph.graph, "a")
    free = sorted(graph.observed - after - {"q", "a"} - held)
    subsets = chain.from_iterable(combinations(free, size) for size in range(len(free) + 1))
    return [set(nodes) for nodes in subsets if nx.is_d_separator(cut, {"q"}, {"a"}, held | set(nodes))]


def held_in(graph: CausalGraph) -> set[str]:
    return {"e"} - nx.descendants(graph.graph, "q") - nx.descendants(graph.graph, "a")


def variance(graph: CausalGraph, adjustment: set[str], held: set[str], law) -> np.ndarray:
    """Asymptotic variance of the non-parametric estimator of P(a = 1 | do(q = 1), held), times P(held): per held cell.

    E[(A - b(Z))² / P(q = 1 | Z) | q = 1] + Var b(Z) with b(Z) = P(a = 1 | q = 1, Z), all given ``held``
    (Rotnitzky & Smucler 2020, section 2).
    """
    fixed, summed = sorted(held), sorted(adjustment)
    b = law.conditional(["a"], ["q", *fixed, *summed])[1, ..., 1]
    share = law.conditional(["q"], [*fixed, *summed])[..., 1]
    weight = law.conditional(summed, fixed) if summed else np.ones(share.shape)
    axes = tuple(range(len(fixed), len(fixed) + len(summed)))
    mean = (b * weight).sum(axis=axes, keepdims=True)
    return ((b * (1 - b) / share + (b - mean) ** 2) * weight).sum(axis=axes)


@pytest.mark.parametrize("latent", [0, 2])
@pytest.mark.parametrize("conditional", [False, True])
def test_sets_against_brute_force(latent: int, conditional: bool, random_graph, law_of) -> None:
    rng = np.random.default_rng(5 + 2 * latent + conditional)
    found = refused = best = 0
    for seed in range(50):
        graph = random_graph(rng, latent=latent, density=0.4)
        held = held_in(graph) if conditional else set()
        valid = valid_sets(graph, held)
        minimal = adjustment_set(graph, sorted(held), "minimal")
        efficient = adjustment_set(graph, sorted(held), "efficient")
        if not valid:
            assert minimal is efficient is None
            refused += 1
            continue
        assert minimal is not None and efficient is not None
        found += 1
        assert set(minimal[0]) in valid
        assert len(minimal[0]) == min(map(len, valid))
        law = law_of(graph.graph, np.random.default_rng(seed), None)
        spread = {tuple(sorted(nodes)): variance(graph, nodes, held, law) for nodes in valid}
        chosen, optimal = efficient
        if optimal:
            rivals = valid
            best += 1
        else:
            rivals = [nodes for nodes in valid if not any(other < nodes for other in valid)]
        for nodes in rivals:
            assert (spread[chosen] <= spread[tuple(sorted(nodes))] + 1e-12).all()
        smallest = [nodes for nodes in valid if len(nodes) == len(minimal[0])]
        for nodes in smallest:
            assert (spread[minimal[0]] <= spread[tuple(sorted(nodes))] + 1e-12).all()
    assert found >= 25
    assert (refused >= 5 and 0 < best < found) if latent else best == found


def test_sets_are_those_of_dowhys_own_search(random_graph) -> None:
    from dowhy.causal_identifier.efficient_backdoor import EfficientBackdoor

    rng = np.random.default_rng(8)
    compared = 0
    for _ in range(70):
        graph = random_graph(rng, latent=1, density=0.4)
        if not nx.has_path(graph.graph, "q", "a"):  # theirs raises KeyError
            continue
        firsts = [path[1] for path in nx.all_simple_paths(graph.graph, "q", "a")]
        if len(firsts) > len(set(firsts)):  # theirs cuts a shared first arrow twice
            continue
        held = sorted(held_in(graph))
        theirs = EfficientBackdoor(nx.DiGraph(graph.graph), ["q"], ["a"], sorted(graph.observed), held)
        for prefer, ask in (("minimal", theirs.optimal_mincost_adj_set), ("efficient", theirs.optimal_adj_set)):
            try:
                wanted = tuple(sorted(set(ask()) - set(held)))
            except ValueError:
                continue
            assert adjustment_set(graph, held, prefer)[0] == wanted
            compared += 1
    assert compared >= 30


@pytest.mark.parametrize("linked", [False, True])
def test_eighteen_confounders_are_all_adjusted_for(linked: bool) -> None:
    """DoWhy's search by subsets stops at 100,000 of them and says there is no set; linked, they have 10^15 paths."""
    names = [f"c{i:02}" for i in range(18)]
    drawn = nx.DiGraph([("q", "a"), *((name, end) for name in names for end in "qa")])
    if linked:
        drawn.add_edges_from(combinations(names, 2))
    graph = CausalGraph("many", drawn, ROLES)
    for method in ("minimal", "efficient"):
        assert len(identify(graph, method=method).adjustment) == 18
    drawn.add_edges_from([("u", "q"), ("u", "a")])
    with pytest.raises(NotIdentified, match="measuring u would close it"):
        identify(CausalGraph("many", drawn, ROLES, frozenset("u")))


def test_severity_is_preferred_only_among_equally_small_sets() -> None:
    edges = [("b", "s"), ("b", "c"), ("s", "q"), ("c", "a"), ("b", "a"), ("q", "a")]
    roles = {**ROLES, "severity": "s"}
    assert adjustment_set(CausalGraph("g", nx.DiGraph(edges), roles), [], "minimal") == (("s",), False)
    edges = [("x", "q"), ("x", "s"), ("s", "y"), ("x", "a"), ("s", "a"), ("y", "q"), ("q", "a")]
    two = adjustment_set(CausalGraph("g", nx.DiGraph(edges), roles), [], "minimal")
    assert two == (("s", "x"), False)


def test_the_ecg_is_worth_adjusting_for_where_it_causes_the_answer() -> None:
    estimand = identify(preset("reference_paper"), conditioning=(), method="efficient")
    assert estimand.adjustment == ("ecg", "severity")
    assert "no other adjustment set has a smaller asymptotic variance than {E, S}" in estimand.assumptions[-1]
    assert identify(preset("reference_paper"), conditioning=()).adjustment == ("severity",)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "latent_severity"])
def test_efficient_sets_of_the_presets_contain_enough(name: str) -> None:
    graph = preset(name)
    cut = nx.DiGraph(graph.graph)
    cut.remove_edges_from(list(graph.graph.out_edges(graph.node("treatment"))))
    estimand = identify(graph, method="efficient")
    given = {graph.roles.get(key, key) for key in (*estimand.adjustment, *estimand.conditioning)}
    assert nx.is_d_separator(cut, {graph.node("treatment")}, {graph.node("outcome")}, given)


def test_names_may_hold_quotes() -> None:
    edges = [("s", "q"), ("s", "a"), ("s'", "q"), ("s'", "a"), ("s''", "s'"), ("q", "a")]
    assert adjustment_set(CausalGraph("g", nx.DiGraph(edges), ROLES), [], "minimal") == (("s", "s'"), False)
