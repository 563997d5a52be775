"""Counts against a plain walk over relabelled graphs, and against the authors' own implementation in dowhy.gcm."""

from __future__ import annotations

from itertools import permutations

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from structural_models.errors import GraphError
from structural_models.falsification import node_permutations
from structural_models.graph import PRESETS, CausalGraph, preset
from structural_models.implications import Independence

RNG = np.random.default_rng(0)
CHAIN = CausalGraph(
    "chain",
    nx.DiGraph([("a", "b"), ("b", "c"), ("c", "d"), ("a", "e"), ("e", "d")]),
    {"treatment": "a", "outcome": "d"},
)


def truth(graph: CausalGraph):
    """p-values of a test that never errs."""
    return lambda one: 1.0 if graph.independent(one.first, one.second, one.given) else 0.0


def relabelled(graph: CausalGraph, order) -> CausalGraph:
    names = dict(zip(sorted(graph.graph), order, strict=True))
    return CausalGraph("other", nx.relabel_nodes(graph.graph, names), graph.roles)


@pytest.mark.parametrize("name", ["reference_paper", "severity_visible", "topic_and_style"])
def test_equivalence_is_that_of_skeletons_and_colliders(name: str) -> None:
    """Two graphs are Markov equivalent where skeletons and unshielded colliders agree (Verma & Pearl 1990)."""

    def pattern(graph: nx.DiGraph) -> tuple[set, set]:
        colliders = {
            (frozenset((a, b)), node)
            for node in graph
            for a, b in permutations(graph.predecessors(node), 2)
            if not graph.has_edge(a, b) and not graph.has_edge(b, a)
        }
        return {frozenset(edge) for edge in graph.edges}, colliders

    graph = preset(name)
    others = [relabelled(graph, order) for order in permutations(sorted(graph.graph))]
    share = np.mean([pattern(other.graph) == pattern(graph.graph) for other in others])
    found = node_permutations(graph, rng=RNG).judge(truth(graph))
    assert found.share_equivalent == pytest.approx(share)
    assert (found.permutations, found.exact, found.violations) == (len(others), True, 0)


def test_verdicts() -> None:
    exchanged = node_permutations(CHAIN, rng=RNG)
    right = exchanged.judge(truth(CHAIN))
    assert right.share_equivalent <= 0.05
    assert (right.verdict, right.violations) == ("not falsified", 0)
    assert right.share_no_worse == right.share_equivalent
    wrong = exchanged.judge(truth(relabelled(CHAIN, "bdaec")))
    assert wrong.verdict == "falsified" and wrong.violations > 0
    small = node_permutations(preset("reference_paper"), rng=RNG).judge(lambda one: 1.0)
    assert (small.verdict, small.share_equivalent) == ("not informative", 2 / 24)
    assert np.isnan(small.share_no_worse)
    untested = exchanged.judge(lambda one: float("nan"))
    assert (untested.verdict, untested.tests) == ("not informative", 0)
    assert untested.to_dict()["share_no_worse"] is None


@pytest.mark.parametrize("seed", range(4))
def test_shares_are_those_of_a_walk_over_relabelled_graphs(seed: int) -> None:
    """Some p-values cannot be had: a permutation is judged by the share of the others that are rejected."""
    rng = np.random.default_rng(seed)
    p = {}

    def p_value(one: Independence) -> float:
        return p.setdefault(one, float(rng.choice([0.01, 0.5, np.nan])))

    found = node_permutations(CHAIN, rng=RNG).judge(p_value)
    shares = []
    for order in permutations("abcde"):
        other = relabelled(CHAIN, order).graph
        values = []
        for node in other:
            parents = set(other.predecessors(node))
            rest = set(other) - nx.descendants(other, node) - parents - {node}
            values += [p_value(Independence.of([node], [x], parents)) for x in rest]
        made = [value <= 0.05 for value in values if not np.isnan(value)]
        shares.append(np.mean(made) if made else np.nan)
    assert found.violations / found.tests == pytest.approx(shares[0])
    known = np.array(shares)[~np.isnan(shares)]
    assert found.share_no_worse == pytest.approx(np.mean(known <= shares[0] + 1e-12))


def test_permutations_of_which_nothing_could_be_tested_count_nothing() -> None:
    """Of the three independences of two nodes given the third one cannot be tested: that leaves four of six orders."""
    graph = CausalGraph("path", nx.DiGraph([("a", "b"), ("b", "c")]), {"treatment": "a", "outcome": "c"})
    p = {"a ⟂ c | b": 0.5, "b ⟂ c | a": 0.01, "a ⟂ b | c": float("nan")}
    found = node_permutations(graph, rng=RNG).judge(lambda one: p[str(one)], level=0.4)
    assert (found.share_equivalent, found.share_no_worse) == (2 / 6, 2 / 4)
    assert found.verdict == "falsified"


def test_it_counts_what_dowhy_counts_given_the_same_p_values() -> None:
    gcm = pytest.importorskip("dowhy.gcm.falsify")
    from scipy.stats import chi2

    rng = np.random.default_rng(1)
    table = pd.DataFrame({"a": rng.integers(0, 2, 400)})
    for node, parents in (("b", "a"), ("c", "b"), ("e", "a"), ("d", "ce")):
        table[node] = (rng.random(400) < 0.15 + 0.7 * table[list(parents)].mean(axis=1)).astype(np.int64)

    def p_of(x: np.ndarray, y: np.ndarray, z: np.ndarray | None = None) -> float:
        """Pearson's, summed over the levels of z."""
        stratum = (
            np.zeros(len(x)) if z is None else z.reshape(len(x), -1) @ 2.0 ** np.arange(z.reshape(len(x), -1).shape[1])
        )
        statistic, freedom = 0.0, 0
        for level in np.unique(stratum):
            counts = pd.crosstab(x[stratum == level].ravel(), y[stratum == level].ravel()).to_numpy(dtype=np.float64)
            if min(counts.shape) < 2:
                continue
            expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
            statistic += ((counts - expected) ** 2 / expected).sum()
            freedom += 1
        return float(chi2.sf(statistic, freedom))

    for graph in (CHAIN, relabelled(CHAIN, "bdaec")):
        theirs = gcm.falsify_graph(
            graph.graph, table, independence_test=p_of, conditional_independence_test=p_of, n_permutations=-1,
            n_jobs=1, show_progress_bar=False,
        )  # fmt: skip
        lmc, tpa = (theirs.summary[key] for key in (gcm.FalsifyConst.VALIDATE_LMC, gcm.FalsifyConst.VALIDATE_TPA))
        ours = node_permutations(graph, rng=RNG).judge(
            lambda one: p_of(
                table[one.first[0]].to_numpy(),
                table[one.second[0]].to_numpy(),
                table[list(one.given)].to_numpy() if one.given else None,
            )
        )
        key = gcm.FalsifyConst
        assert (ours.violations, ours.tests) == (lmc[key.GIVEN_VIOLATIONS], lmc[key.N_TESTS])
        assert ours.share_no_worse == pytest.approx(lmc[key.P_VALUE])
        assert ours.share_equivalent == pytest.approx(tpa[key.P_VALUE])
        assert (ours.verdict == "falsified") == theirs.falsified
        assert (ours.verdict != "not informative") == theirs.falsifiable


@pytest.mark.parametrize("name", PRESETS)
def test_latent_and_held_nodes_stay_in_their_places(name: str) -> None:
    graph = preset(name)
    held = [graph.node("topic")] if "topic" in graph.roles else []
    found = node_permutations(graph, held=held, rng=RNG)
    assert set(found.nodes) == graph.observed - set(held)
    for one in found.claims[0]:
        assert graph.independent(one.first, one.second, one.given)
    for one in found.asked(level=1.0):
        assert set(held) <= set(one.given) and graph.latent.isdisjoint(one.nodes)
    assert found.judge(truth(graph)).violations == 0


def test_many_nodes_are_drawn_with_the_given_order_first() -> None:
    graph = CausalGraph(
        "path", nx.path_graph([*"abcdefgh"], create_using=nx.DiGraph), {"treatment": "a", "outcome": "h"}
    )
    found, same, other = (node_permutations(graph, rng=np.random.default_rng(s), draws=50) for s in (0, 0, 1))
    assert found == same != other
    assert not found.exact and len(found.claims) == 51
    assert sorted(found.claims[0]) == sorted(node_permutations(graph, rng=RNG, draws=0).claims[0])
    assert found.judge(truth(graph)).verdict == "not falsified"
    with pytest.raises(GraphError, match="'z' as held fixed"):
        node_permutations(graph, held=["z"], rng=RNG)
