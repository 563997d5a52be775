"""Front doors, instruments and the ID algorithm as a user meets them: routes, formulas, refusals, evaluation."""

from __future__ import annotations

import json
from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from structural_models.errors import GraphError, NotIdentified, PositivityError, TableError
from structural_models.frontdoor import frontdoor_set
from structural_models.graph import PRESETS, CausalGraph, preset
from structural_models.identification import identify, identify_law
from structural_models.instruments import instruments

ROLES = {"treatment": "q", "outcome": "a"}


def graph_of(edges: str, latent: str = "", **roles: str) -> CausalGraph:
    drawn = nx.DiGraph([tuple(edge) for edge in edges.split()])
    return CausalGraph("test", drawn, {**ROLES, **roles}, frozenset(latent))


FRONT_DOOR = graph_of("qm ma uq ua", "u")
NAPKIN = graph_of("wz zq qa uw uq vw va", "uv")


def check(graph: CausalGraph, found, law_of, seed: int) -> None:
    """The law from the observed joint is the truncated factorisation's."""
    nodes = sorted(graph.observed)
    seen = law_of(graph.graph, np.random.default_rng(seed), None).marginal(nodes)
    by_formula = found.law(seen, nodes)
    held = list(found.conditioning)
    for q in (0, 1):
        done = law_of(graph.graph, np.random.default_rng(seed), {found.treatment: q})
        truth = done.conditional([found.outcome], held)
        np.testing.assert_allclose(by_formula[q], truth, atol=1e-10)


@pytest.mark.parametrize("method", ["auto", "complete"])
@pytest.mark.parametrize("name", [name for name in PRESETS if name != "latent_severity"])
def test_every_preset_with_a_measured_severity_is_identified_by_both_methods(name: str, method, law_of) -> None:
    graph = preset(name)
    for conditioning in (None, ()):
        found = identify_law(graph, conditioning=conditioning, method=method)
        assert found.strategy == ("adjustment" if method == "auto" else "ID")
        check(graph, found, law_of, 4)
    if method == "auto":
        assert identify_law(graph).formula == identify(graph).formula
        assert identify_law(graph).assumptions == identify(graph).assumptions


def test_the_front_door_opens_where_no_adjustment_will_do(law_of) -> None:
    found = identify_law(FRONT_DOOR)
    assert (found.strategy, found.through) == ("front-door", ("m",))
    assert found.formula == "P(A | do(Q)) = Σ_m P(m | Q) Σ_q P(A | m, q) P(q)"
    check(FRONT_DOOR, found, law_of, 1)
    with pytest.raises(NotIdentified) as refused:
        identify(FRONT_DOOR)
    said = str(refused.value)
    assert "is not adjustable in graph 'test': the path q ← u → a stays open" in said
    assert f"but it is identified by the front-door through m: {found.formula} (method auto)" in said
    assert said.endswith("measuring u would close it")


def test_the_front_door_given_the_ecg(law_of) -> None:
    graph = graph_of("qm ma uq ua ea em", "u", ecg="e")
    found = identify_law(graph)
    assert found.strategy == "front-door"
    assert found.formula == "P(A | E, do(Q)) = Σ_m P(m | E, Q) Σ_q P(A | E, m, q) P(q | E)"
    check(graph, found, law_of, 2)


def test_what_only_the_id_algorithm_finds(law_of) -> None:
    found = identify_law(NAPKIN)
    assert (found.strategy, found.through) == ("ID", ())
    assert found == identify_law(NAPKIN, method="complete")
    assert any("the same for every value of z" in sentence for sentence in found.assumptions)
    check(NAPKIN, found, law_of, 3)
    with pytest.raises(NotIdentified, match="identified by the ID algorithm: .* \\(method auto\\); measuring"):
        identify(NAPKIN)


def test_a_condition_after_the_treatment_is_left_to_the_id_algorithm(law_of) -> None:
    graph = graph_of("se sa sq qe ea qa", "", ecg="e", severity="s")
    with pytest.raises(NotIdentified, match="e is a consequence of q"):
        identify(graph)
    found = identify_law(graph)
    assert found.strategy == "ID"
    assert any(sentence.startswith("Condition: e is a consequence") for sentence in found.assumptions)
    check(graph, found, law_of, 6)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("method", ["auto", "complete"])
def test_hidden_severity_is_refused_for_good(name: str, method) -> None:
    graph = preset(name).with_latent(preset(name).node("severity"))
    if name == "finding_mediated":
        assert not nx.has_path(graph.graph, "style", "answer")  # P(A | do(F)) = P(A), but not given the ECG
        assert identify_law(graph, conditioning=["topic"], method=method).formula == "P(A | T, do(F)) = P(A | T)"
        return
    with pytest.raises(NotIdentified) as refused:
        identify_law(graph, method=method)
    said = str(refused.value)
    assert "by any formula" in said and "← severity → answer stays open" in said
    assert "measuring severity would identify it" in said
    assert "\n" not in said


def test_what_to_measure_is_the_least_that_identifies(random_graph) -> None:
    rng = np.random.default_rng(31)
    refused = 0
    for _ in range(80):
        graph = random_graph(rng, latent=3)
        try:
            identify_law(graph)
        except NotIdentified as error:
            cure = str(error).partition("measuring ")[2].partition(" would")[0].split(" and ")
            refused += 1
        else:
            continue

        def identified(measured: tuple[str, ...], graph: CausalGraph = graph) -> bool:
            try:
                identify_law(CausalGraph("g", graph.graph, ROLES, graph.latent - set(measured)))
            except NotIdentified:
                return False
            return True

        assert identified(tuple(cure))
        for size in range(len(cure)):
            assert not any(map(identified, combinations(sorted(graph.latent), size)))
    assert refused >= 15


def test_auto_is_complete_and_right_on_random_graphs(random_graph, law_of) -> None:
    rng = np.random.default_rng(17)
    seen: dict[str, int] = {}
    for seed in range(240):
        graph = random_graph(rng, nodes="qmaew", latent=int(rng.integers(1, 4)), density=0.35)
        verdicts = []
        for method in ("auto", "complete"):
            try:
                found = identify_law(graph, method=method)
            except NotIdentified:
                verdicts.append("refused")
                continue
            verdicts.append(found.strategy)
            check(graph, found, law_of, seed)
        assert (verdicts[0] == "refused") == (verdicts[1] == "refused")
        seen[verdicts[0]] = seen.get(verdicts[0], 0) + 1
    assert min(seen["adjustment"], seen["refused"]) >= 20
    assert min(seen["front-door"], seen["ID"]) >= 1


def test_front_doors_and_instruments_against_dowhy(random_graph) -> None:
    from dowhy.causal_identifier import BackdoorAdjustment, EstimandType, identify_effect_auto

    rng = np.random.default_rng(23)
    doors = levers = 0
    for _ in range(300):
        graph = random_graph(rng, nodes="qmaew", latent=2, density=0.3)
        if not nx.has_path(graph.graph, "q", "a"):
            continue
        theirs = identify_effect_auto(
            nx.DiGraph(graph.graph),
            ["q"],
            ["a"],
            sorted(graph.observed),
            EstimandType.NONPARAMETRIC_ATE,
            backdoor_adjustment=BackdoorAdjustment.BACKDOOR_MIN,
        )
        found = frontdoor_set(graph, ())
        assert (found is not None) == bool(theirs.frontdoor_variables)
        # Theirs are parents of the treatment, measured or not.
        assert set(theirs.instrumental_variables) & graph.observed <= set(instruments(graph, ()))
        doors += found is not None
        levers += bool(set(theirs.instrumental_variables) & graph.observed)
    assert doors >= 5
    assert levers >= 5


def test_an_instrument_is_named_where_nothing_better_is_left() -> None:
    graph = graph_of("zq qa uq ua", "u")
    assert instruments(graph, ()) == ("z",)
    for ask in (identify, identify_law):
        with pytest.raises(NotIdentified, match=r"\(z: instrument, which gives bounds"):
            ask(graph)
    assert instruments(graph_of("zq qa uq ua za", "u"), ()) == ()
    assert instruments(graph_of("zq qa uq ua wz wa", "u"), ()) == ()
    assert instruments(graph_of("zq qa uq ua wz wa", "u"), ("w",)) == ("z",)


def test_a_formula_is_evaluated_with_levels_of_any_number_and_axes_in_any_order() -> None:
    rng = np.random.default_rng(2)
    graph = graph_of("sq sa se qa ea", "", severity="s", ecg="e")
    sizes = {"a": 4, "e": 2, "q": 3, "s": 5}
    joint = rng.dirichlet(np.ones(120)).reshape([sizes[node] for node in "aeqs"])
    found = identify_law(graph)
    law = found.law(joint, "aeqs")
    assert law.shape == (3, 2, 4)
    given = joint / joint.sum(axis=0)
    weight = joint.sum(axis=(0, 2)) / joint.sum(axis=(0, 2, 3))[:, None]
    np.testing.assert_allclose(law, np.einsum("aeqs,es->qea", given, weight), atol=1e-14)
    np.testing.assert_allclose(found.law(joint.transpose(3, 1, 0, 2), "seaq"), law, atol=1e-14)
    np.testing.assert_allclose(identify_law(graph, method="complete").law(joint, "aeqs"), law, atol=1e-14)


def test_what_cannot_be_evaluated_is_said() -> None:
    found = identify_law(graph_of("sq sa qa"))
    joint = np.full((2, 2, 2), 1 / 8)
    with pytest.raises(TableError, match="no axis for 's'"):
        found.law(joint[0] * 2, "aq")
    with pytest.raises(TableError, match="2 axes for 3 nodes"):
        found.law(joint[0], "aqs")
    joint[:, 0, 1] = 0
    with pytest.raises(PositivityError, match=r"P\(a \| q, s\) is undefined"):
        found.law(joint / joint.sum(), "aqs")


def test_requests_that_make_no_sense() -> None:
    with pytest.raises(GraphError, match="latent"):
        identify_law(FRONT_DOOR, conditioning=["u"])
    with pytest.raises(NotIdentified, match="a is a cause of q"):
        identify_law(graph_of("aq"), method="complete")


def test_the_record_is_plain() -> None:
    record = json.loads(json.dumps(identify_law(FRONT_DOOR).to_dict()))
    assert record["strategy"] == "front-door"
    assert record["through"] == ["m"]
    assert "expression" not in record
    assert "front" not in str(identify_law(FRONT_DOOR)).splitlines()[0]
