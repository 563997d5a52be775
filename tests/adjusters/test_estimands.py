"""Adjusters adjust for what the estimand says, and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from adjusters.contract import ContractError
from adjusters.registry import adjuster
from adjusters.toy import ESTIMAND
from structural_models.graph import CausalGraph
from structural_models.identification import identify

SEVERITY_BASED = ("ipw", "stratified", "backdoor", "matched")
ROLES = {"severity": "severity", "treatment": "question", "ecg": "ecg", "outcome": "answer"}


def declared(*edges: str, latent: tuple[str, ...] = ()) -> CausalGraph:
    drawn = nx.DiGraph([tuple(edge.split(" -> ")) for edge in edges])
    return CausalGraph("mine", drawn, ROLES, frozenset(latent))


def rows(n: int = 2000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "severity": rng.integers(0, 2, n), "style": rng.choice(["plain", "urgent"], n), "topic": "t",
            "question": "?", "question_id": "q", "ecg": rng.integers(0, 2, n),
            "kind": "one", "candidates": [["yes", "no"]] * n, "answer": [["yes"]] * n,
            "patient_ids": [[f"p{i}"] for i in range(n)],
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", SEVERITY_BASED)
def test_where_adjusting_for_severity_makes_a_bias_it_is_refused(name: str) -> None:
    """M-bias: severity is a common effect of a cause of the question and a cause of the answer."""
    graph = declared(
        "u1 -> question", "u1 -> severity", "u2 -> severity", "u2 -> answer", "ecg -> answer", latent=("u1", "u2")
    )
    estimand = identify(graph)
    assert estimand.adjustment == ()
    with pytest.raises(ContractError, match="this estimand adjusts for nothing"):
        adjuster(name).fit(rows(), estimand, rng=np.random.default_rng(0))


def test_weights_are_refused_where_the_ecg_itself_shapes_the_question() -> None:
    graph = declared(
        "severity -> question", "severity -> answer", "ecg -> question", "ecg -> answer", "question -> answer"
    )
    estimand = identify(graph)
    assert set(estimand.treatment_given) == {"severity", "ecg"}
    for name in ("ipw", "stratified", "matched"):
        with pytest.raises(ContractError, match="also depends on ecg"):
            adjuster(name).fit(rows(), estimand, rng=np.random.default_rng(0))
    adjuster("backdoor").fit(rows(), estimand, rng=np.random.default_rng(0))


def test_what_else_is_adjusted_for_is_a_stratum_too() -> None:
    estimand = replace(
        ESTIMAND, adjustment=("severity", "site"), roles={**ESTIMAND.roles, "severity": "severity", "site": "site"}
    )
    rng = np.random.default_rng(1)
    table = rows().assign(site=rng.integers(0, 2, 2000))
    table["style"] = np.where(rng.random(2000) < 0.2 + 0.6 * table["site"], "plain", "urgent")
    found = adjuster("ipw").fit(table, estimand, rng=rng)
    weighted = table.assign(w=found.weights(table)).groupby(["style", "site"])["w"].sum().unstack()
    shares = weighted.div(weighted.sum(axis=1), axis=0).to_numpy()
    assert np.allclose(shares[0], shares[1], atol=1e-12)
