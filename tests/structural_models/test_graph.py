from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from structural_models.errors import GraphError
from structural_models.graph import (
    PRESETS,
    CausalGraph,
    causal_graph,
    describe,
    each_open_path,
    open_backdoor_paths,
    preset,
)

ROLES = {"treatment": "q", "outcome": "a"}


def graph_of(*edges: str, latent: frozenset[str] = frozenset()) -> CausalGraph:
    return CausalGraph("test", nx.DiGraph([tuple(edge) for edge in edges]), ROLES, latent)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_described_graphs_with_the_core_roles(name: str) -> None:
    graph = preset(name)
    assert graph.name == name
    assert describe()[name] == graph.description
    assert graph.description.endswith(".")
    assert {"severity", "treatment", "ecg", "outcome"} <= set(graph.roles)
    assert graph.latent == {"latent_severity": {"severity"}, "finding_mediated": {"finding"}}.get(name, set())


#: definitions.md, section 1, and DESIGN.md, section 3
DEFINED = {
    "reference_paper": "severity -> question, severity -> answer, ecg -> answer, question -> answer",
    "severity_visible": "severity -> question, severity -> answer, ecg -> answer, question -> answer, severity -> ecg",
    "finding_mediated": "severity -> finding, finding -> ecg, finding -> answer, severity -> style, topic -> answer",
    "topic_and_style": "severity -> topic, severity -> style, severity -> ecg, severity -> answer, topic -> style, "
    "topic -> answer, style -> answer, ecg -> answer",
    "latent_severity": "severity -> question, severity -> answer, ecg -> answer, question -> answer, severity -> ecg",
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_arrows_of_the_definitions(name: str) -> None:
    assert {f"{cause} -> {effect}" for cause, effect in preset(name).graph.edges} == set(DEFINED[name].split(", "))


def test_a_graph_from_chains_pairs_and_networkx() -> None:
    roles = {"treatment": "q", "outcome": "a", "severity": "s"}
    chains = causal_graph(["u -> s -> q -> a", ("s", "a")], roles, nodes=["lone"], latent=["u"], name="mine")
    drawn = nx.DiGraph([("u", "s"), ("s", "q"), ("q", "a"), ("s", "a")])
    drawn.add_node("lone")
    nx.set_node_attributes(drawn, {"q": "treatment", "a": "outcome"}, "role")
    drawn.nodes["u"]["latent"] = True
    marked = causal_graph(drawn, {"severity": "s"}, name="mine")
    assert chains.to_dict() == marked.to_dict()
    assert chains.latent == {"u"}
    assert causal_graph(drawn, roles, latent=["lone"]).latent == {"u", "lone"}


def test_presets_say_whether_the_ecg_shows_severity() -> None:
    shows = {name: not preset(name).independent(["ecg"], ["severity"]) for name in PRESETS}
    assert shows == {name: name != "reference_paper" for name in PRESETS}


def test_the_paper_graph_has_one_open_path_and_severity_closes_it() -> None:
    graph = preset("reference_paper")
    (path,) = open_backdoor_paths(graph)
    assert graph.path_text(path) == "question ← severity → answer"
    assert open_backdoor_paths(graph, ["severity"]) == []
    assert open_backdoor_paths(graph, ["ecg"]) == [path]


def test_a_collider_is_closed_until_it_or_a_descendant_is_conditioned_on() -> None:
    graph = graph_of("uq", "uc", "vc", "va", "cd", "qa")
    assert open_backdoor_paths(graph) == []
    assert open_backdoor_paths(graph, ["c"]) == open_backdoor_paths(graph, ["d"]) == [["q", "u", "c", "v", "a"]]
    assert open_backdoor_paths(graph, ["c", "v"]) == []


def test_open_paths_exist_exactly_where_the_cut_graph_is_not_separated() -> None:
    rng = np.random.default_rng(0)
    nodes = list("qauvwxy")
    seen = {True: 0, False: 0}
    for _ in range(150):
        order = rng.permutation(nodes)
        edges = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :] if rng.random() < 0.4]
        drawn = nx.DiGraph(edges)
        drawn.add_nodes_from(nodes)
        graph = CausalGraph("random", drawn, ROLES)
        free = sorted(set(nodes) - nx.descendants(drawn, "q") - {"q", "a"})
        given = [node for node in free if rng.random() < 0.5]
        cut = drawn.copy()
        cut.remove_edges_from(list(drawn.out_edges("q")))
        if "q" in nx.descendants(drawn, "a"):
            continue
        separated = nx.is_d_separator(cut, {"q"}, {"a"}, set(given))
        assert (open_backdoor_paths(graph, given) == []) == separated
        seen[separated] += 1
    assert min(seen.values()) >= 15


def test_open_paths_come_one_by_one_the_shortest_first() -> None:
    names = [f"c{i:02}" for i in range(18)]
    edges = [*combinations(names, 2), *((name, end) for name in names for end in "qa"), ("q", "a")]
    graph = CausalGraph("linked", nx.DiGraph(edges), ROLES)
    paths = open_backdoor_paths(graph, most=30)
    assert paths[:18] == [["q", name, "a"] for name in names]
    assert {len(path) for path in paths[18:]} == {4}
    assert paths == sorted(paths, key=lambda path: (len(path), path))
    assert next(each_open_path(graph, avoiding=names[1:])) == ["q", "c00", "a"]
    assert next(each_open_path(graph, avoiding=names), None) is None
    small = graph_of("sq", "sa", "tq", "ta", "st", "qa")
    assert open_backdoor_paths(small) == sorted(open_backdoor_paths(small), key=lambda path: (len(path), path))
    assert open_backdoor_paths(small, most=2) == open_backdoor_paths(small)[:2]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: graph_of("qa", "aq"), "has the cycle"),
        (lambda: CausalGraph("g", nx.DiGraph([("q", "a")]), {**ROLES, "style": "q"}), "unknown role 'style'"),
        (lambda: CausalGraph("g", nx.DiGraph([("q", "a")]), {**ROLES, "severity": "s"}), "'s' as its severity"),
        (lambda: CausalGraph("g", nx.DiGraph([("q", "a")]), {"treatment": "q"}), "role 'outcome'"),
        (lambda: CausalGraph("g", nx.DiGraph([("q", "a")]), {**ROLES, "ecg": "a"}), "'a' two roles"),
        (lambda: graph_of("qa", latent=frozenset("a")), "outcome 'a' latent"),
        (lambda: graph_of("qa", latent=frozenset("u")), "'u' as latent"),
        (lambda: open_backdoor_paths(graph_of("qa"), ["z"]), "'z' as conditioned on"),
        (lambda: causal_graph(nx.Graph([("q", "a")]), ROLES), "undirected"),
        (lambda: causal_graph(["q"], ROLES), "'cause -> effect'"),
        (lambda: causal_graph([("q", "")], ROLES), "'cause -> effect'"),
        (lambda: CausalGraph("g", nx.DiGraph([(1, 2)]), {"treatment": 1, "outcome": 2}), "node 1; nodes are named"),
        (lambda: preset("papers"), "no preset graph is called 'papers'"),
    ],
)
def test_what_is_no_causal_graph_is_refused_in_one_sentence(build, says: str) -> None:
    with pytest.raises(GraphError, match=says) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_the_graph_cannot_be_changed_behind_its_back() -> None:
    drawn = nx.DiGraph([("s", "q"), ("q", "a")])
    graph = CausalGraph("g", drawn, ROLES)
    drawn.add_edge("a", "s")
    assert not graph.graph.has_edge("a", "s")
    with pytest.raises(nx.NetworkXError):
        graph.graph.add_edge("a", "s")
