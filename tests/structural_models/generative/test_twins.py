"""Twin worlds: consistency, interventional means, what each coupling promises, and bounds that hold for all."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.errors import GraphError, TableError
from structural_models.generative.coupling import COUPLINGS, counterfactual_levels
from structural_models.generative.mechanisms import CategoricalTable, Deterministic, LinearGaussian, bernoulli_logit
from structural_models.generative.model import StructuralCausalModel
from structural_models.generative.necessity import necessity_and_sufficiency
from structural_models.generative.twins import twins
from structural_models.graph import CausalGraph, preset


def four_nodes() -> StructuralCausalModel:
    """Levels, a quantity, and a function, each downstream of the treatment q."""
    graph = CausalGraph(
        "g",
        nx.DiGraph([("s", "q"), ("s", "e"), ("q", "e"), ("e", "d"), ("d", "a"), ("q", "a"), ("s", "a")]),
        {"treatment": "q", "outcome": "a"},
    )
    return StructuralCausalModel(
        graph,
        {
            "s": CategoricalTable((0, 1), [0.6, 0.4]),
            "q": CategoricalTable(("x", "y", "z"), [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], ("s",)),
            "e": LinearGaussian(0.0, {"s": [0.0, 1.0], "q": [0.0, 0.5, -0.5]}, 0.7),
            "d": Deterministic(lambda v: v["e"] > 0.5, ("e",), (False, True)),
            "a": CategoricalTable(
                ("no", "maybe", "yes"), np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 3, 2)), ("d", "q", "s")
            ),
        },
    )


laws = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_where_nothing_is_changed_nothing_changes(coupling) -> None:
    """Consistency: do(Q = own value) returns the row, to the last bit, and then no coupling is to blame."""
    scm = four_nodes()
    units = scm.sample(3000, rng=np.random.default_rng(1))
    units.index = units.index + 100
    for value in ("x", "y", "z"):
        own = units[units["q"] == value]
        found = twins(scm, own, do={"q": value}, coupling=coupling, rng=np.random.default_rng(2))
        pd.testing.assert_frame_equal(found.counterfactual, own[list(scm.order)])
        assert not found.coupling_dependent and found.label == "independent of the coupling"
    everyone = twins(scm, units, do={"q": "y"}, coupling=coupling, rng=np.random.default_rng(2))
    pd.testing.assert_frame_equal(everyone.counterfactual[units["q"] == "y"], units[units["q"] == "y"][list(scm.order)])


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_means_of_twins_are_the_interventional_law(coupling) -> None:
    """Within four standard errors of an exact law, or of a sample as large."""
    scm, n = four_nodes(), 20_000
    units = scm.sample(n, rng=np.random.default_rng(3))
    for value in ("x", "z"):
        found = twins(scm, units, do={"q": value}, coupling=coupling, rng=np.random.default_rng(4))
        assert found.coupling_dependent and "coupling-dependent" in str(found) and coupling in found.label
        drawn = scm.intervene({"q": value}).sample(n, rng=np.random.default_rng(5))
        for level in ("no", "maybe", "yes"):
            p, q = (found.counterfactual["a"] == level).mean(), (drawn["a"] == level).mean()
            assert abs(p - q) < 4 * np.sqrt(2 * p * (1 - p) / n)
        # The quantity's noise is additive and kept.
        moved = found.counterfactual["e"] - found.factual["e"]
        shift = {"x": 0.0, "y": 0.5, "z": -0.5}
        np.testing.assert_allclose(moved, shift[value] - units["q"].map(shift), atol=1e-12)
        assert (found.counterfactual["d"] == (found.counterfactual["e"] > 0.5)).all()


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_exact_laws_of_a_model_of_levels(paper, coupling) -> None:
    n = 20_000
    units = paper.sample(n, rng=np.random.default_rng(6))
    found = twins(paper, units, do={"question": 1}, coupling=coupling, rng=np.random.default_rng(7))
    for answer in (0, 1):
        p = paper.probability({"answer": answer}, do={"question": 1})
        assert abs((found.counterfactual["answer"] == answer).mean() - p) < 4 * np.sqrt(p * (1 - p) / n)
    # Effect of treatment on those asked otherwise: the same under every coupling, by back-door within severity.
    asked = units["question"] == 0
    p = paper.probability({"severity": 2}, given={"question": 0})
    assert abs((found.counterfactual.loc[asked, "severity"] == 2).mean() - p) < 4 * np.sqrt(p * (1 - p) / asked.sum())


@settings(max_examples=40, deadline=None)
@given(rng=laws, size=st.integers(2, 5))
def test_gumbel_max_is_counterfactually_stable(rng: np.random.Generator, size: int) -> None:
    """Oberst & Sontag: level j is never turned to where its odds against the factual one have not risen."""
    law, other = np.repeat(rng.dirichlet(np.ones(size), 2)[:, None], 500, axis=1)
    factual = rng.choice(size, 500, p=law[0])
    found = counterfactual_levels(factual, law, other, "gumbel_max", rng=rng)
    ratio = other[0] / law[0]
    moved = found != factual
    assert (ratio[found[moved]] > ratio[factual[moved]]).all()


@settings(max_examples=40, deadline=None)
@given(rng=laws, size=st.integers(2, 5))
def test_the_inverse_cdf_is_monotone(rng: np.random.Generator, size: int) -> None:
    """Where the other law is stochastically larger, nobody's level falls."""
    law = rng.dirichlet(np.ones(size))
    cumulated = np.cumsum(law)
    cumulated[:-1] *= rng.random(size - 1)
    other = np.diff(np.minimum.accumulate(cumulated[::-1])[::-1], prepend=0.0)
    factual = rng.choice(size, 500, p=law)
    rows = [np.repeat(p[None], 500, axis=0) for p in (law, other)]
    assert (counterfactual_levels(factual, *rows, "inverse_cdf", rng=rng) >= factual).all()


def test_the_inverse_cdf_can_break_stability_and_gumbel_max_monotony() -> None:
    """The two couplings are different claims, each refuted by the other's example."""
    rng = np.random.default_rng(0)
    law, other = np.array([0.4, 0.3, 0.3]), np.array([0.2, 0.3, 0.5])
    factual = rng.choice(3, 4000, p=law)
    rows = [np.repeat(p[None], 4000, axis=0) for p in (law, other)]
    by_cdf = counterfactual_levels(factual, *rows, "inverse_cdf", rng=rng)
    assert ((factual == 1) & (by_cdf == 2)).any() and ((factual == 0) & (by_cdf == 2)).sum() == 0
    by_gumbel = counterfactual_levels(factual, *rows, "gumbel_max", rng=rng)
    assert ((factual == 0) & (by_gumbel == 2)).any()
    # Odds of level 1 against 0 rise (2), of 2 against 1 rise (5/3): from 1 only to 2.
    assert not ((factual == 1) & (by_gumbel == 0)).any()


@pytest.mark.parametrize("coupling", COUPLINGS)
@settings(max_examples=25, deadline=None)
@given(rng=laws)
def test_laws_with_zeros_keep_their_promises(coupling, rng: np.random.Generator) -> None:
    """Impossible levels stay impossible, consistency holds, and P(counterfactual) is the other law."""
    n, size = 4000, 4
    law, other = (
        p / p.sum() for p in rng.dirichlet(np.ones(size), 2) * np.maximum(rng.random((2, size)) < 0.6, np.eye(size)[0])
    )
    factual = rng.choice(size, n, p=law)
    rows = [np.repeat(p[None], n, axis=0) for p in (law, other)]
    found = counterfactual_levels(factual, *rows, coupling, rng=rng)
    shares = np.bincount(found, minlength=size) / n
    assert (shares[other == 0] == 0).all()
    # 25 examples of 4 levels: five standard errors keep the chance of a false alarm below 1e-4.
    assert (np.abs(shares - other) <= 5 * np.sqrt(other * (1 - other) / n) + 1e-12).all()
    np.testing.assert_array_equal(counterfactual_levels(factual, rows[0], rows[0], coupling, rng=rng), factual)


def response_type_bounds(joint: np.ndarray, p_high: float, p_low: float) -> tuple[float, float]:
    """PNS by linear programming over (x, response type); joint[x, y], x = 1 is high."""
    from scipy.optimize import linprog

    types = [(x, y0, y1) for x in (0, 1) for y0 in (0, 1) for y1 in (0, 1)]
    rows = [[float(t[0] == x and t[1 + x] == y) for t in types] for x in (0, 1) for y in (0, 1)]
    rows += [[float(t[2]) for t in types], [float(t[1]) for t in types]]
    right = [*joint.reshape(-1), p_high, p_low]
    pns = np.array([float(t[1] == 0 and t[2] == 1) for t in types])
    low, high = (linprog(sign * pns, A_eq=rows, b_eq=right, bounds=(0, 1)) for sign in (1, -1))
    assert low.success and high.success
    return float(low.fun), float(-high.fun)


def test_bounds_are_those_of_linear_programming(paper) -> None:
    """Tian & Pearl's are sharp given the joint law and the two experiments; random models with an unadjusted parent."""
    sharper = 0
    for seed in range(15):
        rng = np.random.default_rng(seed)
        graph = CausalGraph("g", nx.DiGraph([("u", "q"), ("u", "a"), ("q", "a")]), {"treatment": "q", "outcome": "a"})
        one = rng.random((2, 2))
        scm = StructuralCausalModel(
            graph,
            {
                "u": CategoricalTable((0, 1), rng.dirichlet([1, 1])),
                "q": CategoricalTable((0, 1), rng.dirichlet([0.5, 0.5], 2), ("u",)),
                "a": CategoricalTable((0, 1), np.stack([1 - one, one], axis=-1), ("u", "q")),
            },
        )
        found = necessity_and_sufficiency(scm, level=1, high=1, low=0)
        joint = np.array([[scm.probability({"q": x, "a": y}) for y in (0, 1)] for x in (0, 1)])
        low, high = response_type_bounds(joint, found.p_high, found.p_low)
        assert (found.lower, found.upper) == pytest.approx((low, high), abs=1e-9)
        sharper += found.upper < min(found.p_high, 1 - found.p_low) - 1e-6
        inside = necessity_and_sufficiency(scm, level=1, high=1, low=0, within=["u"])
        assert found.lower - 1e-9 <= inside.lower <= inside.upper <= found.upper + 1e-9
        share, y = scm.law("u"), one
        assert inside.lower == pytest.approx((share * np.maximum(0, y[:, 1] - y[:, 0])).sum(), abs=1e-9)
        assert inside.upper == pytest.approx((share * np.minimum(y[:, 1], 1 - y[:, 0])).sum(), abs=1e-9)
    assert sharper >= 3


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_twins_lie_within_the_bounds(paper, coupling) -> None:
    """Monotone in two levels, both couplings reach the lower bound within severity and ECG; the same seed = the same noise."""
    n = 20_000
    units = paper.sample(n, rng=np.random.default_rng(8))
    one, zero = (
        twins(paper, units, do={"question": q}, coupling=coupling, rng=np.random.default_rng(9)) for q in (1, 0)
    )
    share = ((one.counterfactual["answer"] == 1) & (zero.counterfactual["answer"] == 0)).mean()
    bounds = necessity_and_sufficiency(paper, level=1, high=1, low=0, within=["severity", "ecg"])
    assert abs(share - bounds.lower) < 4 * np.sqrt(bounds.lower * (1 - bounds.lower) / n)
    assert bounds.decided_by_coupling > 0.1
    assert "whatever the coupling" in str(bounds)
    assert bounds.to_dict()["within"] == ["severity", "ecg"]


def test_a_law_without_chance_leaves_nothing_to_the_coupling() -> None:
    graph = CausalGraph("g", nx.DiGraph([("q", "a")]), {"treatment": "q", "outcome": "a"})
    scm = StructuralCausalModel(
        graph, {"q": CategoricalTable((0, 1), [0.5, 0.5]), "a": CategoricalTable((0, 1), [[0.3, 0.7], [0, 1]], ("q",))}
    )
    units = scm.sample(50, rng=np.random.default_rng(0))
    found = twins(scm, units, do={"q": 1}, rng=np.random.default_rng(0))
    assert not found.coupling_dependent and set(found.counterfactual["a"]) == {1}
    assert twins(scm, units, do={"q": 0}, rng=np.random.default_rng(0)).coupling_dependent is False
    assert found.to_dict()["label"] == "independent of the coupling" and "units and their twins" in str(found)


def test_bad_units_are_one_sentence(paper) -> None:
    units = paper.sample(20, rng=np.random.default_rng(0))
    rng = np.random.default_rng(0)
    rule = StructuralCausalModel(
        preset("reference_paper"),
        {
            "severity": CategoricalTable((0, 1, 2), [0.5, 0.5, 0.0]),
            "question": CategoricalTable((0, 1), np.full((3, 2), 0.5), ("severity",)),
            "ecg": CategoricalTable((0, 1), [0.5, 0.5]),
            "answer": bernoulli_logit(0.0, {"severity": [0, 0, 0], "question": [0, 0], "ecg": [0, 0]}),
        },
    )
    for call, error, says in [
        (lambda: twins(paper, units, do={"quest": 1}, rng=rng), GraphError, "names 'quest' in do"),
        (lambda: twins(paper, units, do={"question": 5}, rng=rng), TableError, "not among its levels"),
        (lambda: twins(paper, units, do={}, rng=rng, coupling="twins"), TableError, "inverse_cdf or gumbel_max"),
        (
            lambda: twins(paper, units.drop(columns="severity"), do={}, rng=rng),
            TableError,
            "lacks the column 'severity'",
        ),
        (lambda: twins(paper, units.assign(ecg=3), do={}, rng=rng), TableError, "column 'ecg' holds '3'"),
        (
            lambda: twins(rule, units.assign(severity=2), do={}, rng=rng),
            TableError,
            "row 0 of the units has a value of 'severity'",
        ),
        (lambda: twins(paper, units, do={}, rng=rng).changed("answr"), TableError, "no node 'answr'"),
        (lambda: necessity_and_sufficiency(paper, level=1, high=1, low=1), TableError, "compare two values"),
        (
            lambda: necessity_and_sufficiency(paper, level=1, high=1, low=0, within=["answer"]),
            GraphError,
            "not prior to",
        ),
    ]:
        with pytest.raises(error, match=says) as caught:
            call()
        assert "\n" not in str(caught.value)
