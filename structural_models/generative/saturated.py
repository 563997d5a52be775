"""Tables from data, one per node, without any restriction on how a node depends on its parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from structural_models.errors import NotIdentified, PositivityError, TableError
from structural_models.generative.levels import check_levels, codes_of, plain_levels
from structural_models.generative.mechanisms import CategoricalTable
from structural_models.graph import CausalGraph
from structural_models.tabulation import coded, column_values, is_quantity, require_rows


def saturated_tables(
    graph: CausalGraph, table: pd.DataFrame, *, concentration: float, levels: Mapping[str, Sequence[Any]]
) -> dict[str, CategoricalTable]:
    """node -> its table; see :meth:`StructuralCausalModel.fit`."""
    require_rows(table)
    if not (np.isfinite(concentration) and concentration >= 0):
        raise TableError(f"the concentration must be a number of at least 0, not {concentration}")
    if graph.latent:
        raise NotIdentified(
            f"graph '{graph.name}' declares {', '.join(sorted(graph.latent))} latent, so its tables cannot be counted; "
            "measure it, or use latent_model_posterior and state what identifies it"
        )
    for node in levels:
        graph.require_node(node, "in levels")
    codes, domains = {}, {}
    for node in sorted(graph.graph):
        codes[node], domains[node] = node_codes(table, node, levels.get(node))
    out = {}
    for node in sorted(graph.graph):
        parents = tuple(sorted(graph.graph.predecessors(node)))
        shape = tuple(len(domains[name]) for name in (*parents, node))
        cell = np.ravel_multi_index([codes[name] for name in (*parents, node)], shape)
        counts = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape) + concentration
        rows = counts.sum(axis=-1, keepdims=True)
        if (rows == 0).any():
            empty = np.argwhere(rows[..., 0] == 0)[0]
            where = ", ".join(f"{name} = {domains[name][i]}" for name, i in zip(parents, empty, strict=True))
            raise PositivityError(
                f"no row has {where}, so nothing is known of '{node}' there; give a concentration above zero or merge "
                "levels"
            )
        out[node] = CategoricalTable(domains[node], counts / rows, parents)
    return out


def node_codes(table: pd.DataFrame, node: str, levels: Sequence[Any] | None) -> tuple[np.ndarray, tuple[Any, ...]]:
    """(rows,) codes of a node's column, and its levels. Raises TableError for quantities and for no levels of it."""
    if levels is None:
        if is_quantity(table, node):
            raise TableError(f"column '{node}' holds quantities; cut it into levels, or declare its mechanism yourself")
        codes, known = coded(table, node)
        return codes, plain_levels(known.values)
    declared = plain_levels(levels)
    check_levels(node, declared)
    return codes_of(declared, column_values(table, node).tolist(), f"column '{node}' holds"), declared
