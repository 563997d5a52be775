"""Why a target is not identified: the open path, and what measurement would close it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import combinations

import networkx as nx

from structural_models import statements
from structural_models.do_calculus import Hedge, interventional_law
from structural_models.graph import CausalGraph, each_open_path, open_backdoor_paths
from structural_models.identified_law import IdentifiedLaw
from structural_models.instruments import instruments
from structural_models.mixed_graph import latent_projection


def not_adjustable(graph: CausalGraph, held: Sequence[str], otherwise: IdentifiedLaw | None) -> str:
    """For a target that no adjustment gives; ``otherwise``: another route to it, or None where there is none."""
    usable = graph.observed - nx.descendants(graph.graph, graph.node("treatment"))
    usable -= {graph.node("treatment"), graph.node("outcome")}
    closing = " and ".join(_fewest(_measurable(graph), lambda nodes: _separable(graph, held, usable | set(nodes))))
    why, cure = _open(graph, held, usable), f"measuring {closing} would close it"
    where = f"in graph '{graph.name}'"
    target = statements.target(graph, held)
    if otherwise is None:
        return f"{target} is not identified {where}: {why}; {cure}{_second_best(graph, held)}"
    route = f" through {', '.join(otherwise.through)}" if otherwise.through else " algorithm"
    return (
        f"{target} is not adjustable {where}: {why}; but it is identified by the {otherwise.strategy}{route}: "
        f"{otherwise.formula} (method auto); {cure}"
    )


def not_identified(graph: CausalGraph, held: Sequence[str]) -> str:
    """For a target that no formula in the observed nodes gives."""
    closing = " and ".join(_fewest(sorted(graph.latent), lambda nodes: _hedge(graph, held, nodes) is None))
    hedge = _hedge(graph, held, ())
    if hedge is None:
        raise ValueError(f"{statements.target(graph, held)} is identified in graph '{graph.name}'")
    tied = " and ".join(", ".join(sorted(nodes)) for nodes in (hedge.inside, hedge.around - hedge.inside))
    usable = graph.observed - nx.descendants(graph.graph, graph.node("treatment"))
    usable -= {graph.node("treatment"), graph.node("outcome")}
    path = f"{_open(graph, held, usable)}, and " if open_backdoor_paths(graph, held, most=1) else ""
    return (
        f"{statements.target(graph, held)} is not identified in graph '{graph.name}' by any formula: {path}unmeasured "
        f"causes tie {tied} together (a hedge); measuring {closing} would identify it{_second_best(graph, held)}"
    )


def _second_best(graph: CausalGraph, held: Sequence[str]) -> str:
    if statements.consequences(graph, held):
        return ""
    found = instruments(graph, held)
    if not found:
        return ""
    return f" ({', '.join(found)}: instrument, which gives bounds, or the effect where that is linear)"


def _open(graph: CausalGraph, held: Sequence[str], usable: Collection[str]) -> str:
    always = next(each_open_path(graph, held, avoiding=usable), None)
    if always is not None:
        return f"the path {graph.path_text(always)} stays open whatever observed variables are adjusted for"
    first = next(each_open_path(graph, held))
    everything = sorted({*usable, *held})
    left = next(each_open_path(graph, everything), None)
    return f"{graph.path_text(first)} is open, and no set of observed variables closes every back-door path at once" + (
        f": adjusting for {', '.join(everything)} opens {graph.path_text(left)}" if left else ""
    )


def _measurable(graph: CausalGraph) -> list[str]:
    return sorted(graph.latent - nx.descendants(graph.graph, graph.node("treatment")))


def _fewest(hidden: Sequence[str], enough: Callable[[Collection[str]], bool]) -> tuple[str, ...]:
    """The fewest hidden nodes that are enough; all of them always are."""
    for size in range(1, len(hidden)):
        for nodes in combinations(hidden, size):
            if enough(nodes):
                return nodes
    return tuple(hidden)


def _separable(graph: CausalGraph, held: Collection[str], usable: Collection[str]) -> bool:
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    cut = nx.DiGraph(graph.graph)
    cut.remove_edges_from(list(graph.graph.out_edges(treatment)))
    included, allowed = set(held), set(usable)
    return nx.find_minimal_d_separator(cut, {treatment}, {outcome}, included=included, restricted=allowed) is not None


def _hedge(graph: CausalGraph, held: Sequence[str], measured: Collection[str]) -> Hedge | None:
    query = [graph.node("outcome")], [graph.node("treatment")], held
    try:
        interventional_law(latent_projection(graph.graph, graph.latent - set(measured)), *query)
    except Hedge as hedge:
        return hedge
    return None
