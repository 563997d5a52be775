"""A latent confounder: refused, or labelled, because the posterior is confident where it is wrong."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from structural_models.errors import GraphError, NotIdentified, TableError
from structural_models.generative.latent import latent_model_posterior
from structural_models.generative.mechanisms import CategoricalTable
from structural_models.generative.model import StructuralCausalModel
from structural_models.graph import CausalGraph, preset

LATENT = preset("latent_severity")
SENTENCE = "severity has three levels and nothing else"


@pytest.fixture(scope="module")
def table(paper):
    return paper.sample(20_000, rng=np.random.default_rng(1)).drop(columns="severity")


def test_without_an_assumption_there_is_no_number(table) -> None:
    with pytest.raises(NotIdentified, match="question ← severity → answer") as refused:
        latent_model_posterior(LATENT, table, latent_levels={"severity": 3}, rng=np.random.default_rng(0))
    assert "assume_identified" in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(NotIdentified, match="states no assumption"):
        latent_model_posterior(
            LATENT, table, latent_levels={"severity": 3}, rng=np.random.default_rng(0), assume_identified="yes"
        )


def test_the_posterior_is_confidently_wrong_and_says_what_it_rests_on(paper, table) -> None:
    """Truth .112; the interval lies far above it, beside the confounded difference, and is narrow."""
    truth, naive = (
        paper.law("answer", **{how: {"question": 1}})[1] - paper.law("answer", **{how: {"question": 0}})[1]
        for how in ("do", "given")
    )
    found = latent_model_posterior(
        LATENT,
        table,
        latent_levels={"severity": 3},
        rng=np.random.default_rng(0),
        assume_identified=SENTENCE,
        steps=400,
        draws=500,
    )
    contrast = found.contrast(1, 1, 0)
    assert truth == pytest.approx(0.1124, abs=1e-4) and naive == pytest.approx(0.2814, abs=1e-4)
    assert contrast.low > truth + 0.05 and contrast.high - contrast.low < 0.1
    assert not found.identified
    label = "not identified: severity is latent; the interval reflects the prior and model form only"
    assert found.label == f"{label}; assumed: {SENTENCE}"
    assert label in str(contrast) and contrast.to_dict()["label"] == found.label
    # Every line that shows a number shows the label.
    assert all(label in line for line in str(found).splitlines())
    assert found.to_dict()["laws"]["1"]["1"]["label"] == found.label
    np.testing.assert_allclose(found.draws.sum(axis=2), 1, atol=1e-9)
    with pytest.raises(TableError, match="no arm '7'"):
        found.probability(1, 7)


def test_an_identified_target_needs_no_assumption_and_is_right() -> None:
    """A latent cause of the outcome alone: the difference of shares, with the spread of a sample as large."""
    graph = CausalGraph("g", nx.DiGraph([("u", "a"), ("q", "a")]), {"treatment": "q", "outcome": "a"}, frozenset("u"))
    one = np.array([[0.2, 0.5], [0.3, 0.8]])
    scm = StructuralCausalModel(
        graph,
        {
            "u": CategoricalTable((0, 1), [0.5, 0.5]),
            "q": CategoricalTable((0, 1), [0.5, 0.5]),
            "a": CategoricalTable((0, 1), np.stack([1 - one, one], axis=-1), ("u", "q")),
        },
    )
    table = scm.sample(4000, rng=np.random.default_rng(0))
    found = latent_model_posterior(graph, table, latent_levels={"u": 2}, rng=np.random.default_rng(1), steps=400)
    assert found.identified and found.label.startswith("identified by adjusting for nothing")
    for q in (0, 1):
        share, n = table.loc[table["q"] == q, "a"].mean(), (table["q"] == q).sum()
        assert abs(found.probability(1, q).estimate - share) < np.sqrt(share * (1 - share) / n)


def test_bad_input_is_one_sentence(table) -> None:
    rng = np.random.default_rng(0)
    for graph, data, options, error, says in [
        (preset("severity_visible"), table, {}, GraphError, "has no latent node"),
        (LATENT, table, {"latent_levels": {"severity": 1}}, GraphError, "at least two levels"),
        (LATENT, table, {"latent_levels": {"question": 2}}, GraphError, "latent_levels must give"),
        (LATENT, table.iloc[:0], {}, TableError, "no rows"),
        (LATENT, table.drop(columns="ecg"), {}, TableError, "lacks the column 'ecg'"),
        (LATENT, table, {"concentration": 0.0}, TableError, "concentration must be a positive number"),
        (LATENT, table, {"latent_levels": {"severity": 10**6}}, TableError, "merge levels"),
    ]:
        call = {"latent_levels": {"severity": 3}, "assume_identified": SENTENCE, **options}
        with pytest.raises(error, match=says) as caught:
            latent_model_posterior(graph, data, rng=rng, **call)
        assert "\n" not in str(caught.value)
