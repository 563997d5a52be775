"""Exogenous noise of a node with levels: drawn given what happened, and read under another law.

Two mechanisms that turn noise into a level and have the same law in every single world; they differ in what they say of
two worlds at once, which no data can decide.

- ``inverse_cdf``: one uniform number, read off the cumulated probabilities in the order of the levels. Monotone: where
  the other law is stochastically larger, nobody's level falls.
- ``gumbel_max``: one Gumbel number per level, the level with the largest log-probability plus number. Counterfactually
  stable: a level that did not happen does not happen either where its odds against the one that did have not risen.

With two levels both say the same, and neither is more than a choice.

Source: Oberst & Sontag 2019, "Counterfactual off-policy evaluation with Gumbel-max structural causal models"
(stability: definition 2; the posterior of the Gumbel numbers: §3.1 and Maddison et al. 2014, "A* sampling").
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from structural_models.errors import TableError

Coupling = Literal["inverse_cdf", "gumbel_max"]
COUPLINGS: tuple[str, ...] = get_args(Coupling)


def counterfactual_levels(
    factual: np.ndarray, law: np.ndarray, other: np.ndarray, coupling: Coupling, *, rng: np.random.Generator
) -> np.ndarray:
    """(rows,) int64 level of each row under ``other``, with noise drawn from its posterior given ``factual``.

    Args:
        factual: (rows,) codes; each has a positive probability under ``law``.
        law: (rows, levels) probabilities in the factual world.
        other: (rows, levels) probabilities in the other world; where they are the same, so is the level.

    Raises TableError for an unknown coupling.
    """
    if coupling == "inverse_cdf":
        return _inverse_cdf(factual, law, other, rng)
    if coupling == "gumbel_max":
        return _gumbel_max(factual, law, other, rng)
    raise TableError(f"no coupling is called '{coupling}'; use {' or '.join(COUPLINGS)}")


def _inverse_cdf(factual: np.ndarray, law: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows = np.arange(len(factual))
    upper = _cumulated(law)
    high = upper[rows, factual]
    low = np.where(factual > 0, upper[rows, factual - 1], 0.0)
    uniform = low + rng.random(len(factual)) * (high - low)
    # Rounding must not carry the number out of [low, high).
    uniform = np.minimum(uniform, np.nextafter(high, -1.0))
    return np.asarray((uniform[:, None] >= _cumulated(other)).sum(axis=1), dtype=np.int64)


def _cumulated(law: np.ndarray) -> np.ndarray:
    total = np.cumsum(law, axis=1)
    return np.asarray(total / total[:, -1:])


def _gumbel_max(factual: np.ndarray, law: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows = np.arange(len(factual))
    with np.errstate(divide="ignore"):
        log_law, log_other = np.log(law), np.log(other)
    # The maximum is a standard Gumbel number whichever level reaches it; the others are cut off there.
    top = rng.gumbel(size=len(factual))
    drawn = rng.gumbel(size=law.shape)
    possible = law > 0
    cut = -np.logaddexp(-(drawn + np.where(possible, log_law, 0.0)), -top[:, None])
    cut = np.minimum(cut, np.nextafter(top, -np.inf)[:, None])
    cut[rows, factual] = top
    with np.errstate(invalid="ignore"):
        shifted = np.where(possible, cut + (log_other - log_law), log_other + drawn)
    return np.asarray(shifted.argmax(axis=1), dtype=np.int64)
