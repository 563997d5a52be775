"""Every implied independence is checked by brute force over conditioning sets and against exactly enumerated laws."""

from __future__ import annotations

from itertools import chain, combinations

import networkx as nx
import numpy as np
import pytest

from structural_models.graph import PRESETS, CausalGraph, preset
from structural_models.implications import Independence, implied_independences, parental_independences


def random_graph(seed: int, nodes: int = 7, latent: int = 0) -> CausalGraph:
    rng = np.random.default_rng([5, seed])
    names = [f"n{i}" for i in rng.permutation(nodes)]
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((a, b) for a, b in combinations(names, 2) if rng.random() < 0.35)
    hidden = frozenset(rng.choice(names[:-2], latent, replace=False).tolist()) if latent else frozenset()
    return CausalGraph("random", graph, {"treatment": names[-2], "outcome": names[-1]}, hidden)


def subsets(nodes) -> chain:
    return chain.from_iterable(combinations(sorted(nodes), size) for size in range(len(nodes) + 1))


@pytest.mark.parametrize("latent", [0, 2])
@pytest.mark.parametrize("seed", range(12))
def test_every_pair_is_separated_minimally_or_by_nothing(seed: int, latent: int) -> None:
    graph = random_graph(seed, latent=latent)
    found = implied_independences(graph)
    separated = {(*pair.first, *pair.second): set(pair.given) for pair in found.pairs}
    unseparated = {(pair.first, pair.second) for pair in found.unseparated}
    for one, other in combinations(sorted(graph.observed), 2):
        rest = graph.observed - {one, other}
        separators = [set(z) for z in subsets(rest) if nx.is_d_separator(graph.graph, {one}, {other}, set(z))]
        adjacent = graph.graph.has_edge(one, other) or graph.graph.has_edge(other, one)
        assert ((one, other) in separated) == bool(separators)
        assert ((one, other) in unseparated) == (not separators and not adjacent)
        if separators:
            given = separated[one, other]
            assert given in separators
            assert not any(smaller < given for smaller in separators)


@pytest.mark.parametrize("seed", range(12))
def test_the_path_named_is_open_whatever_is_held(seed: int) -> None:
    graph = random_graph(seed, nodes=6, latent=2)
    for pair in implied_independences(graph).unseparated:
        assert set(pair.path.replace("→", "←").split(" ← ")) <= set(graph.graph)
        assert pair.path.startswith(pair.first) and pair.path.endswith(pair.second)
        assert pair.reason.endswith(f"{pair.path} stays open")


def test_an_open_path_may_lead_through_a_held_collider() -> None:
    """a ↔ b ↔ c with b → both ends' child: holding b opens the path, not holding it leaves another one open."""
    edges = [("u", "a"), ("u", "b"), ("v", "b"), ("v", "c"), ("b", "c")]
    graph = CausalGraph("g", nx.DiGraph(edges), {"treatment": "a", "outcome": "c"}, frozenset("uv"))
    (pair,) = (p for p in implied_independences(graph).unseparated if p.first == "a" and p.second == "c")
    assert pair.path == "a ← u → b ← v → c"


def test_an_open_path_may_lead_through_a_latent_collider_with_a_held_consequence() -> None:
    edges = [("u", "x"), ("u", "l"), ("v", "l"), ("v", "y"), ("l", "m"), ("m", "x")]
    graph = CausalGraph("g", nx.DiGraph(edges), {"treatment": "x", "outcome": "y"}, frozenset("uvl"))
    (pair,) = (p for p in implied_independences(graph).unseparated if (p.first, p.second) == ("x", "y"))
    assert pair.path == "x ← u → l ← v → y"


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_implied_holds_in_the_law_of_every_preset(name: str, law_of) -> None:
    graph = preset(name)
    law = law_of(graph.graph, np.random.default_rng(2), None)
    found = implied_independences(graph)
    for one in (*found.testable, *parental_independences(graph)):
        joint = law.conditional([*one.first, *one.second], one.given)
        k, a = len(one.given), len(one.first)
        first = joint.sum(axis=tuple(range(k + a, joint.ndim)), keepdims=True)
        second = joint.sum(axis=tuple(range(k, k + a)), keepdims=True)
        np.testing.assert_allclose(joint, first * second, atol=1e-12)


def test_the_parental_ones_imply_all_others_in_number_as_dowhy_counts_them() -> None:
    falsify = pytest.importorskip("dowhy.gcm.falsify")
    for seed in range(6):
        graph = random_graph(seed)
        theirs = falsify._get_parental_triples(graph.graph, include_unconditional=True)
        ours = parental_independences(graph)
        assert sorted(ours) == sorted(Independence.of([x], [y], z) for x, y, z in theirs)


def test_the_presets_say_what_the_papers_say() -> None:
    paper = implied_independences(preset("reference_paper"))
    assert [str(one) for one in paper.testable] == ["ecg ⟂ question", "ecg ⟂ severity", "ecg ⟂ {question, severity}"]
    assert [str(one) for one in implied_independences(preset("severity_visible")).testable] == [
        "ecg ⟂ question | severity"
    ]
    latent = implied_independences(preset("latent_severity"))
    assert not latent.testable
    assert latent.to_dict()["unseparated"] == [
        {
            "first": "ecg",
            "second": "question",
            "path": "ecg ← severity → question",
            "reason": "no set of measured nodes separates them: ecg ← severity → question stays open",
        }
    ]


def test_joint_ones_are_implied_too() -> None:
    seen = 0
    for seed in range(20):
        graph = random_graph(seed, latent=1)
        for one in implied_independences(graph).joint:
            assert graph.independent(one.first, one.second, one.given)
            seen += 1
    assert seen > 20


def test_an_independence_has_one_form() -> None:
    assert Independence.of("ba", "c", "yx") == Independence.of("c", "ab", "xy")
    assert str(Independence.of("c", "ba", "yx")) == "c ⟂ {a, b} | x, y"
    assert Independence.of("c", "ba", "yx").nodes == ("c", "a", "b", "x", "y")
