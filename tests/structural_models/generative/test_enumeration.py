"""Exact probabilities: variable elimination, Pyro's enumeration, a sum in plain Python, and back-door adjustment."""

from __future__ import annotations

from itertools import product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.errors import GraphError, TableError
from structural_models.generative.mechanisms import CategoricalTable, LinearGaussian, bernoulli_logit
from structural_models.generative.model import StructuralCausalModel
from structural_models.generative.program import enumerated_law
from structural_models.graph import CausalGraph, preset


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_elimination_is_the_sum_over_all_worlds(model_of, by_summing, seed: int, data: st.DataObject) -> None:
    scm = model_of(seed)
    names = data.draw(st.permutations(sorted(scm.mechanisms)))
    node, *others = names
    pick = {name: data.draw(st.sampled_from(scm.mechanisms[name].levels)) for name in others}
    roles = {name: data.draw(st.sampled_from(["do", "given", "free"])) for name in others}
    do = {name: pick[name] for name in others if roles[name] == "do"}
    seen = {name: pick[name] for name in others if roles[name] == "given"}
    law = scm.law(node, do=do, given=seen)
    np.testing.assert_allclose(law, by_summing(scm, node, do, seen), atol=1e-12)
    assert law.dtype == np.float64 and law.sum() == pytest.approx(1, abs=1e-12)
    for level, p in zip(scm.finite_levels(node), law, strict=True):
        assert scm.probability({node: level}, do=do, given=seen) == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_pyro_enumerates_the_same(model_of, seed: int) -> None:
    scm = model_of(seed)
    rng = np.random.default_rng(seed)
    others = [str(name) for name in rng.permutation([name for name in scm.mechanisms if name != "a"])]
    level = {name: scm.finite_levels(name)[-1] for name in others}
    cases = [
        ({}, {}),
        ({others[0]: level[others[0]]}, {}),
        ({others[0]: level[others[0]]}, {others[1]: level[others[1]]}),
    ]
    for do, seen in cases:
        np.testing.assert_allclose(
            enumerated_law(scm, "a", do=do, given=seen), scm.law("a", do=do, given=seen), atol=1e-9
        )


def test_pyro_agrees_where_a_quantity_is_seen_or_set() -> None:
    scm = StructuralCausalModel(
        preset("severity_visible"),
        {
            "severity": CategoricalTable((0, 1, 2), [0.5, 0.3, 0.2]),
            "question": CategoricalTable(("p", "q"), [[0.6, 0.4], [0.3, 0.7], [0.1, 0.9]], ("severity",)),
            "ecg": LinearGaussian(0.0, {"severity": [0, 0.5, 1.0]}, 1.0),
            "answer": bernoulli_logit(-1.0, {"severity": [0, 0.5, 1.0], "question": [0, 0.7], "ecg": 0.8}),
        },
    )
    for do, seen in [({"question": "q"}, {"ecg": 0.3}), ({"question": "q", "ecg": 0.3}, {}), ({"ecg": -1.0}, {})]:
        np.testing.assert_allclose(
            enumerated_law(scm, "answer", do=do, given=seen), scm.law("answer", do=do, given=seen), atol=1e-9
        )
    # P(A | E, do(Q)) = Σ_s P(A | E, Q, s) P(s | E)
    prior = np.array([0.5, 0.3, 0.2]) * np.exp(-0.5 * (0.3 - np.array([0, 0.5, 1.0])) ** 2)
    answer = 1 / (1 + np.exp(-(-1 + np.array([0, 0.5, 1.0]) + 0.7 + 0.8 * 0.3)))
    by_hand = (prior * answer).sum() / prior.sum()
    assert scm.law("answer", do={"question": "q"}, given={"ecg": 0.3})[1] == pytest.approx(by_hand, abs=1e-12)
    with pytest.raises(GraphError, match="'ecg' is a quantity that the probability depends on"):
        scm.law("answer", do={"question": "q"})
    with pytest.raises(GraphError, match="'ecg' is a quantity and has no levels"):
        scm.law("ecg")


def test_a_quantity_that_do_cuts_off_need_not_be_integrated_over() -> None:
    graph = CausalGraph("g", nx.DiGraph([("e", "q"), ("q", "a")]), {"treatment": "q", "outcome": "a"})
    answer = bernoulli_logit(0.0, {"q": [-1.0, 1.0]})
    scm = StructuralCausalModel(
        graph, {"e": LinearGaussian(0.0, {}, 1.0), "q": bernoulli_logit(0.0, {"e": 1.0}), "a": answer}
    )
    expected = 1 / (1 + np.exp(np.array([1.0, -1.0])))
    for law in (scm.law, lambda node, do: enumerated_law(scm, node, do=do)):
        assert [law("a", do={"q": q})[1] for q in (0, 1)] == pytest.approx(list(expected), abs=1e-12)
    with pytest.raises(GraphError, match="'e' is a quantity that the probability depends on"):
        scm.law("a", given={"q": 1})


def test_do_is_back_door_adjustment_on_random_graphs(model_of) -> None:
    """Adjusting the observational law for a separating set gives the interventional one; seeing does not."""
    adjusted = confounded = 0
    for seed in range(60):
        scm = model_of(seed)
        graph = scm.graph.graph
        if "q" in nx.descendants(graph, "a"):
            continue
        cut = nx.DiGraph(graph)
        cut.remove_edges_from(list(graph.out_edges("q")))
        free = set(graph) - nx.descendants(graph, "q") - {"q", "a"}
        chosen = nx.find_minimal_d_separator(cut, {"q"}, {"a"}, restricted=free)
        assert chosen is not None
        for level in scm.finite_levels("q"):
            total = np.zeros(len(scm.finite_levels("a")))
            for stratum in product(*(scm.finite_levels(name) for name in sorted(chosen))):
                held = dict(zip(sorted(chosen), stratum, strict=True))
                total += scm.law("a", given={**held, "q": level}) * scm.probability(held)
            done = scm.law("a", do={"q": level})
            np.testing.assert_allclose(total, done, atol=1e-12)
            adjusted += 1
            confounded += not np.allclose(scm.law("a", given={"q": level}), done, atol=1e-3)
    assert adjusted >= 40 and confounded >= 20


def test_the_tools_of_the_toy(toy) -> None:
    """Fitted to a table in exact proportions, the model gives the law the table was made of."""
    edges = [("severity", "style"), ("severity", "ecg"), ("severity", "answer"), ("style", "answer"), ("ecg", "answer")]
    graph = CausalGraph("toy", nx.DiGraph(edges), {"treatment": "style", "outcome": "answer"})
    scm = StructuralCausalModel.fit(graph, toy.table)
    for i, style in enumerate("abc"):
        assert scm.law("answer", do={"style": style})[1] == pytest.approx(toy.do[i], abs=1e-12)
        for ecg in (0, 1):
            law = scm.law("answer", do={"style": style}, given={"ecg": ecg})
            assert law[1] == pytest.approx(toy.do_given_ecg[i, ecg], abs=1e-12)


def test_seeing_is_not_what_pyro_condition_draws(paper) -> None:
    """P(A | Q = 1) differs from P(A | do(Q = 1)); given= is the former, in the world of do= ."""
    seen, done = paper.law("answer", given={"question": 1}), paper.law("answer", do={"question": 1})
    assert abs(seen[1] - done[1]) > 0.05
    np.testing.assert_allclose(enumerated_law(paper, "answer", given={"question": 1}), seen, atol=1e-9)


def test_joint_events_and_contradictions(paper) -> None:
    both = paper.probability({"answer": 1, "question": 1}, given={"severity": 2})
    assert both == pytest.approx(0.85 * paper.probability({"answer": 1}, given={"severity": 2, "question": 1}))
    assert paper.probability({"question": 0}, do={"question": 1}) == 0.0
    assert paper.probability({"question": 1}, do={"question": 1}) == 1.0
    assert paper.probability({"severity": 0}, given={"severity": 1}) == 0.0
    np.testing.assert_array_equal(paper.law("question", do={"question": 1}), [0, 1])
    assert paper.law("severity", do={"question": 1}, given={"question": 1}) == pytest.approx([0.5, 0.3, 0.2])
    for do, seen, error, says in [
        ({"questoin": 1}, {}, GraphError, "names 'questoin' in do"),
        ({"question": 7}, {}, TableError, "do sets node 'question' to '7', which is not among its levels .0, 1."),
        ({}, {"sevrity": 1}, GraphError, "names 'sevrity' in given"),
        ({}, {"severity": 9}, TableError, "given sets node 'severity' to '9'"),
        ({"question": 1}, {"question": 0}, TableError, "but do holds it at '1'"),
    ]:
        for law in (
            lambda do, seen: paper.law("answer", do=do, given=seen),
            lambda do, seen: enumerated_law(paper, "answer", do=do, given=seen),
        ):
            with pytest.raises(error, match=says) as caught:
                law(do, seen)
            assert "\n" not in str(caught.value)
    with pytest.raises(GraphError, match="names 'aswer' in event"):
        paper.probability({"aswer": 1})


def test_what_cannot_happen_cannot_be_seen() -> None:
    graph = preset("reference_paper")
    scm = StructuralCausalModel(
        graph,
        {
            "severity": CategoricalTable((0, 1), [1.0, 0.0]),
            "question": CategoricalTable((0, 1), [[0.5, 0.5]] * 2, ("severity",)),
            "ecg": CategoricalTable((0,), [1.0]),
            "answer": bernoulli_logit(0.0, {"severity": [0, 1], "question": [0, 1], "ecg": [0]}),
        },
    )
    for law in (scm.law, lambda node, given: enumerated_law(scm, node, given=given)):
        with pytest.raises(TableError, match="has probability zero"):
            law("answer", given={"severity": 1})
    with pytest.raises(TableError, match="severity = 1 has probability zero"):
        scm.probability({"answer": 1}, given={"severity": 1})
