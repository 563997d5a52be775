from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from structural_models.errors import GraphError, TableError
from structural_models.generative.mechanisms import (
    CategoricalLogit,
    CategoricalTable,
    Deterministic,
    LinearGaussian,
    bernoulli_logit,
)
from structural_models.generative.model import StructuralCausalModel
from structural_models.graph import CausalGraph

GRAPH = CausalGraph("g", nx.DiGraph([("s", "q"), ("q", "a")]), {"treatment": "q", "outcome": "a"})
S = CategoricalTable((0, 1), [0.3, 0.7])
Q = CategoricalTable(("x", "y"), [[0.6, 0.4], [0.1, 0.9]], ("s",))
A = bernoulli_logit(0.2, {"q": [0.0, 1.0]})


def declared(**changes) -> StructuralCausalModel:
    return StructuralCausalModel(GRAPH, {"s": S, "q": Q, "a": A, **changes})


def test_laws_of_the_mechanisms() -> None:
    code = np.array([0, 1, 1])
    np.testing.assert_allclose(Q.law({"s": code}), [[0.6, 0.4], [0.1, 0.9], [0.1, 0.9]])
    one = 1 / (1 + np.exp(-(0.2 + np.array([0.0, 1.0, 1.0]))))
    np.testing.assert_allclose(A.law({"q": code}), np.stack([1 - one, one], axis=1))
    steep = bernoulli_logit(800.0, {"e": 2.0})
    np.testing.assert_allclose(
        steep.law({"e": np.array([1.0, -400.5])}), [[0, 1], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))]]
    )
    line = LinearGaussian(1.0, {"s": [0.0, 2.0], "e": 0.5}, 2.0)
    np.testing.assert_allclose(line.mean({"s": code, "e": np.array([0.0, 0.0, 4.0])}), [1.0, 3.0, 5.0])
    assert line.density({"s": np.array(0), "e": np.array(0.0)}, 1.0) == pytest.approx(1 / np.sqrt(8 * np.pi))


def test_a_function_of_levels_is_a_table_of_zeros_and_ones() -> None:
    rule = Deterministic(lambda values: np.where(values["q"] == "x", "no", "yes"), ("q",), ("no", "yes"))
    np.testing.assert_array_equal(declared(a=rule).law("a", do={"q": "y"}), [0, 1])
    np.testing.assert_allclose(declared(a=rule).law("a"), [0.3 * 0.6 + 0.7 * 0.1, 0.3 * 0.4 + 0.7 * 0.9])


def test_a_function_of_a_quantity_reads_its_value() -> None:
    graph = CausalGraph("g", nx.DiGraph([("e", "a"), ("q", "a")]), {"treatment": "q", "outcome": "a"})
    rule = Deterministic(lambda v: np.where(v["e"] > 1, v["q"], "none"), ("e", "q"), ("none", "x", "y"))
    scm = StructuralCausalModel(
        graph, {"e": LinearGaussian(0.0, {}, 1.0), "q": CategoricalTable(("x", "y"), [0.5, 0.5]), "a": rule}
    )
    np.testing.assert_array_equal(scm.law("a", do={"e": 2.0, "q": "y"}), [0, 0, 1])
    np.testing.assert_array_equal(scm.law("a", given={"e": 2.0}), [0, 0.5, 0.5])
    drawn = scm.sample(200, rng=np.random.default_rng(0))
    assert (drawn["a"] == np.where(drawn["e"] > 1, drawn["q"], "none")).all()


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda: StructuralCausalModel(GRAPH, {"s": S, "q": Q}), GraphError, "node 'a' of graph 'g' has no mechanism"),
        (lambda: declared(z=S), GraphError, "names 'z' as having a mechanism"),
        (lambda: declared(q=S), GraphError, "arrows of graph 'g' say .s.; make them agree"),
        (lambda: declared(q=CategoricalTable((0, 1), Q.probabilities, ("a",))), GraphError, "has the parents .a."),
        (lambda: declared(q=CategoricalTable((0, 1), np.ones((2, 3)) / 3, ("s",))), TableError, "shape .2, 2. .s, q."),
        (lambda: declared(q=CategoricalTable((0, 1), [[0.6, 0.5], [0, 1]], ("s",))), TableError, "sum to one"),
        (lambda: declared(q=CategoricalTable((0, 1), [[1.6, -0.6], [0, 1]], ("s",))), TableError, "sum to one"),
        (lambda: declared(s=CategoricalTable((0, 0), [0.5, 0.5])), TableError, "must be distinct"),
        (lambda: declared(s=LinearGaussian(0.0, {}, 1.0)), GraphError, "the quantity 's' as a parent"),
        (lambda: declared(a=LinearGaussian(0.0, {"q": 1.0}, 1.0)), TableError, "slope of 'q' of node 'a'"),
        (lambda: declared(a=LinearGaussian(0.0, {"q": [0, 1]}, 0.0)), TableError, "positive number"),
        (lambda: declared(a=bernoulli_logit(0.0, {"q": [0, np.nan]})), TableError, "must be finite"),
        (lambda: declared(a=CategoricalLogit((0, 1), [0.0], {"q": np.zeros((2, 2))})), TableError, "intercepts"),
        (lambda: declared(a=Deterministic(lambda v: v["q"], ("q",), (0, 1))), TableError, "gives 'x', which is not"),
        (lambda: declared(a=Deterministic(lambda v: v["q"][:1], ("q",), ("x", "y"))), TableError, "one value per row"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(build, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        build()
    assert "\n" not in str(caught.value)
