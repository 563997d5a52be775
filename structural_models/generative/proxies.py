"""P(A | do(Q)) with the confounder itself unmeasured, from two proxies of it.

With U unmeasured, Z a proxy that says nothing of the outcome beyond (U, Q), and W one that is independent of (Q, Z)
given U, all with K levels:

    P(a | do(q)) = P(a | q, Z) · P(W | q, Z)⁻¹ · P(W)

where P(W | q, Z) is the K x K matrix with a column per level of Z. It needs U to have K levels that both proxies tell
apart, so that the matrix can be inverted. Its determinant can be seen in the data, and is tested.

Source: Miao, Geng & Tchetgen Tchetgen 2018, "Identifying causal effects with proxy variables of an unmeasured
confounder", Biometrika 105, theorem 1; Kuroki & Pearl 2014, "Measurement bias and effect restoration".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

from structural_models.errors import GraphError, NotIdentified, PositivityError, TableError
from structural_models.generative.levels import plain_levels
from structural_models.graph import CausalGraph, open_backdoor_paths
from structural_models.json_values import plain
from structural_models.patient_bootstrap import PatientBootstrap
from structural_models.stratified_independence import checked_groups
from structural_models.tabulation import coded, require_rows


@dataclass(frozen=True)
class ProximalEffect:
    """P(outcome | do(treatment)) from proxies.

    Attributes:
        arms: (arms,) values of the treatment, sorted.
        levels: (levels,) of the outcome, sorted.
        law: (arms, levels) float64; sums to one, but sampling error may carry an entry outside [0, 1].
        low, high: (arms, levels) percentile bootstrap limits.
        replicates: (replicates, arms, levels), for intervals of contrasts.
        determinants: (arms,) of P(W | q, Z); the closer to zero, the less the proxies say.
        assumptions: what it rests on, in sentences.
    """

    arms: tuple[Any, ...]
    levels: tuple[Any, ...]
    law: np.ndarray
    low: np.ndarray
    high: np.ndarray
    replicates: np.ndarray
    determinants: np.ndarray
    assumptions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the replicates."""
        return plain(
            {
                "arms": self.arms,
                "levels": self.levels,
                "law": self.law,
                "low": self.low,
                "high": self.high,
                "determinants": self.determinants,
                "assumptions": self.assumptions,
            }
        )


def proximal_effect(
    graph: CausalGraph,
    table: pd.DataFrame,
    *,
    treatment_proxy: str,
    outcome_proxy: str,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    replicates: int = 500,
    coverage: float = 0.95,
) -> ProximalEffect:
    """Identify by two proxies, and estimate by plugging in shares.

    Args:
        graph: its latent nodes are the unmeasured confounder; the proxies are nodes of it.
        table: columns of levels named as the nodes, without gaps; the proxies have equally many levels.
        treatment_proxy: Z, independent of the outcome given the treatment and the confounder.
        outcome_proxy: W, independent of the treatment and Z given the confounder.
        groups: patient(s) of each row, as for :func:`structural_models.independence_test`; they are drawn whole.
        replicates: of the bootstrap.

    Raises:
        NotIdentified: the graph does not imply the independences, or the data do not show that the matrix can be
            inverted: the bootstrap interval of a determinant holds zero.
        GraphError: no latent node, or a proxy that is no observed node.
        TableError, PositivityError: a column that cannot be used, proxies with different numbers of levels, or a
            (treatment, Z) that does not occur.
    """
    _require_proxies(graph, treatment_proxy, outcome_proxy)
    require_rows(table)
    names = (graph.node("treatment"), treatment_proxy, outcome_proxy, graph.node("outcome"))
    columns = [coded(table, name) for name in names]
    shape = tuple(len(levels) for _, levels in columns)
    if shape[1] != shape[2]:
        raise TableError(
            f"the proxies '{treatment_proxy}' and '{outcome_proxy}' have {shape[1]} and {shape[2]} levels; merge "
            "levels until they have as many as the confounder"
        )
    cell = np.ravel_multi_index([codes for codes, _ in columns], shape)
    size = int(np.prod(shape))
    counts = np.bincount(cell, minlength=size).reshape(shape).astype(np.float64)
    if (counts.sum(axis=(2, 3)) == 0).any():
        q, z = np.argwhere(counts.sum(axis=(2, 3)) == 0)[0]
        raise PositivityError(
            f"no row has {names[0]} = {columns[0][1].values[q]} and {names[1]} = {columns[1][1].values[z]}; merge "
            "levels"
        )
    members = None if groups is None else checked_groups(groups, len(table))
    laws, dets = [], []
    for weights in PatientBootstrap.of(members, len(table), replicates, rng=rng):
        drawn = np.bincount(cell, weights, minlength=size).reshape(shape)
        if (drawn.sum(axis=(2, 3)) > 0).all():
            dets.append(_determinants(drawn))
            laws.append(_law(drawn) if (dets[-1] != 0).all() else np.full((shape[0], shape[3]), np.nan))
    tail = (1 - coverage) / 2
    for arm, (low, high) in zip(columns[0][1].values, np.quantile(dets, [tail, 1 - tail], axis=0).T, strict=True):
        if low <= 0 <= high:
            raise NotIdentified(
                f"at {names[0]} = {arm} the determinant of P({outcome_proxy} | {treatment_proxy}) may be zero "
                f"(interval {low:.2g} to {high:.2g}), so these proxies do not tell {shape[1]} levels of the confounder "
                "apart; merge their levels, measure better ones, or use more rows"
            )
    low, high = np.nanquantile(laws, [tail, 1 - tail], axis=0)
    return ProximalEffect(
        plain_levels(columns[0][1].values),
        plain_levels(columns[3][1].values),
        _law(counts),
        low,
        high,
        np.asarray(laws),
        _determinants(counts),
        _assumptions(graph, treatment_proxy, outcome_proxy, shape[1]),
    )


def _require_proxies(graph: CausalGraph, z: str, w: str) -> None:
    if not graph.latent:
        raise GraphError(
            f"graph '{graph.name}' has no latent node for proxies to stand for; adjust for what is measured"
        )
    treatment, outcome = graph.node("treatment"), graph.node("outcome")
    for node in (z, w):
        graph.require_node(node, "as a proxy")
        if node in graph.latent or node in (treatment, outcome) or z == w:
            raise GraphError(
                f"'{node}' cannot be a proxy; name two observed nodes besides the treatment and the outcome"
            )
    hidden = graph.latent
    held = ", ".join(sorted(hidden))
    if hidden & nx.descendants(graph.graph, treatment) or open_backdoor_paths(graph, sorted(hidden)):
        raise NotIdentified(
            f"in graph '{graph.name}' {held} would not close every back-door path even if it were measured"
        )
    if not graph.independent([z], [outcome], {treatment, *hidden}):
        raise NotIdentified(
            f"graph '{graph.name}' does not make '{z}' independent of {outcome} given {treatment} and {held}, so it is "
            "no treatment proxy; take another"
        )
    if not graph.independent([w], [treatment, z], hidden):
        raise NotIdentified(
            f"graph '{graph.name}' does not make '{w}' independent of {treatment} and '{z}' given {held}, so it is no "
            "outcome proxy; take another"
        )


def _assumptions(graph: CausalGraph, z: str, w: str, levels: int) -> tuple[str, ...]:
    treatment, outcome, held = graph.node("treatment"), graph.node("outcome"), ", ".join(sorted(graph.latent))
    return (
        f"{held} closes every back-door path from {treatment} to {outcome}.",
        f"{z} is independent of {outcome} given {treatment} and {held}.",
        f"{w} is independent of {treatment} and {z} given {held}.",
        f"{held} has no more than {levels} levels, which both proxies tell apart.",
    )


def _matrices(counts: np.ndarray) -> np.ndarray:
    """(arms, W, Z): P(W | q, Z)."""
    joint = counts.sum(axis=3)
    return np.asarray((joint / joint.sum(axis=2, keepdims=True)).swapaxes(1, 2))


def _determinants(counts: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.det(_matrices(counts)))


def _law(counts: np.ndarray) -> np.ndarray:
    """(arms, levels) of (arms, Z, W, levels) counts."""
    by_z = counts.sum(axis=2)
    answer = by_z / by_z.sum(axis=2, keepdims=True)
    proxy = counts.sum(axis=(0, 1, 3)) / counts.sum()
    bridge = np.linalg.solve(_matrices(counts), np.broadcast_to(proxy[:, None], (len(counts), len(proxy), 1)))
    return np.asarray(np.einsum("qza,qz->qa", answer, bridge[..., 0]))
