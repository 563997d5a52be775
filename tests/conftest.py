"""What several packages' tests share: where the real PTB-XL and ECG-QA are, and random causal graphs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from structural_models.graph import CausalGraph


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("CAUSALECG_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / "ptbxl" / "ptbxl_database.csv").is_file():
        pytest.skip(f"needs real PTB-XL and ECG-QA files; {folder} has none (set CAUSALECG_DATA)")
    return folder


@pytest.fixture(scope="session")
def random_graph() -> Callable[..., CausalGraph]:
    """Draws a graph: ``nodes`` in random order with q before a, each pair joined with probability ``density``.

    On top of that, ``latent`` unmeasured common causes, each of two of the nodes.
    """

    def draw(rng: np.random.Generator, nodes: str = "qaevw", latent: int = 2, density: float = 0.45) -> CausalGraph:
        order = list(map(str, rng.permutation(list(nodes))))
        if order.index("q") > order.index("a"):
            order.reverse()
        drawn = nx.DiGraph()
        drawn.add_nodes_from(order)
        drawn.add_edges_from((x, y) for i, x in enumerate(order) for y in order[i + 1 :] if rng.random() < density)
        hidden = [f"u{i}" for i in range(latent)]
        drawn.add_edges_from((name, str(node)) for name in hidden for node in rng.choice(order, 2, replace=False))
        return CausalGraph("random", drawn, {"treatment": "q", "outcome": "a"}, frozenset(hidden))

    return draw
