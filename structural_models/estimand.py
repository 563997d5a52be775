"""What is to be estimated, from which columns, and under which assumptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: Names of the targets; an adjuster's card lists those it serves.
CONDITIONAL = "P(A | E, do(Q))"
MARGINAL = "P(A | do(Q))"
_TUPLES = ("adjustment", "conditioning", "assumptions", "treatment_given")


@dataclass(frozen=True)
class Estimand:
    """An identified target.

    Attributes:
        name: :data:`CONDITIONAL` or :data:`MARGINAL`, whatever the graph calls its nodes.
        treatment, outcome: nodes of the graph.
        adjustment: what is summed over, as keys of ``roles``.
        conditioning: what is held at the item's own value, as keys of ``roles``.
        roles: role (or node, where a node has no role) -> column of the items table.
        treatment_given: what the treatment still depends on, of all that is adjusted for or held: keys of ``roles``.
            Positivity is about these, and so are weights.
        formula: the target in terms of what is observed.
        assumptions: plain sentences; the formula holds when they do.
    """

    name: str
    treatment: str
    outcome: str
    adjustment: tuple[str, ...]
    conditioning: tuple[str, ...]
    roles: Mapping[str, str]
    formula: str
    assumptions: tuple[str, ...]
    treatment_given: tuple[str, ...] = ()

    @property
    def adjustment_columns(self) -> tuple[str, ...]:
        return tuple(self.roles[key] for key in self.adjustment)

    @property
    def conditioning_columns(self) -> tuple[str, ...]:
        return tuple(self.roles[key] for key in self.conditioning)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; read back by :meth:`from_dict`."""
        record = asdict(self)
        lists = {key: list(record[key]) for key in _TUPLES}
        return {**record, **lists, "roles": dict(self.roles)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Estimand:
        lists = {key: tuple(record.get(key, ())) for key in _TUPLES}
        return cls(**{**record, **lists, "roles": dict(record["roles"])})

    def __str__(self) -> str:
        columns = ", ".join(f"{role} = {column}" for role, column in self.roles.items())
        lines = [self.formula, *(f"  - {sentence}" for sentence in self.assumptions), f"  columns: {columns}"]
        return "\n".join(lines)
