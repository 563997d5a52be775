"""The Pyro program: sites, interventions, sampling, and tables from data."""

from __future__ import annotations

import random
import subprocess
import sys

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structural_models.errors import GraphError, NotIdentified, PositivityError, TableError
from structural_models.generative.mechanisms import CategoricalTable, LinearGaussian, bernoulli_logit
from structural_models.generative.model import StructuralCausalModel
from structural_models.graph import CausalGraph, preset


def test_one_site_per_node_and_what_is_returned_is_what_was_imposed(paper) -> None:
    import pyro

    trace = pyro.poutine.trace(paper.intervene({"question": 1}).model).get_trace(200)
    sites = [name for name, site in trace.nodes.items() if site["type"] == "sample" and name != "rows"]
    assert sites == list(paper.order)
    assert set(trace.nodes["question"]["value"].tolist()) == {0, 1}  # the natural value
    assert trace.nodes["_RETURN"]["value"]["question"].tolist() == [1] * 200


def test_interventions_merge_and_the_last_one_counts(paper) -> None:
    again = paper.intervene({"question": 0}).intervene({"question": 1, "severity": 2})
    assert again.interventions == {"question": 1, "severity": 2}
    assert paper.interventions == {}
    np.testing.assert_array_equal(again.law("answer"), paper.law("answer", do={"question": 1, "severity": 2}))
    drawn = again.sample(50, rng=np.random.default_rng(0))
    assert set(drawn["question"]) == {1} and set(drawn["severity"]) == {2}


def test_samples_follow_the_exact_laws(paper) -> None:
    """20,000 draws; every share within four standard errors."""
    n = 20_000
    for do in ({}, {"question": 1}, {"question": 0, "ecg": 1}):
        drawn = paper.intervene(do).sample(n, rng=np.random.default_rng(3))
        for node in paper.order:
            exact = paper.law(node, do=do)
            share = drawn[node].value_counts(normalize=True).reindex(list(paper.finite_levels(node)), fill_value=0.0)
            assert (np.abs(share.to_numpy() - exact) <= 4 * np.sqrt(exact * (1 - exact) / n)).all()


def test_a_gaussian_node_has_its_moments() -> None:
    graph = CausalGraph("g", nx.DiGraph([("s", "e"), ("e", "q"), ("q", "a")]), {"treatment": "q", "outcome": "a"})
    scm = StructuralCausalModel(
        graph,
        {
            "s": CategoricalTable(("low", "high"), [0.5, 0.5]),
            "e": LinearGaussian(1.0, {"s": [0.0, 2.0]}, 0.5),
            "q": bernoulli_logit(0.0, {"e": 1.0}),
            "a": bernoulli_logit(0.0, {"q": [-1.0, 1.0]}, levels=("no", "yes")),
        },
    )
    drawn = scm.sample(20_000, rng=np.random.default_rng(0))
    for level, mean in (("low", 1.0), ("high", 3.0)):
        e = drawn.loc[drawn["s"] == level, "e"]
        assert abs(e.mean() - mean) < 4 * 0.5 / np.sqrt(len(e))
        assert abs(e.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * len(e))
    assert set(scm.intervene({"e": 7.5}).sample(9, rng=np.random.default_rng(0))["e"]) == {7.5}


def test_sampling_repeats_itself_and_leaves_the_random_states_alone(paper) -> None:
    import torch

    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    first = paper.sample(100, rng=np.random.default_rng(1))
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected
    pd.testing.assert_frame_equal(first, paper.sample(100, rng=np.random.default_rng(1)))
    assert not first.equals(paper.sample(100, rng=np.random.default_rng(2)))


def test_fit_counts(paper) -> None:
    drawn = paper.sample(3000, rng=np.random.default_rng(0))
    scm = StructuralCausalModel.fit(paper.graph, drawn)
    shares = drawn.groupby(["ecg", "question", "severity"])["answer"].mean().unstack([1, 2]).to_numpy().reshape(2, 2, 3)
    table = scm.mechanisms["answer"]
    assert table.parents == ("ecg", "question", "severity")
    np.testing.assert_allclose(table.probabilities[..., 1], shares, atol=1e-12)
    severity, ecg = (
        drawn["severity"].value_counts(normalize=True),
        pd.crosstab(drawn["severity"], drawn["ecg"], normalize="index"),
    )
    for q in (0, 1):
        by_hand = sum(severity[s] * ecg.loc[s, e] * shares[e, q, s] for s in range(3) for e in range(2))
        assert scm.law("answer", do={"question": q})[1] == pytest.approx(by_hand, abs=1e-12)
    posterior = StructuralCausalModel.fit(paper.graph, drawn, concentration=2.0)
    counts = drawn["severity"].value_counts().sort_index().to_numpy()
    np.testing.assert_allclose(posterior.law("severity"), (counts + 2) / (3000 + 6), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_fitted_joint_is_the_product_of_shares(model_of, seed: int) -> None:
    """At the most frequent row, for any graph."""
    scm = model_of(seed)
    drawn = scm.sample(4000, rng=np.random.default_rng(seed))
    levels = {node: scm.finite_levels(node) for node in scm.mechanisms}
    again = StructuralCausalModel.fit(scm.graph, drawn, levels=levels, concentration=1e-9)
    joint = drawn.groupby(sorted(scm.mechanisms)).size().idxmax()
    held = dict(zip(sorted(scm.mechanisms), joint, strict=True))
    by_hand = 1.0
    for node in scm.mechanisms:
        parents = list(scm.graph.graph.predecessors(node))
        same = np.logical_and.reduce([drawn[p] == held[p] for p in parents]) if parents else np.ones(4000, dtype=bool)
        by_hand *= float((drawn.loc[same, node] == held[node]).mean())
    assert again.probability(held) == pytest.approx(by_hand, rel=1e-6)


def test_bad_input_is_one_sentence(paper) -> None:
    drawn = paper.sample(2000, rng=np.random.default_rng(0))
    rng = np.random.default_rng(0)
    fit = StructuralCausalModel.fit
    for call, error, says in [
        (lambda: paper.intervene({"quesion": 1}), GraphError, "names 'quesion' in do"),
        (lambda: paper.intervene({"question": "1"}), TableError, "not among its levels .0, 1."),
        (lambda: paper.sample(0, rng=rng), TableError, "at least one row"),
        (lambda: fit(preset("latent_severity"), drawn), NotIdentified, "declares severity latent"),
        (lambda: fit(paper.graph, drawn.drop(columns="ecg")), TableError, "lacks the column 'ecg'"),
        (lambda: fit(paper.graph, drawn.assign(ecg=0.5)), TableError, "'ecg' holds quantities"),
        (lambda: fit(paper.graph, drawn.iloc[:0]), TableError, "no rows"),
        (lambda: fit(paper.graph, drawn, concentration=-1.0), TableError, "at least 0"),
        (lambda: fit(paper.graph, drawn, levels={"severity": (0, 1)}), TableError, "column 'severity' holds '2'"),
        (lambda: fit(paper.graph, drawn, levels={"severty": (0, 1)}), GraphError, "'severty' in levels"),
        (lambda: fit(paper.graph, drawn, levels={"severity": (0, 1, 2, 3)}), PositivityError, "severity = 3"),
    ]:
        with pytest.raises(error, match=says) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_importing_the_models_loads_neither_torch_nor_pyro() -> None:
    names = (
        "coupling",
        "enumeration",
        "latent",
        "mechanisms",
        "model",
        "multilevel",
        "necessity",
        "program",
        "proxies",
        "saturated",
        "twins",
    )
    imports = ", ".join(f"structural_models.generative.{name}" for name in names)
    code = f"import sys, {imports}; print([m for m in ('torch', 'pyro', 'dowhy', 'scipy.stats', 'sklearn') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
