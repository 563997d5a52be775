"""Formulas: simplification changes no value, and text says what is meant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.errors import PositivityError
from structural_models.expressions import Law, Product, Quotient, Total, evaluate, free, product, quotient, text, total

NODES = ("a", "b", "c", "d")


@st.composite
def laws(draw: st.DrawFn) -> Law:
    order = draw(st.permutations(NODES))
    cut = draw(st.integers(1, 2))
    return Law(tuple(order[:cut]), tuple(order[cut : draw(st.integers(cut, 4))]))


EXPRESSIONS = st.recursive(
    laws(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(product),
        st.builds(quotient, inner, inner),
        st.builds(
            lambda over, body: total(over & free(body), body), st.frozensets(st.sampled_from(NODES), max_size=2), inner
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(
    body=EXPRESSIONS, over=st.frozensets(st.sampled_from(NODES), min_size=1), other=EXPRESSIONS, seed=st.integers(0, 99)
)
def test_simplifying_changes_no_value(body, over, other, seed: int) -> None:
    joint = np.random.default_rng(seed).dirichlet(np.full(36, 2.0)).reshape(2, 3, 3, 2)

    def value(expression) -> np.ndarray:
        return evaluate(expression, joint, NODES)

    summed = tuple(sorted(over & free(body)))
    plain = value(Total(summed, body)) if summed else value(body)
    np.testing.assert_allclose(*np.broadcast_arrays(value(total(summed, body)), plain), rtol=1e-9)
    above = np.broadcast_arrays(value(quotient(body, other)), value(Quotient(body, other)))
    np.testing.assert_allclose(*above, rtol=1e-9)
    both = np.broadcast_arrays(value(product([body, other])), value(body) * value(other))
    np.testing.assert_allclose(*both, rtol=1e-9)


def test_laws_that_sum_to_one_disappear() -> None:
    chain = product([Law(("a",)), Law(("b",), ("a",)), Law(("c",), ("b",))])
    assert total(["c"], chain) == product([Law(("a",)), Law(("b",), ("a",))])
    assert total(["a", "b", "c"], chain) == Product(())
    assert total(["a"], chain) == Product(
        (Law(("c",), ("b",)), Total(("a",), product([Law(("a",)), Law(("b",), ("a",))])))
    )
    assert total(["a"], Law(("a", "b"), ("c",))) == Law(("b",), ("c",))
    assert quotient(chain, chain) == Product(())


def test_names_in_use_are_primed_and_sums_within_products_bracketed() -> None:
    letters = {node: node for node in NODES}
    inner = Total(("b",), product([Law(("a",), ("b",)), Law(("b",))]))
    outer = Product((inner, Law(("c",), ("b",))))
    assert text(outer, letters, letters) == "(Σ_b′ P(a | b′) P(b′)) P(c | b)"
    clash = Total(("b",), product([Law(("a",), ("b",)), Law(("c",), ("b",)), inner]))
    assert text(clash, {"a": "A", "c": "C"}, letters) == "Σ_b P(A | b) P(C | b) Σ_b′ P(A | b′) P(b′)"
    assert text(Total(("b",), Law(("a",), ("b", "c"))), {"a": "a", "c": "b"}, letters) == "Σ_b′ P(a | b, b′)"
    assert text(Total(("a", "b"), Law(("c",), ("b", "a"))), {"c": "C"}, letters) == "Σ_{a,b} P(C | a, b)"
    assert text(Product(()), letters, letters) == "1"


def test_a_zero_denominator_is_an_error() -> None:
    joint = np.array([[0.5, 0.5], [0.0, 0.0]])
    with pytest.raises(PositivityError, match=r"P\(b \| a\) is undefined"):
        evaluate(Law(("b",), ("a",)), joint, "ab")
    with pytest.raises(PositivityError, match="a denominator of the formula is zero"):
        evaluate(Quotient(Law(("b",)), Law(("a",))), joint, "ab")
