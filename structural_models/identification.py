"""From a declared graph to an estimand. With sensitivity/refuters.py, the only place that speaks to DoWhy.

DoWhy's back-door search knows no conditional target. A node c that is conditioned on is handed to it as a common
cause of treatment and outcome (edges c → treatment, c → outcome): every valid set must then contain c, and, given c,
the added edges open no path, so the sets found are exactly those that are valid together with the conditioning.
An edge treatment → outcome is added as well; it is no back-door path, and without one DoWhy searches no set.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations

import networkx as nx

from structural_models import statements
from structural_models.errors import GraphError, NotIdentified
from structural_models.estimand import CONDITIONAL, MARGINAL, Estimand
from structural_models.graph import CausalGraph, open_backdoor_paths

__all__ = ["CONDITIONAL", "DEFAULT_COLUMNS", "MARGINAL", "Estimand", "NotIdentified", "identify"]

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
    graph: CausalGraph, *, columns: Mapping[str, str] | None = None, conditioning: Sequence[str] | None = None
) -> Estimand:
    """The effect of the treatment on the outcome, in terms of what is observed.

    Args:
        graph: its latent nodes cannot be adjusted for.
        columns: role (or node without a role) -> column of the items table, over :data:`DEFAULT_COLUMNS`.
        conditioning: roles or nodes held at the item's own value. By default the ECG, and the topic where the graph
            has one: P(A | E, do(Q)). Without the ECG the target is marginal: P(A | do(Q)).

    Returns:
        The estimand with a smallest adjustment set; among equally small ones, one that holds the severity.

    Raises:
        NotIdentified: no observed set closes every back-door path, or the order of the nodes rules adjustment out.
        GraphError: a name in ``columns`` or ``conditioning`` that the graph does not have, or a latent conditioning.
    """
    held = _conditioning_nodes(graph, conditioning)
    _check_order(graph, held)
    adjustment = _adjustment_set(graph, held)
    if adjustment is None:
        raise NotIdentified(_why_not(graph, held))
    return Estimand(
        name=_name(graph, held),
        treatment=graph.node("treatment"),
        outcome=graph.node("outcome"),
        adjustment=tuple(graph.key(node) for node in adjustment),
        conditioning=tuple(graph.key(node) for node in held),
        roles=_columns(graph, columns or {}, (*held, *adjustment)),
        formula=statements.formula(graph, held, adjustment),
        assumptions=tuple(statements.assumptions(graph, held, adjustment)),
        treatment_given=tuple(
            graph.key(node) for node in statements.needed(graph, [graph.node("treatment")], (*adjustment, *held))
        ),
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


def _check_order(graph: CausalGraph, held: Sequence[str]) -> None:
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    if treatment in nx.descendants(graph.graph, outcome):
        raise NotIdentified(
            f"in graph '{graph.name}' {outcome} is a cause of {treatment}, which therefore has no effect on it to "
            f"identify; turn the arrows that lead from {outcome} to {treatment} around"
        )
    for node in held:
        if node in nx.descendants(graph.graph, treatment) | nx.descendants(graph.graph, outcome):
            raise NotIdentified(
                f"in graph '{graph.name}' {node} is a consequence of {treatment} or {outcome}, so conditioning on it "
                f"is no adjustment; leave {node} out of the conditioning"
            )


def _adjustment_set(graph: CausalGraph, held: Sequence[str]) -> tuple[str, ...] | None:
    """A smallest valid set beyond ``held``, sorted, or None."""
    found = [candidate - set(held) for candidate in _backdoor_sets(graph, held)]
    severity = graph.roles.get("severity", "")
    found.sort(key=lambda candidate: (len(candidate), severity not in candidate, sorted(candidate)))
    return tuple(sorted(found[0])) if found else None


def _backdoor_sets(graph: CausalGraph, held: Sequence[str]) -> list[set[str]]:
    """DoWhy's smallest back-door sets, each containing ``held``."""
    with quiet("dowhy"):
        from dowhy.causal_identifier import BackdoorAdjustment, EstimandType, identify_effect_auto

        treatment, outcome = graph.node("treatment"), graph.node("outcome")
        drawn = nx.DiGraph(graph.graph)
        drawn.add_edge(treatment, outcome)
        drawn.add_edges_from((node, end) for node in held for end in (treatment, outcome))
        answer = identify_effect_auto(
            drawn,
            [treatment],
            [outcome],
            sorted(graph.observed),
            EstimandType.NONPARAMETRIC_ATE,
            backdoor_adjustment=BackdoorAdjustment.BACKDOOR_MIN,
        )
    if answer.estimands["backdoor"] is None:
        return []
    return [set(nodes) for nodes in answer.backdoor_variables.values()]


@contextmanager
def quiet(package: str) -> Iterator[None]:
    """Only errors of a package's logger."""
    logger = logging.getLogger(package)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _why_not(graph: CausalGraph, held: Sequence[str]) -> str:
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    usable = graph.observed - nx.descendants(graph.graph, treatment) - {treatment, outcome}
    paths = open_backdoor_paths(graph, held)
    always = [path for path in paths if usable.isdisjoint(path[1:-1])]
    closing = " and ".join(_smallest_cure(graph, held, usable))
    if always:
        why = f"the path {graph.path_text(always[0])} stays open whatever observed variables are adjusted for"
    else:
        everything = sorted(usable | set(held))
        left = open_backdoor_paths(graph, everything)
        why = (
            f"{graph.path_text(paths[0])} is open, and no set of observed variables closes every back-door path at once"
            + (f": adjusting for {', '.join(everything)} opens {graph.path_text(left[0])}" if left else "")
        )
    return (
        f"{statements.target(graph, held)} is not identified in graph '{graph.name}': {why}; "
        f"measuring {closing} would close it"
    )


def _smallest_cure(graph: CausalGraph, held: Sequence[str], usable: Collection[str]) -> tuple[str, ...]:
    """The fewest latent nodes that, once measured, allow adjustment. The treatment's parents always do."""
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    cut = nx.DiGraph(graph.graph)
    cut.remove_edges_from(list(graph.graph.out_edges(treatment)))
    hidden = sorted(graph.latent - nx.descendants(graph.graph, treatment))
    for size in range(1, len(hidden) + 1):
        for candidate in combinations(hidden, size):
            allowed = set(usable) | set(candidate)
            closed = nx.find_minimal_d_separator(cut, {treatment}, {outcome}, included=set(held), restricted=allowed)
            if closed is not None:
                return candidate
    return tuple(hidden)


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
