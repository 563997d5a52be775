"""From a declared graph to what it identifies: an adjustment, a front door, or the ID algorithm's formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import networkx as nx

from structural_models import refusals, statements
from structural_models.adjustment_sets import Preference, adjustment_set
from structural_models.do_calculus import Hedge, interventional_law
from structural_models.errors import GraphError, NotIdentified
from structural_models.estimand import CONDITIONAL, MARGINAL, Estimand
from structural_models.expressions import Expression, Law, product, total
from structural_models.frontdoor import frontdoor_law, frontdoor_set
from structural_models.graph import CausalGraph
from structural_models.identified_law import IdentifiedLaw, Strategy
from structural_models.instruments import instruments
from structural_models.mixed_graph import latent_projection

__all__ = [
    "CONDITIONAL",
    "DEFAULT_COLUMNS",
    "MARGINAL",
    "Estimand",
    "IdentifiedLaw",
    "NotIdentified",
    "identify",
    "identify_law",
]

#: role -> column of the items table, unless the caller says otherwise.
DEFAULT_COLUMNS = {
    "severity": "severity",
    "treatment": "style",
    "topic": "topic",
    "finding": "finding",
    "ecg": "ecg_ids",
    "outcome": "answer",
    "patient": "patient_ids",
}
#: Named in every estimand: every cohort has them, whether or not the graph draws them.
_ALWAYS = ("topic", "ecg", "patient")


def identify(
    graph: CausalGraph,
    *,
    columns: Mapping[str, str] | None = None,
    conditioning: Sequence[str] | None = None,
    method: Preference = "minimal",
) -> Estimand:
    """The effect of the treatment on the outcome by adjustment, in terms of what is observed.

    Args:
        graph: its latent nodes cannot be adjusted for.
        columns: role (or node without a role) -> column of the items table, over :data:`DEFAULT_COLUMNS`.
        conditioning: roles or nodes held at the item's own value. By default the ECG, and the topic where the graph
            has one: P(A | E, do(Q)). Without the ECG the target is marginal: P(A | do(Q)).
        method: "minimal": as few nodes as possible; among equally small sets one that holds the severity.
            "efficient": the set of smallest asymptotic variance (Rotnitzky & Smucler 2020), which may hold causes of
            the outcome that no back-door path needs.

    Raises:
        NotIdentified: no observed set closes every back-door path, or the order of the nodes rules adjustment out. Says
            so where :func:`identify_law` gets by without adjustment.
        GraphError: a name in ``columns`` or ``conditioning`` that the graph does not have, or a latent conditioning.
    """
    held = _conditioning_nodes(graph, conditioning)
    _check_direction(graph)
    _check_held(graph, held)
    found = adjustment_set(graph, held, method)
    if found is None:
        raise NotIdentified(refusals.not_adjustable(graph, held, _frontdoor(graph, held) or _complete(graph, held)))
    adjustment, best = found
    efficiency = [statements.efficiency(graph, held, adjustment, best=best)] if method == "efficient" else []
    return Estimand(
        name=_name(graph, held),
        treatment=graph.node("treatment"),
        outcome=graph.node("outcome"),
        adjustment=tuple(graph.key(node) for node in adjustment),
        conditioning=tuple(graph.key(node) for node in held),
        roles=_columns(graph, columns or {}, (*held, *adjustment)),
        formula=statements.formula(graph, held, adjustment),
        assumptions=(*statements.assumptions(graph, held, adjustment), *efficiency),
        treatment_given=tuple(
            graph.key(node) for node in statements.needed(graph, [graph.node("treatment")], (*adjustment, *held))
        ),
    )


def identify_law(
    graph: CausalGraph, *, conditioning: Sequence[str] | None = None, method: Literal["auto", "complete"] = "auto"
) -> IdentifiedLaw:
    """The law of the outcome under do(treatment), by whatever route the graph allows.

    Args:
        graph: latent nodes are common causes nobody has measured.
        conditioning: as for :func:`identify`; a consequence of the treatment is held at its value after do(treatment).
        method: "auto": by adjustment where that will do, else by a front door, else by the ID algorithm. "complete":
            by the ID algorithm (with conditions IDC), which finds a formula whenever there is one.

    Raises:
        NotIdentified: no formula in the observed nodes exists (ID is complete). Names an open path and what to measure.
        GraphError: a name in ``conditioning`` that the graph does not have, or a latent conditioning.
    """
    held = _conditioning_nodes(graph, conditioning)
    _check_direction(graph)
    found = None
    if method == "auto" and not statements.consequences(graph, held):
        found = _adjusted(graph, held) or _frontdoor(graph, held)
    found = found or _complete(graph, held)
    if found is None:
        raise NotIdentified(refusals.not_identified(graph, held))
    return found


def _adjusted(graph: CausalGraph, held: Sequence[str]) -> IdentifiedLaw | None:
    found = adjustment_set(graph, held, "minimal")
    if found is None:
        return None
    adjustment, _ = found
    weight = [Law(adjustment, tuple(held))] if adjustment else []
    regression = Law((graph.node("outcome"),), (*held, graph.node("treatment"), *adjustment))
    expression = total(adjustment, product([regression, *weight]))
    return _law(graph, held, "adjustment", adjustment, expression, statements.assumptions(graph, held, adjustment))


def _frontdoor(graph: CausalGraph, held: Sequence[str]) -> IdentifiedLaw | None:
    mediators = frontdoor_set(graph, held)
    if mediators is None:
        return None
    assumptions = statements.frontdoor_assumptions(graph, held, mediators)
    return _law(graph, held, "front-door", mediators, frontdoor_law(graph, held, mediators), assumptions)


def _complete(graph: CausalGraph, held: Sequence[str]) -> IdentifiedLaw | None:
    query = [graph.node("outcome")], [graph.node("treatment")], held
    try:
        expression = interventional_law(latent_projection(graph.graph, graph.latent), *query)
    except Hedge:
        return None
    return _law(graph, held, "ID", (), expression, statements.complete_assumptions(graph, held, expression))


def _law(
    graph: CausalGraph,
    held: Sequence[str],
    strategy: Strategy,
    through: tuple[str, ...],
    expression: Expression,
    assumptions: Iterable[str],
) -> IdentifiedLaw:
    return IdentifiedLaw(
        target=statements.target(graph, held),
        strategy=strategy,
        treatment=graph.node("treatment"),
        outcome=graph.node("outcome"),
        conditioning=tuple(held),
        through=through,
        formula=statements.law_formula(graph, held, expression),
        assumptions=tuple(assumptions),
        instruments=() if statements.consequences(graph, held) else instruments(graph, held),
        expression=expression,
    )


def _conditioning_nodes(graph: CausalGraph, conditioning: Sequence[str] | None) -> tuple[str, ...]:
    if conditioning is None:
        conditioning = [role for role in ("ecg", "topic") if role in graph.roles]
    nodes = [graph.roles.get(name, name) for name in conditioning]
    for node in nodes:
        graph.require_node(node, "as conditioned on")
        if node in graph.latent:
            raise GraphError(f"graph '{graph.name}' declares '{node}' latent, so nothing can be conditioned on it")
        if node in (graph.node("treatment"), graph.node("outcome")):
            raise GraphError(
                f"'{node}' is the treatment or the outcome of graph '{graph.name}'; condition on others only"
            )
    return tuple(dict.fromkeys(nodes))


def _check_direction(graph: CausalGraph) -> None:
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    if treatment in nx.descendants(graph.graph, outcome):
        raise NotIdentified(
            f"in graph '{graph.name}' {outcome} is a cause of {treatment}, which therefore has no effect on it to "
            f"identify; turn the arrows that lead from {outcome} to {treatment} around"
        )


def _check_held(graph: CausalGraph, held: Sequence[str]) -> None:
    for node in statements.consequences(graph, held):
        raise NotIdentified(
            f"in graph '{graph.name}' {node} is a consequence of {graph.node('treatment')} or {graph.node('outcome')}, "
            f"so conditioning on it is no adjustment; leave {node} out of the conditioning"
        )


def _columns(graph: CausalGraph, given: Mapping[str, str], used: Sequence[str]) -> dict[str, str]:
    known = {*DEFAULT_COLUMNS, *graph.graph}
    for key in given:
        if key not in known:
            raise GraphError(f"'{key}' is neither a role nor a node of graph '{graph.name}'; it cannot name a column")
    latent_roles = {role for role, node in graph.roles.items() if node in graph.latent}
    wanted = [role for role in DEFAULT_COLUMNS if role in graph.roles or role in _ALWAYS or role in given]
    columns = {role: given.get(role, DEFAULT_COLUMNS[role]) for role in wanted if role not in latent_roles}
    bare = [node for node in used if graph.role_of(node) is None]
    return {**columns, **{node: given.get(node, node) for node in bare}}


def _name(graph: CausalGraph, held: Sequence[str]) -> str:
    return CONDITIONAL if graph.roles.get("ecg") in held else MARGINAL
