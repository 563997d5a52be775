"""A structural causal model as a Pyro program: sampling, and the same exact probabilities by Pyro's enumeration."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from structural_models.errors import TableError
from structural_models.generative.enumeration import evidence, needed_nodes
from structural_models.generative.mechanisms import CategoricalLogit, CategoricalTable, LinearGaussian
from structural_models.generative.model import StructuralCausalModel

if TYPE_CHECKING:
    import torch


def run(
    scm: StructuralCausalModel, *, rows: int | None = None, nodes: Collection[str] | None = None
) -> dict[str, torch.Tensor]:
    """The program of :meth:`StructuralCausalModel.model`, of all nodes or of some: these must hold the causes of each
    but of those intervened on, whose natural values are then not drawn."""
    import pyro

    def body() -> dict[str, torch.Tensor]:
        seen: dict[str, torch.Tensor] = {}
        for node in scm.order:
            if nodes is None or node in nodes:
                natural = _distribution(scm, node, seen)
            elif node in held:
                natural = pyro.distributions.Delta(held[node])
            else:
                continue
            # The trace keeps the natural value at this site; what is returned here is the imposed one.
            seen[node] = pyro.sample(node, natural)
        return seen

    held = {node: _tensor(scm, node, value) for node, value in scm.interventions.items()}
    # Interventions are one mapping: poutine.do around poutine.do on one site recurses without end (Pyro 1.9.2).
    body = pyro.poutine.do(body, data=held) if held else body
    if rows is None:
        return body()
    with pyro.plate("rows", rows):
        drawn = body()
    return {node: value if value.ndim else value.expand(rows) for node, value in drawn.items()}


def draw(scm: StructuralCausalModel, rows: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of the program; see :meth:`StructuralCausalModel.sample`."""
    if rows < 1:
        raise TableError(f"a sample needs at least one row, not {rows}")
    with seeded(rng):
        drawn = run(scm, rows=rows)
    return scm.table({node: value.numpy() for node, value in drawn.items()})


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Pyro seeded from ``rng``, with an empty parameter store; random states and store are put back afterwards."""
    import pyro

    before = pyro.util.get_rng_state()
    try:
        # Checks of every distribution at every step cost more than the steps; what enters here has been checked.
        with pyro.get_param_store().scope(), pyro.validation_enabled(False):
            pyro.set_rng_seed(int(rng.integers(2**32)))
            yield
    finally:
        pyro.util.set_rng_state(before)


def enumerated_law(
    scm: StructuralCausalModel,
    node: str,
    *,
    do: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """(levels,) float64 P(node | do, given) by Pyro: poutine.do, and TraceEnum_ELBO over all sites.

    The same as :meth:`StructuralCausalModel.law`, by other code; that one is faster. Arguments and errors are the same.
    """
    scm = scm.intervene(do or {})
    levels = scm.finite_levels(node)
    seen = evidence(scm, given or {})
    fixed = {**scm.interventions, **seen}
    if node in fixed:
        return np.asarray(np.eye(len(levels))[levels.index(fixed[node])])
    logs = np.array([_log_probability(scm, {**seen, node: level}) for level in levels])
    if not np.isfinite(logs).any():
        raise TableError("given has probability zero in this model, so nothing can be conditioned on it")
    mass = np.exp(logs - logs.max())
    return np.asarray(mass / mass.sum())


def _log_probability(scm: StructuralCausalModel, seen: Mapping[str, Any]) -> float:
    import pyro
    from pyro.infer import TraceEnum_ELBO, config_enumerate

    nodes = needed_nodes(scm, (), seen)

    def program() -> None:
        run(scm, nodes=nodes)

    data = {name: _tensor(scm, name, value) for name, value in seen.items()}
    enumerated = config_enumerate(pyro.poutine.condition(program, data=data))
    with seeded(np.random.default_rng(0)), warnings.catch_warnings():
        # Where all is given, Pyro warns that there is nothing to enumerate.
        warnings.filterwarnings("ignore", message="TraceEnum_ELBO found no sample sites", category=UserWarning)
        return -float(TraceEnum_ELBO(max_plate_nesting=0).loss(enumerated, lambda: None))


def _tensor(scm: StructuralCausalModel, node: str, value: Any) -> torch.Tensor:
    import torch

    whole = scm.levels(node) is not None
    return torch.tensor(scm.code(node, value), dtype=torch.int64 if whole else torch.float64)


def _distribution(scm: StructuralCausalModel, node: str, parents: Mapping[str, torch.Tensor]) -> Any:
    """The Pyro distribution of a node, given codes and values that broadcast."""
    import pyro.distributions as dist
    import torch

    mechanism = scm.mechanism(node)
    if isinstance(mechanism, CategoricalTable):
        # As logarithms: given probabilities, torch would make a zero of them a little more than zero.
        table = torch.as_tensor(mechanism.probabilities).log()
        return dist.Categorical(logits=table[tuple(parents[name] for name in mechanism.parents)])
    if isinstance(mechanism, CategoricalLogit):
        logits = torch.as_tensor(mechanism.intercepts)
        for name, slope in mechanism.slopes.items():
            per = torch.as_tensor(slope)
            logits = logits + (per[parents[name]] if per.ndim == 2 else parents[name][..., None] * per)
        return dist.Categorical(logits=logits)
    if isinstance(mechanism, LinearGaussian):
        mean = torch.tensor(mechanism.intercept, dtype=torch.float64)
        for name, slope in mechanism.slopes.items():
            per = torch.as_tensor(slope)
            mean = mean + (per[parents[name]] if per.ndim else per * parents[name])
        return dist.Normal(mean, torch.tensor(mechanism.sd, dtype=torch.float64))
    arrays = {name: parents[name].numpy() for name in mechanism.parents}
    if mechanism.levels is None:
        return dist.Delta(torch.as_tensor(mechanism.value(arrays)))
    return dist.Categorical(logits=torch.as_tensor(mechanism.law(arrays)).log())
