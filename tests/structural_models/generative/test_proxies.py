"""Two proxies: exact on an exact law, covered in samples, refused where the graph or the data do not carry it."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from structural_models.errors import GraphError, NotIdentified, PositivityError, TableError
from structural_models.generative.mechanisms import CategoricalTable, bernoulli_logit
from structural_models.generative.model import StructuralCausalModel
from structural_models.generative.proxies import _law, proximal_effect
from structural_models.graph import CausalGraph

EDGES = [
    ("severity", "question"),
    ("severity", "answer"),
    ("question", "answer"),
    ("severity", "age"),
    ("severity", "ecg"),
    ("ecg", "answer"),
]
ROLES = {"severity": "severity", "treatment": "question", "ecg": "ecg", "outcome": "answer"}


def model(informative: float = 1.0, severities: int = 2) -> StructuralCausalModel:
    """The ECG serves as outcome proxy although it acts on the answer; age as treatment proxy."""
    rng = np.random.default_rng(5)
    graph = CausalGraph("proxies", nx.DiGraph(EDGES), ROLES, frozenset({"severity"}))
    levels = tuple(range(severities))

    def proxy() -> np.ndarray:
        sharp = 0.6 * np.eye(severities) + 0.4 * rng.dirichlet(np.ones(severities), severities)
        return informative * sharp + (1 - informative) / severities

    return StructuralCausalModel(
        graph,
        {
            "severity": CategoricalTable(levels, rng.dirichlet(5 * np.ones(severities))),
            "age": CategoricalTable(levels, proxy(), ("severity",)),
            "ecg": CategoricalTable(levels, proxy(), ("severity",)),
            "question": CategoricalTable((0, 1), np.linspace([0.8, 0.2], [0.2, 0.8], severities), ("severity",)),
            "answer": bernoulli_logit(
                -1.5,
                {
                    "severity": np.linspace(0, 2, severities),
                    "question": [0, 0.7],
                    "ecg": np.linspace(0, 0.5, severities),
                },
            ),
        },
    )


def truth(scm: StructuralCausalModel) -> np.ndarray:
    return np.array([scm.law("answer", do={"question": q}) for q in (0, 1)])


@pytest.mark.parametrize("severities", [2, 3, 4])
def test_the_formula_is_exact_on_the_observed_law(severities: int) -> None:
    scm = model(severities=severities)
    levels = range(severities)
    joint = np.array(
        [
            [
                [[scm.probability({"question": q, "age": z, "ecg": w, "answer": a}) for a in (0, 1)] for w in levels]
                for z in levels
            ]
            for q in (0, 1)
        ]
    )
    np.testing.assert_allclose(_law(joint), truth(scm), atol=1e-9)
    seen = joint.sum(axis=(1, 2)) / joint.sum(axis=(1, 2, 3))[:, None]
    assert np.abs(seen - truth(scm)).max() > 0.05


def test_samples_cover_the_truth() -> None:
    scm = model()
    table = scm.sample(20_000, rng=np.random.default_rng(0)).drop(columns="severity")
    found = proximal_effect(
        scm.graph, table, treatment_proxy="age", outcome_proxy="ecg", rng=np.random.default_rng(1), replicates=200
    )
    spread = found.replicates.std(axis=0)
    assert (np.abs(found.law - truth(scm)) < 4 * spread).all()
    seen = table.groupby("question")["answer"].mean().to_numpy()
    assert (np.abs(seen - truth(scm)[:, 1]) > 4 * spread[:, 1]).all()
    assert (found.low < found.law).all() and (found.law < found.high).all()
    np.testing.assert_allclose(found.law.sum(axis=1), 1, atol=1e-12)
    assert any("no more than 2 levels" in sentence for sentence in found.assumptions)
    assert set(found.to_dict()) == {"arms", "levels", "law", "low", "high", "determinants", "assumptions"}


def test_proxies_that_say_nothing_are_refused_by_the_data() -> None:
    scm = model(informative=0.02)
    table = scm.sample(2000, rng=np.random.default_rng(0))
    with pytest.raises(NotIdentified, match="determinant of P.ecg . age. may be zero"):
        proximal_effect(
            scm.graph, table, treatment_proxy="age", outcome_proxy="ecg", rng=np.random.default_rng(1), replicates=100
        )


def test_what_the_graph_does_not_say_is_refused() -> None:
    scm = model()
    table = scm.sample(2000, rng=np.random.default_rng(0))

    def call(graph=scm.graph, data=table, z="age", w="ecg"):
        return proximal_effect(
            graph, data, treatment_proxy=z, outcome_proxy=w, rng=np.random.default_rng(0), replicates=100
        )

    def changed(*more: tuple[str, str], latent: str = "severity") -> CausalGraph:
        return CausalGraph("changed", nx.DiGraph([*EDGES, *more]), ROLES, frozenset({latent} if latent else ()))

    for attempt, error, says in [
        (
            lambda: call(z="ecg", w="age"),
            NotIdentified,
            "'ecg' independent of answer given question and severity, so it is no treatment proxy",
        ),
        (lambda: call(changed(("question", "ecg"))), NotIdentified, "no outcome proxy"),
        (lambda: call(changed(("age", "ecg"))), NotIdentified, "no treatment proxy|no outcome proxy"),
        (
            lambda: call(changed(("habit", "question"), ("habit", "answer"))),
            NotIdentified,
            "would not close every back-door",
        ),
        (lambda: call(changed(latent="")), GraphError, "no latent node"),
        (lambda: call(z="severity"), GraphError, "cannot be a proxy"),
        (lambda: call(z="sex"), GraphError, "'sex' as a proxy"),
        (lambda: call(data=table.assign(age=np.arange(2000) % 3)), TableError, "have 3 and 2 levels"),
        (
            lambda: call(data=table[(table["age"] == 0) | (table["question"] == 0)]),
            PositivityError,
            "no row has question = 1 and age = 1",
        ),
    ]:
        with pytest.raises(error, match=says) as caught:
            attempt()
        assert "\n" not in str(caught.value)
