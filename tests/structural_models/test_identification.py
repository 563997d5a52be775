"""Every formula is checked against the truncated factorisation of random laws, every refusal by brute force."""

from __future__ import annotations

import json
import logging
from itertools import chain, combinations

import networkx as nx
import numpy as np
import pytest

from structural_models.errors import GraphError, NotIdentified
from structural_models.graph import PRESETS, CausalGraph, preset
from structural_models.identification import Estimand, identify

IDENTIFIED = [name for name in PRESETS if name != "latent_severity"]


def nodes_of(graph: CausalGraph, keys: tuple[str, ...]) -> list[str]:
    return [graph.roles.get(key, key) for key in keys]


def formula_and_truth(graph: CausalGraph, estimand: Estimand, law_of, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """P(outcome | treatment set, conditioning): by the estimand from the observed law, and from the mutilated law."""
    held, summed = nodes_of(graph, estimand.conditioning), nodes_of(graph, estimand.adjustment)
    law = law_of(graph.graph, np.random.default_rng(seed), None)
    regression = law.conditional([estimand.outcome], [estimand.treatment, *held, *summed])
    weight = law.conditional(summed, held)[None, ..., None] if summed else np.ones(())
    axes = tuple(range(1 + len(held), 1 + len(held) + len(summed)))
    by_formula = (regression * weight).sum(axis=axes)
    truth = [
        law_of(graph.graph, np.random.default_rng(seed), {estimand.treatment: q}).conditional([estimand.outcome], held)
        for q in (0, 1)
    ]
    return by_formula, np.stack(truth)


@pytest.mark.parametrize("name", IDENTIFIED)
@pytest.mark.parametrize("conditioning", [None, ()])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_formula_of_every_preset_is_the_interventional_law(name: str, conditioning, seed: int, law_of) -> None:
    graph = preset(name)
    estimand = identify(graph, conditioning=conditioning)
    by_formula, truth = formula_and_truth(graph, estimand, law_of, seed)
    np.testing.assert_allclose(by_formula, truth, atol=1e-12)


@pytest.mark.parametrize("name", ["reference_paper", "severity_visible"])
def test_the_marginal_weight_is_right_only_where_the_estimand_says_so(name: str, law_of) -> None:
    graph = preset(name)
    estimand = identify(graph)
    law = law_of(graph.graph, np.random.default_rng(3), None)
    regression = law.conditional(["answer"], ["question", "ecg", "severity"])
    by_marginal = np.einsum("qesa,s->qea", regression, law.marginal(["severity"]))
    _, truth = formula_and_truth(graph, estimand, law_of, 3)
    simplifies = any("simplifies to Σ_s P(A | E, Q, s) P(s)." in sentence for sentence in estimand.assumptions)
    assert simplifies == (name == "reference_paper")
    assert np.allclose(by_marginal, truth, atol=1e-12) == simplifies


def test_the_default_target_reads_as_in_the_textbook() -> None:
    estimand = identify(preset("severity_visible"))
    assert estimand.name == "P(A | E, do(Q))"
    assert estimand.formula == "P(A | E, do(Q)) = Σ_s P(A | E, Q, s) P(s | E)"
    assert (estimand.treatment, estimand.outcome) == ("question", "answer")
    assert (estimand.adjustment, estimand.conditioning) == (("severity",), ("ecg",))
    assert estimand.roles == {
        "severity": "severity",
        "treatment": "style",
        "topic": "topic",
        "ecg": "ecg_ids",
        "outcome": "answer",
        "patient": "patient_ids",
    }
    assert "P(Q = q | S = s) > 0" in str(estimand)
    for word in ("Consistency", "Positivity", "Exchangeability", "Role of E"):
        assert sum(sentence.startswith(word) for sentence in estimand.assumptions) == 1


def test_the_marginal_target_has_its_own_name() -> None:
    estimand = identify(preset("reference_paper"), conditioning=())
    assert estimand.name == "P(A | do(Q))"
    assert estimand.formula == "P(A | do(Q)) = Σ_s P(A | Q, s) P(s)"


def test_style_is_asked_for_within_a_topic() -> None:
    estimand = identify(preset("topic_and_style"))
    assert estimand.name == "P(A | E, do(Q))"
    assert estimand.formula == "P(A | E, T, do(F)) = Σ_s P(A | E, T, F, s) P(s | E, T)"
    assert any("P(F = f | S = s, T = t) > 0" in sentence for sentence in estimand.assumptions)
    assert identify(preset("topic_and_style"), conditioning=["ecg"]).adjustment == ("severity", "topic")


def test_a_style_without_any_effect_is_said_to_have_none() -> None:
    assert any("has no path to answer" in sentence for sentence in identify(preset("finding_mediated")).assumptions)


def test_columns_are_named_by_role() -> None:
    estimand = identify(preset("topic_and_style"), columns={"severity": "severity_burden", "topic": "question_id"})
    assert estimand.adjustment_columns == ("severity_burden",)
    assert estimand.conditioning_columns == ("ecg_ids", "question_id")
    with pytest.raises(GraphError, match="'sevrity'"):
        identify(preset("reference_paper"), columns={"sevrity": "x"})


def test_an_estimand_survives_json() -> None:
    estimand = identify(preset("topic_and_style"), columns={"severity": "severity_burden"})
    assert Estimand.from_dict(json.loads(json.dumps(estimand.to_dict()))) == estimand


def test_hidden_severity_is_refused_with_the_path_and_the_cure() -> None:
    for graph in (preset("latent_severity"), preset("topic_and_style").with_latent("severity")):
        with pytest.raises(NotIdentified) as caught:
            identify(graph)
        text = str(caught.value)
        assert f"{graph.node('treatment')} ← severity → answer" in text
        assert "measuring severity would close it" in text
        assert "\n" not in text


def test_a_confounder_without_a_role_is_adjusted_for_under_its_own_name() -> None:
    edges = [("age", "question"), ("age", "answer"), ("question", "answer"), ("ecg", "answer")]
    graph = CausalGraph("g", nx.DiGraph(edges), {"treatment": "question", "ecg": "ecg", "outcome": "answer"})
    estimand = identify(graph, columns={"age": "age_years"})
    assert estimand.formula == "P(A | E, do(Q)) = Σ_age P(A | E, Q, age) P(age | E)"
    assert estimand.adjustment_columns == ("age_years",)
    assert "severity" not in estimand.roles


def test_no_confounding_needs_no_adjustment() -> None:
    graph = CausalGraph("g", nx.DiGraph([("q", "a"), ("e", "a")]), {"treatment": "q", "ecg": "e", "outcome": "a"})
    assert identify(graph).formula == "P(A | E, do(Q)) = P(A | E, Q)"
    assert identify(graph, conditioning=()).formula == "P(A | do(Q)) = P(A | Q)"


def test_severity_is_preferred_among_equally_small_sets() -> None:
    edges = [("blood", "severity"), ("severity", "question"), ("blood", "answer"), ("question", "answer")]
    graph = CausalGraph("g", nx.DiGraph(edges), {"severity": "severity", "treatment": "question", "outcome": "answer"})
    assert identify(graph).adjustment == ("severity",)


@pytest.mark.parametrize(
    ("edges", "says"),
    [
        ([("a", "q"), ("e", "a")], "a is a cause of q"),
        ([("q", "e"), ("e", "a"), ("q", "a")], "e is a consequence of q"),
        ([("q", "a"), ("a", "e")], "e is a consequence of q or a"),
    ],
)
def test_orders_that_rule_adjustment_out_are_named(edges: list[tuple[str, str]], says: str) -> None:
    graph = CausalGraph("g", nx.DiGraph(edges), {"treatment": "q", "ecg": "e", "outcome": "a"})
    with pytest.raises(NotIdentified, match=says):
        identify(graph)


def test_conditioning_must_make_sense() -> None:
    for conditioning, says in (
        (["rhythm"], "'rhythm'"),
        (["severity"], "latent"),
        (["outcome"], "the treatment or the outcome"),
    ):
        with pytest.raises(GraphError, match=says):
            identify(preset("latent_severity"), conditioning=conditioning)


def test_random_graphs_against_truncated_factorisation_and_brute_force(law_of) -> None:
    rng = np.random.default_rng(7)
    identified = refused = 0
    for seed in range(70):
        order = ["u", "v", "s", *rng.permutation(["e", "q"]), "a"]
        edges = [(x, y) for i, x in enumerate(order) for y in order[i + 1 :] if rng.random() < 0.5]
        drawn = nx.DiGraph([*edges, ("q", "a")])
        drawn.add_nodes_from(order)
        hidden = frozenset(node for node in "uvs" if rng.random() < 0.45)
        graph = CausalGraph("random", drawn, {"treatment": "q", "outcome": "a", "ecg": "e", "severity": "s"}, hidden)
        held = {"e"} - nx.descendants(drawn, "q")
        free = graph.observed - nx.descendants(drawn, "q") - {"q", "a"} - held
        cut = drawn.copy()
        cut.remove_edges_from(list(drawn.out_edges("q")))
        subsets = chain.from_iterable(combinations(sorted(free), size) for size in range(len(free) + 1))
        valid = [set(z) for z in subsets if nx.is_d_separator(cut, {"q"}, {"a"}, held | set(z))]
        try:
            estimand = identify(graph, conditioning=sorted(held))
        except NotIdentified as error:
            assert valid == []
            cure = str(error).partition("measuring ")[2].partition(" would close")[0].split(" and ")
            measured = CausalGraph("random", drawn, graph.roles, hidden - set(cure))
            identify(measured, conditioning=sorted(held))
            refused += 1
            continue
        chosen = set(nodes_of(graph, estimand.adjustment))
        assert chosen in valid
        assert len(chosen) == min(map(len, valid))
        smallest = nx.find_minimal_d_separator(cut, {"q"}, {"a"}, included=held, restricted=free | held)
        assert smallest is not None
        by_formula, truth = formula_and_truth(graph, estimand, law_of, seed)
        np.testing.assert_allclose(by_formula, truth, atol=1e-12)
        identified += 1
    assert min(identified, refused) >= 10


def test_networkx_finds_the_same_separator_for_the_preset() -> None:
    cut = nx.DiGraph(preset("reference_paper").graph)
    cut.remove_edges_from(list(cut.out_edges("question")))
    assert nx.find_minimal_d_separator(cut, {"question"}, {"answer"}) == {"severity"}


def test_the_logger_is_left_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("dowhy")
    before = logger.level
    with caplog.at_level(logging.INFO):
        identify(preset("finding_mediated"))
    assert logger.level == before
    assert [record for record in caplog.records if record.name.startswith("dowhy")] == []


def test_where_closing_one_path_opens_another_the_refusal_says_so() -> None:
    """The butterfly: z closes question <- z -> answer, and opens question <- u1 -> z <- u2 -> answer."""
    edges = [
        ("z", "question"), ("z", "answer"), ("u1", "question"), ("u1", "z"), ("u2", "z"), ("u2", "answer"),
        ("question", "answer"), ("ecg", "answer"),
    ]  # fmt: skip
    roles = {"treatment": "question", "ecg": "ecg", "outcome": "answer"}
    graph = CausalGraph("butterfly", nx.DiGraph(edges), roles, frozenset({"u1", "u2"}))
    with pytest.raises(NotIdentified) as refused:
        identify(graph)
    said = str(refused.value)
    assert "question ← z → answer is open" in said
    assert "adjusting for ecg, z opens question ← u1 → z ← u2 → answer" in said
    assert "measuring u1 would close it" in said


def test_what_the_treatment_depends_on_is_carried_along() -> None:
    assert identify(preset("severity_visible")).treatment_given == ("severity",)
    assert set(identify(preset("topic_and_style")).treatment_given) == {"severity", "topic"}
    again = Estimand.from_dict(identify(preset("topic_and_style")).to_dict())
    assert again == identify(preset("topic_and_style"))
