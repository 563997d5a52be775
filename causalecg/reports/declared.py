"""What scored runs brought with them about how they were trained: graph, estimand, balance of the confounder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import networkx as nx
import pandas as pd

from structural_models.graph import CausalGraph

if TYPE_CHECKING:
    from structural_models.estimand import Estimand


@dataclass(frozen=True)
class Declared:
    """``graph`` and ``estimand``: ``None`` where no run declares one; ``balance``: tables by run."""

    graph: CausalGraph | None = None
    estimand: Estimand | None = None
    balance: Mapping[str, pd.DataFrame] = field(default_factory=dict)


#: Open back-door paths named on a page.
_PATHS = 20


def declared(runs: Mapping[str, Mapping[str, Any]], order: Sequence[str]) -> Declared:
    """Of the records in ``runs.json``; graph and estimand are those of the first run in ``order`` that has them."""
    from structural_models.estimand import Estimand

    having = [runs[name] for name in order]
    graph = next((run["graph"] for run in having if run.get("graph")), None)
    estimand = next((run["estimand"] for run in having if run.get("estimand")), None)
    return Declared(
        None if graph is None else graph_of(graph),
        None if estimand is None else Estimand.from_dict(estimand),
        {name: pd.DataFrame(runs[name]["balance"]) for name in order if runs[name].get("balance")},
    )


def graph_of(record: Mapping[str, Any]) -> CausalGraph:
    """Read back from :meth:`structural_models.graph.CausalGraph.to_dict`. Raises GraphError as that class does."""
    arrows = nx.DiGraph()
    arrows.add_nodes_from(record["nodes"])
    arrows.add_edges_from(map(tuple, record["edges"]))
    return CausalGraph(record["name"], arrows, record["roles"], frozenset(record["latent"]), record["description"])


def path_texts(graph: CausalGraph) -> list[str]:
    """Its open back-door paths, as a reader writes them."""
    from structural_models.graph import open_backdoor_paths

    return [graph.path_text(path) for path in open_backdoor_paths(graph, most=_PATHS)]
