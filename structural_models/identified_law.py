"""P(outcome | do(treatment), conditions) as a formula in the observed law that can be evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from structural_models.expressions import Expression, evaluate
from structural_models.json_values import plain

Strategy = Literal["adjustment", "front-door", "ID"]


@dataclass(frozen=True)
class IdentifiedLaw:
    """An interventional law, and how it is had from the observed one.

    Attributes:
        target: e.g. "P(A | E, do(Q))".
        strategy: the route that identifies it.
        treatment, outcome, conditioning: nodes of the graph.
        through: the nodes adjusted for, or those of the front door; empty for "ID".
        formula: the target in terms of what is observed.
        assumptions: plain sentences; the formula holds when they do.
        instruments: observed nodes that move the treatment and the outcome only through it. They give a second, weaker
            way to the effect: bounds, or an estimate where the effect is also assumed linear or monotone.
        expression: the formula as :func:`law` evaluates it.
    """

    target: str
    strategy: Strategy
    treatment: str
    outcome: str
    conditioning: tuple[str, ...]
    through: tuple[str, ...]
    formula: str
    assumptions: tuple[str, ...]
    instruments: tuple[str, ...]
    expression: Expression

    def law(self, joint: NDArray[np.float64], nodes: Sequence[str]) -> NDArray[np.float64]:
        """The target under a discrete law of the observed nodes.

        Args:
            joint: probabilities (or relative frequencies), one axis per node.
            nodes: the axes' names, in order.

        Returns:
            (treatment, \\*conditioning, outcome): probabilities that sum to one over the last axis. Where the formula
            mentions further nodes it is the same for each of their values, and taken at the first.

        Raises:
            TableError: a node of the formula, the treatment or the outcome has no axis.
            PositivityError: the formula conditions on what never occurs.
        """
        wanted = (self.treatment, *self.conditioning, self.outcome)
        found = evaluate(self.expression, joint, nodes)
        shape = [found.shape[axis] if node not in wanted else joint.shape[axis] for axis, node in enumerate(nodes)]
        at = tuple(slice(None) if node in wanted else 0 for node in nodes)
        left = [node for node in nodes if node in wanted]
        return np.broadcast_to(found, shape)[at].transpose([left.index(node) for node in wanted]).copy()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; without the expression."""
        record = {key: value for key, value in vars(self).items() if key != "expression"}
        return dict(plain(record))

    def __str__(self) -> str:
        lines = [self.formula, *(f"  - {sentence}" for sentence in self.assumptions)]
        if self.instruments:
            lines.append(f"  instruments: {', '.join(self.instruments)} (bounds only, unless the effect is linear)")
        return "\n".join(lines)
