"""An estimand in words: the target, its formula, and what it assumes, read off the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import networkx as nx

from structural_models.expressions import Expression, free, text
from structural_models.graph import CausalGraph, open_backdoor_paths

_PATHS_NAMED = 6


def _value(graph: CausalGraph, node: str) -> str:
    return graph.symbol(node).lower() if graph.role_of(node) else node


def target(graph: CausalGraph, held: Sequence[str]) -> str:
    given = ", ".join((*map(graph.symbol, held), f"do({graph.symbol(graph.node('treatment'))})"))
    return f"P({graph.symbol(graph.node('outcome'))} | {given})"


def _observed_law(graph: CausalGraph, held: Sequence[str], adjustment: Sequence[str]) -> str:
    """P(A | E, Q, s)."""
    fixed = (*map(graph.symbol, held), graph.symbol(graph.node("treatment")))
    summed = (_value(graph, node) for node in adjustment)
    return f"P({graph.symbol(graph.node('outcome'))} | {', '.join((*fixed, *summed))})"


def _average(graph: CausalGraph, held: Sequence[str], weight_given: Sequence[str], adjustment: Sequence[str]) -> str:
    """Σ_s P(A | E, Q, s) P(s | E)."""
    if not adjustment:
        return _observed_law(graph, held, adjustment)
    summed = ",".join(_value(graph, node) for node in adjustment)
    sign = f"Σ_{summed}" if len(adjustment) == 1 else f"Σ_{{{summed}}}"
    weight = summed.replace(",", ", ") + (f" | {', '.join(map(graph.symbol, weight_given))}" if weight_given else "")
    return f"{sign} {_observed_law(graph, held, adjustment)} P({weight})"


def formula(graph: CausalGraph, held: Sequence[str], adjustment: Sequence[str]) -> str:
    return f"{target(graph, held)} = {_average(graph, held, held, adjustment)}"


def law_formula(graph: CausalGraph, held: Sequence[str], expression: Expression) -> str:
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    fixed = (outcome, *held, treatment)
    idle = sorted(free(expression) - set(fixed))
    names = {node: graph.symbol(node) for node in fixed} | {node: _value(graph, node) for node in idle}
    values = {node: _value(graph, node) for node in graph.graph}
    return f"{target(graph, held)} = {text(expression, names, values)}"


def consequences(graph: CausalGraph, held: Sequence[str]) -> tuple[str, ...]:
    """Those of ``held`` that treatment or outcome act on."""
    after = nx.descendants(graph.graph, graph.node("treatment")) | nx.descendants(graph.graph, graph.node("outcome"))
    return tuple(node for node in held if node in after)


def needed(graph: CausalGraph, about: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """The part of ``given`` that ``about`` still depends on in the graph."""
    kept = list(given)
    for node in given:
        rest = [other for other in kept if other != node]
        if graph.independent(about, [node], rest):
            kept = rest
    return tuple(kept)


def assumptions(graph: CausalGraph, held: Sequence[str], adjustment: Sequence[str]) -> Iterator[str]:
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    q = graph.symbol(treatment)
    yield _consistency(q)
    given = needed(graph, [treatment], (*adjustment, *held))
    condition = ", ".join(f"{graph.symbol(node)} = {_value(graph, node)}" for node in given)
    everywhere = f" and for every {', '.join(_value(graph, node) for node in given)} that occurs" if given else ""
    law = f"P({q} = {q.lower()}{' | ' + condition if condition else ''})"
    yield f"Positivity: {law} > 0 for every {q.lower()}{everywhere}."
    yield _exchangeability(graph, held, adjustment)
    if not nx.has_path(graph.graph, treatment, outcome):
        yield (
            f"No effect declared: {treatment} has no path to {outcome} in this graph, so the target is the same for "
            f"every {q.lower()}; any effect a model shows is spurious."
        )
    yield from _role_of_the_held(graph, held, adjustment)


def _consistency(q: str) -> str:
    return (
        f"Consistency: an item asked {q} = {q.lower()} has the answer it would have had under do({q} = {q.lower()}), "
        "and no item's question changes another item's answer."
    )


def efficiency(graph: CausalGraph, held: Sequence[str], adjustment: Sequence[str], *, best: bool) -> str:
    inside = "{" + ", ".join(map(graph.symbol, (*held, *adjustment))) + "}"
    if best:
        return f"Efficiency: no other adjustment set has a smaller asymptotic variance than {inside}."
    return (
        f"Efficiency: the unmeasured nodes leave open whether one set is best; {inside} has the smallest asymptotic "
        "variance of those sets from which nothing can be left out."
    )


def frontdoor_assumptions(graph: CausalGraph, held: Sequence[str], mediators: Sequence[str]) -> Iterator[str]:
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    q, through = graph.symbol(treatment), ", ".join(mediators)
    among = f" among items alike in {', '.join(map(graph.symbol, held))}" if held else ""
    yield _consistency(q)
    everything = ", ".join((through, *map(graph.symbol, held)))
    yield f"Positivity: every {everything} that occurs does so with every {q.lower()}."
    yield f"Exclusion: {treatment} acts on {outcome} through {through} only."
    yield f"No confounding of {treatment} and {through}: {through} differs between questions by effect alone{among}."
    yield f"No confounding of {through} and {outcome} beyond what {treatment} carries{among}."
    yield from _role_of_the_held(graph, held, ())


def complete_assumptions(graph: CausalGraph, held: Sequence[str], expression: Expression) -> Iterator[str]:
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    yield _consistency(graph.symbol(treatment))
    yield "Positivity: every combination of values that the formula conditions on occurs."
    yield "Structure: every arrow and every unmeasured common cause that the graph leaves out is indeed absent."
    for node in consequences(graph, held):
        yield f"Condition: {node} is a consequence of {treatment} or {outcome}, held at its value under do."
    idle = sorted(free(expression) - {treatment, outcome, *held})
    if idle:
        yield f"Free choice: the formula is the same for every value of {', '.join(idle)}, which can be tested."
    if graph.roles.get("ecg") not in consequences(graph, held):
        yield from _role_of_the_held(graph, held, ())


def _exchangeability(graph: CausalGraph, held: Sequence[str], adjustment: Sequence[str]) -> str:
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    among = f" among items alike in {', '.join(map(graph.symbol, held))}" if held else ""
    inside = "{" + ", ".join(map(graph.symbol, adjustment)) + "}"
    paths = open_backdoor_paths(graph, held, most=_PATHS_NAMED + 1)
    closed = [graph.path_text(path) for path in paths[:_PATHS_NAMED]]
    if len(paths) > _PATHS_NAMED:
        closed.append("and every longer path")
    why = f"it closes {'; '.join(closed)}" if adjustment else "no back-door path is open"
    return f"Exchangeability: given {inside}{among}, {treatment} carries no further news of {outcome} ({why})."


def _role_of_the_held(graph: CausalGraph, held: Sequence[str], adjustment: Sequence[str]) -> Iterator[str]:
    ecg = graph.roles.get("ecg")
    if ecg in held:
        yield f"Role of E: {ecg} is conditioned on at the item's own value, never intervened on."
    if not (held and adjustment):
        return
    inner = ", ".join(_value(graph, node) for node in adjustment)
    outer = ", ".join(map(graph.symbol, adjustment))
    kept = needed(graph, adjustment, held)
    names = ", ".join(map(graph.symbol, held))
    if kept == tuple(held):
        law = f"P({inner} | {names})"
        yield f"Weights: {outer} depends on {names} in this graph, so {law} may not be replaced by P({inner})."
        return
    dropped = ", ".join(graph.symbol(node) for node in held if node not in kept)
    rest = f" given {', '.join(map(graph.symbol, kept))}" if kept else ""
    simpler = _average(graph, held, kept, adjustment)
    yield f"Weights: {outer} ⟂ {dropped}{rest} in this graph, so the formula simplifies to {simpler}."
