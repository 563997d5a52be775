"""A structural causal model: a graph, and a mechanism for each of its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import pandas as pd

from structural_models.errors import GraphError, TableError
from structural_models.generative.levels import codes_of, named
from structural_models.generative.mechanisms import BoundMechanism, Mechanism, Values
from structural_models.graph import CausalGraph

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StructuralCausalModel:
    """Mechanisms on a graph, under interventions or none.

    Attributes:
        graph: every node of it needs a mechanism, latent ones too.
        mechanisms: node -> how it comes about; the parents of each are those of the graph.
        interventions: node -> the value it is held at, as :meth:`intervene` sets them.

    Raises:
        GraphError: a node without a mechanism, a mechanism without a node, or parents that are not those of the graph.
        TableError: numbers or levels that do not fit.
    """

    graph: CausalGraph
    mechanisms: Mapping[str, Mechanism]
    interventions: Mapping[str, Any] = field(default_factory=dict)
    _bound: dict[str, BoundMechanism] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mechanisms", dict(self.mechanisms))
        where = f"graph '{self.graph.name}'"
        for node in self.mechanisms:
            self.graph.require_node(node, "as having a mechanism")
        for node in sorted(self.graph.graph):
            if node not in self.mechanisms:
                raise GraphError(f"node '{node}' of {where} has no mechanism; declare one")
            parents, arrows = self.mechanisms[node].parents, set(self.graph.graph.predecessors(node))
            if set(parents) != arrows or len(parents) != len(arrows):
                raise GraphError(
                    f"the mechanism of node '{node}' has the parents ({', '.join(parents)}), but the arrows of {where} "
                    f"say ({', '.join(sorted(arrows))}); make them agree"
                )
        domains = {node: self.mechanisms[node].levels for node in self.mechanisms}
        object.__setattr__(self, "_bound", {n: self.mechanisms[n].bound(n, domains) for n in self.order})
        held = {node: self.value(node, value, "do") for node, value in self.interventions.items()}
        object.__setattr__(self, "interventions", held)

    @classmethod
    def fit(
        cls,
        graph: CausalGraph,
        table: pd.DataFrame,
        *,
        concentration: float = 0.0,
        levels: Mapping[str, Sequence[Any]] | None = None,
    ) -> StructuralCausalModel:
        """Saturated tables from data: the share of each level among rows with the same parents.

        Args:
            table: a column of levels, without gaps, for every node of the graph, which has no latent node.
            concentration: of a symmetric Dirichlet prior on every row of every table, in rows per level; the tables are
                then posterior means. Zero = maximum likelihood.
            levels: node -> its levels, where the table may lack some; by default those that occur, sorted.

        Raises:
            NotIdentified: a node is latent.
            TableError: no rows, a column missing, with gaps, or of quantities, or a negative concentration.
            PositivityError: a combination of parents that does not occur, and no prior to say what happens there.
        """
        from structural_models.generative.saturated import saturated_tables

        return cls(graph, saturated_tables(graph, table, concentration=concentration, levels=levels or {}))

    @property
    def order(self) -> tuple[str, ...]:
        """The nodes, causes first."""
        return tuple(nx.lexicographical_topological_sort(self.graph.graph))

    def mechanism(self, node: str) -> BoundMechanism:
        """The mechanism of a node, ready to be used."""
        return self._bound[node]

    def levels(self, node: str) -> tuple[Any, ...] | None:
        """The levels of a node, None for a quantity. Raises GraphError for a name that is no node."""
        self.graph.require_node(node, "here")
        return self._bound[node].levels

    def finite_levels(self, node: str) -> tuple[Any, ...]:
        """The levels of a node that must have some. Raises GraphError for a quantity or a name that is no node."""
        levels = self.levels(node)
        if levels is None:
            raise GraphError(f"node '{node}' is a quantity and has no levels to give a probability to")
        return levels

    def value(self, node: str, value: Any, where: str) -> Any:
        """The value, checked to be one the node can have. Raises GraphError or TableError, naming ``where``."""
        self.graph.require_node(node, f"in {where}")
        levels = self.levels(node)
        if levels is not None:
            return levels[int(codes_of(levels, [value], f"{where} sets node '{node}' to")[0])]
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
            raise TableError(f"{where} sets the quantity '{node}' to '{value}'; give a finite number")
        return float(value)

    def code(self, node: str, value: Any) -> Any:
        """The code of a level, a quantity itself."""
        levels = self.levels(node)
        return value if levels is None else levels.index(value)

    def intervene(self, do: Mapping[str, Any]) -> StructuralCausalModel:
        """The model in which nodes are held at values. On one that already is, later values replace earlier ones.

        Raises GraphError for a name that is no node, TableError for a value the node cannot have.
        """
        return replace(self, interventions={**self.interventions, **do})

    def model(self, rows: int | None = None) -> dict[str, torch.Tensor]:
        """The Pyro program: one sample site per node, under the interventions.

        Returns:
            node -> codes (int64) or values (float64), (rows,) or () where no rows are asked for: *as its children see
            them*. In a trace, the site of a node that is intervened on holds the value it would naturally have had.
        """
        from structural_models.generative.program import run

        return run(self, rows=rows)

    def sample(self, rows: int, *, rng: np.random.Generator) -> pd.DataFrame:
        """Draw rows from the program; latent nodes are among the columns, and interventions show as imposed.

        Pyro's and torch's random state are left as they were. Raises TableError for fewer than one row.
        """
        from structural_models.generative.program import draw

        return draw(self, rows, rng=rng)

    def probability(
        self, event: Mapping[str, Any], *, do: Mapping[str, Any] | None = None, given: Mapping[str, Any] | None = None
    ) -> float:
        """P(event | do, given), exactly: what is ``given`` is *seen* in the world in which ``do`` has been done.

        Args:
            event: node -> level; all at once.
            do: node -> value, over the model's own interventions.
            given: node -> level, or the value of a quantity.

        Raises:
            GraphError: a name that is no node, or a quantity that would have to be integrated over.
            TableError: a value a node cannot have, or something given that has probability zero.
        """
        from structural_models.generative.enumeration import event_probability

        return event_probability(self.intervene(do or {}), event, given or {})

    def law(
        self, node: str, *, do: Mapping[str, Any] | None = None, given: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """(levels,) float64 P(node | do, given), exactly. Arguments and errors as for :meth:`probability`."""
        from structural_models.generative.enumeration import conditional_law

        return conditional_law(self.intervene(do or {}), node, given or {})

    def codes(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        """node -> (rows,) codes or values of a complete table. Raises TableError for a missing column or value."""
        from structural_models.tabulation import column_values

        out = {}
        for node in self.order:
            column = column_values(table, node)
            levels = self.levels(node)
            if levels is not None:
                out[node] = codes_of(levels, column.tolist(), f"column '{node}' holds")
            else:
                try:
                    out[node] = column.to_numpy(dtype=np.float64)
                except (TypeError, ValueError) as error:
                    raise TableError(f"column '{node}' must hold numbers: the node is a quantity") from error
        return out

    def table(self, codes: Values, index: pd.Index | None = None) -> pd.DataFrame:
        """The table that :meth:`codes` reads."""
        columns = {}
        for node in self.order:
            levels = self.levels(node)
            columns[node] = codes[node] if levels is None else named(levels)[codes[node]]
        return pd.DataFrame(columns, index=index)
