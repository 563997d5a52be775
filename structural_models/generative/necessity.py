"""How often an answer would have followed the treatment: what the laws of single worlds say, whatever the coupling.

Source: Tian & Pearl 2000, "Probabilities of causation: bounds and identification", Annals of Mathematics and Artificial
Intelligence 28, for a treatment of two values; the Fréchet bounds where it has more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import networkx as nx

from structural_models.errors import GraphError, TableError
from structural_models.generative.model import StructuralCausalModel
from structural_models.json_values import plain


@dataclass(frozen=True)
class NecessitySufficiency:
    """Bounds of the probability of necessity and sufficiency, P(outcome is ``level`` under ``high`` and not under
    ``low``). They hold for every coupling; within them the coupling decides.

    Attributes:
        outcome, level: the event.
        high, low: values of the treatment.
        p_high, p_low: P(outcome = level | do(treatment)).
        lower, upper: the bounds.
        within: what they were averaged over.
    """

    outcome: str
    level: Any
    high: Any
    low: Any
    p_high: float
    p_low: float
    lower: float
    upper: float
    within: tuple[str, ...]

    @property
    def decided_by_coupling(self) -> float:
        """Width of the bounds, 0 to 1."""
        return self.upper - self.lower

    def to_dict(self) -> dict[str, Any]:
        return plain(asdict(self))

    def __str__(self) -> str:
        return (
            f"P({self.outcome} = {self.level} under {self.high} and not under {self.low}) lies between "
            f"{self.lower:.3f} and {self.upper:.3f} whatever the coupling"
        )


def necessity_and_sufficiency(
    scm: StructuralCausalModel, *, level: Any, high: Any, low: Any, within: Sequence[str] = ()
) -> NecessitySufficiency:
    """Bounds that hold for every coupling of the worlds under ``high`` and ``low``.

    Args:
        scm: the treatment and the outcome are those of its graph; all it needs has levels.
        level: of the outcome; it happens, or it does not.
        high, low: values of the treatment.
        within: nodes the treatment has no effect on. Bounds are taken in each of their strata and averaged, which is
            never wider; sharp where they are all other parents of the outcome and the treatment acts on it directly.

    Raises:
        GraphError: a node in ``within`` that is no node, is a quantity, or comes after the treatment.
        TableError: a value the treatment or the outcome does not have, or twice the same.
    """
    graph = scm.graph
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    values = scm.finite_levels(treatment)
    high, low = scm.value(treatment, high, "high"), scm.value(treatment, low, "low")
    level = scm.value(outcome, level, "level")
    if high == low:
        raise TableError(f"high and low are both '{high}'; compare two values of '{treatment}'")
    for node in within:
        graph.require_node(node, "in within")
        if node in nx.descendants(graph.graph, treatment) | {treatment, outcome}:
            raise GraphError(f"node '{node}' in within is not prior to '{treatment}'; leave it out")
    lower = upper = p_high = p_low = 0.0
    for stratum in product(*(scm.finite_levels(node) for node in within)):
        seen = dict(zip(within, stratum, strict=True))
        share = scm.probability(seen)
        if share == 0:
            continue
        event = {outcome: level}
        y_high = scm.probability(event, do={treatment: high}, given=seen)
        y_low = scm.probability(event, do={treatment: low}, given=seen)
        floor, ceiling = max(0.0, y_high - y_low), min(y_high, 1 - y_low)
        if len(values) == 2 and not {treatment, outcome} & set(scm.interventions):
            y = scm.probability(event, given=seen)
            high_y = scm.probability({treatment: high, **event}, given=seen)
            low_y = scm.probability({treatment: low, **event}, given=seen)
            at_high = scm.probability({treatment: high}, given=seen)
            high_not, low_not = at_high - high_y, 1 - at_high - low_y
            floor = max(floor, y - y_low, y_high - y)
            ceiling = min(ceiling, high_y + low_not, y_high - y_low + high_not + low_y)
        lower, upper = lower + share * floor, upper + share * max(floor, ceiling)
        p_high, p_low = p_high + share * y_high, p_low + share * y_low
    return NecessitySufficiency(outcome, level, high, low, p_high, p_low, lower, upper, tuple(within))
