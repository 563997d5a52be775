"""The complete identification algorithms ID and IDC for graphs with unmeasured common causes.

ID in the form of Tian & Pearl (2002): the interventional law is a product of the factors Q[D] of the districts that are
left, and each is read off the observed law or, where a district and its ancestors cannot be told apart, is not
identified at all (Huang & Valtorta 2006; Shpitser & Pearl 2006, whose hedge is that pair). IDC moves conditions to
interventions as long as the second rule of the do-calculus allows it, and divides (Shpitser & Pearl 2006b).

DoWhy's ``identify_effect_id`` takes directed acyclic graphs only and knows no latent node, so it cannot tell what is
not identified; where all nodes are observed the tests find it to agree with this one.
"""

from __future__ import annotations

from collections.abc import Collection

from structural_models.expressions import Expression, Law, product, quotient, total
from structural_models.mixed_graph import MixedGraph


class Hedge(Exception):
    """Not identified: two models with the graph agree on all that is observed and differ in the target.

    Attributes:
        inside: the district whose factor is asked for.
        around: the district it cannot be separated from.
    """

    def __init__(self, inside: Collection[str], around: Collection[str]) -> None:
        super().__init__(f"{', '.join(sorted(inside))} within {', '.join(sorted(around))}")
        self.inside = frozenset(inside)
        self.around = frozenset(around)


def interventional_law(
    graph: MixedGraph, outcome: Collection[str], treatment: Collection[str], given: Collection[str] = ()
) -> Expression:
    """P(outcome | do(treatment), given) in terms of the observed law.

    The result may be a function of further nodes; it then has the same value for each of theirs.

    Raises:
        Hedge: it is not identified.
    """
    acted, held = set(treatment), set(given)
    for node in sorted(held):
        cut = graph.acting_on(acted).muting([node])
        if cut.separated(outcome, [node], acted | held - {node}):
            return interventional_law(graph, outcome, acted | {node}, held - {node})
    joint = _joint(graph, {*outcome, *held}, acted)
    return quotient(joint, total(outcome, joint)) if held else joint


def _joint(graph: MixedGraph, outcome: set[str], treatment: set[str]) -> Expression:
    """P(outcome | do(treatment))."""
    graph = graph.only(graph.ancestors(outcome))
    rest = graph.only(set(graph.directed) - treatment)
    needed = rest.ancestors(outcome)
    order = graph.order()
    districts = sorted(graph.only(needed).districts(), key=lambda nodes: -max(map(order.index, nodes)))
    return total(needed - outcome, product(_factor(graph, district) for district in districts))


def _factor(graph: MixedGraph, wanted: frozenset[str]) -> Expression:
    """Q[wanted] = P(wanted | do(everything else))."""
    around = graph.district(min(wanted))
    order = graph.order()
    laws = {}
    for place, node in enumerate(order):
        if node in around:
            blanket = graph.markov_blanket(node, order[:place])
            laws[node] = Law((node,), tuple(other for other in order if other in blanket))
    known = product(laws[node] for node in reversed(order) if node in around)
    while True:
        within = graph.only(around)
        above = within.ancestors(wanted)
        known = total(around - above, known)
        if above == wanted:
            return known
        if above == around:
            raise Hedge(wanted, around)
        around = within.only(above).district(min(wanted))
        order = [node for node in order if node in above]
        known = product(_step(known, order, place) for place, node in enumerate(order) if node in around)


def _step(known: Expression, order: list[str], place: int) -> Expression:
    """Q[first ``place`` + 1 nodes] / Q[first ``place`` nodes], where ``known`` is Q[order]."""
    return quotient(total(order[place + 1 :], known), total(order[place:], known))
