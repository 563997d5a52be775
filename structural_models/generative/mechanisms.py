"""How a node comes about from its parents: tables, logistic and linear laws, functions.

A node either has *levels* (a finite domain; inside, a level is its code) or is a *quantity* (a real number). Parents
reach a mechanism as arrays that broadcast: codes of levels, values of quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from structural_models.errors import GraphError, TableError
from structural_models.generative.levels import check_levels, codes_of, named, plain_levels

#: node -> its levels, or None for a quantity.
Domains = Mapping[str, tuple[Any, ...] | None]
Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class CategoricalTable:
    """P(node | parents) as a table; every parent has levels.

    Attributes:
        levels: of the node.
        probabilities: (levels of the first parent, ..., levels of the node); sums to one over the last axis.
        parents: in the order of the axes.
    """

    levels: tuple[Any, ...]
    probabilities: np.ndarray
    parents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", plain_levels(self.levels))
        object.__setattr__(self, "parents", tuple(self.parents))
        object.__setattr__(self, "probabilities", np.asarray(self.probabilities, dtype=np.float64))

    def bound(self, node: str, domains: Domains) -> CategoricalTable:
        """Itself, checked. Raises GraphError for a parent without levels, TableError for a table that is none."""
        check_levels(node, self.levels)
        shape: tuple[int, ...] = ()
        for parent in self.parents:
            levels = domains[parent]
            if levels is None:
                raise GraphError(
                    f"the table of node '{node}' has the quantity '{parent}' as a parent; use a logistic mechanism, "
                    f"or cut '{parent}' into levels"
                )
            shape = (*shape, len(levels))
        shape = (*shape, len(self.levels))
        p = self.probabilities
        if p.shape != shape:
            axes = ", ".join((*self.parents, node))
            raise TableError(f"the table of node '{node}' must have shape {shape} ({axes}), not {p.shape}")
        if not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(axis=-1), 1.0, rtol=0, atol=1e-9)):
            raise TableError(
                f"the table of node '{node}' must hold probabilities that sum to one over its levels for every "
                "combination of its parents (to 1e-9)"
            )
        return self

    def law(self, parents: Values) -> np.ndarray:
        """(..., levels) float64."""
        return np.asarray(self.probabilities[tuple(parents[name] for name in self.parents)])


@dataclass(frozen=True)
class CategoricalLogit:
    """P(node = k | parents) proportional to exp(intercept_k + Σ slope_k(parent)).

    Attributes:
        levels: of the node.
        intercepts: (levels,) log-odds up to a constant.
        slopes: parent -> (parent's levels, levels) log-odds of each of its levels, or for a quantity (levels,) log-odds
            per unit. Its keys are the parents.
    """

    levels: tuple[Any, ...]
    intercepts: np.ndarray
    slopes: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", plain_levels(self.levels))
        object.__setattr__(self, "intercepts", np.asarray(self.intercepts, dtype=np.float64))
        object.__setattr__(self, "slopes", _arrays(self.slopes))

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(self.slopes)

    def bound(self, node: str, domains: Domains) -> CategoricalLogit:
        """Itself, checked. Raises TableError for numbers that do not fit."""
        check_levels(node, self.levels)
        _check_array(node, "intercepts", self.intercepts, (len(self.levels),))
        for parent, slope in self.slopes.items():
            _check_array(node, f"slope of '{parent}'", slope, (*_size(domains[parent]), len(self.levels)))
        return self

    def law(self, parents: Values) -> np.ndarray:
        """(..., levels) float64."""
        z = self.intercepts
        for name, slope in self.slopes.items():
            value = np.asarray(parents[name])
            z = z + (slope[value] if slope.ndim == 2 else value[..., None] * slope)
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))


@dataclass(frozen=True)
class LinearGaussian:
    """A quantity: node = intercept + Σ slope(parent) + sd · noise, noise standard normal.

    Attributes:
        intercept: in the node's unit.
        slopes: parent -> (parent's levels,) shift of each of its levels, or for a quantity one number, per unit. Its
            keys are the parents.
        sd: standard deviation of the noise, positive.
    """

    intercept: float
    slopes: Mapping[str, Any]
    sd: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "slopes", _arrays(self.slopes))

    @property
    def levels(self) -> None:
        """A quantity has none."""

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(self.slopes)

    def bound(self, node: str, domains: Domains) -> LinearGaussian:
        """Itself, checked. Raises TableError for numbers that do not fit."""
        _check_array(node, "intercept", np.asarray(self.intercept, dtype=np.float64), ())
        for parent, slope in self.slopes.items():
            _check_array(node, f"slope of '{parent}'", slope, _size(domains[parent]))
        if not (np.isfinite(self.sd) and self.sd > 0):
            raise TableError(f"the standard deviation of node '{node}' must be a positive number, not {self.sd}")
        return self

    def mean(self, parents: Values) -> np.ndarray:
        """(...) float64."""
        mean = np.asarray(self.intercept, dtype=np.float64)
        for name, slope in self.slopes.items():
            mean = mean + (slope[parents[name]] if slope.ndim else slope * parents[name])
        return np.asarray(mean)

    def density(self, parents: Values, value: float) -> np.ndarray:
        """(...) float64, per unit."""
        z = (value - self.mean(parents)) / self.sd
        return np.asarray(np.exp(-0.5 * z * z) / (self.sd * np.sqrt(2 * np.pi)))


@dataclass(frozen=True)
class Function:
    """A :class:`Deterministic` mechanism that knows its node and the domains of its parents."""

    node: str
    declared: Deterministic
    domains: Domains

    @property
    def levels(self) -> tuple[Any, ...] | None:
        return self.declared.levels

    @property
    def parents(self) -> tuple[str, ...]:
        return self.declared.parents

    def value(self, parents: Values) -> np.ndarray:
        """(...) codes where the node has levels, float64 where it is a quantity. Raises TableError for others."""
        arrays = np.broadcast_arrays(*(np.asarray(parents[name]) for name in self.parents))
        shape = arrays[0].shape if arrays else ()
        flat = {}
        for name, array in zip(self.parents, arrays, strict=True):
            levels = self.domains[name]
            flat[name] = array.reshape(-1) if levels is None else named(levels)[array.reshape(-1)]
        rows = int(np.prod(shape))
        out = np.asarray(self.declared.function(flat))
        if out.shape not in ((rows,), ()):
            raise TableError(
                f"the function of node '{self.node}' must give one value per row ({rows}), not shape {out.shape}"
            )
        out = np.broadcast_to(out, (rows,))
        if self.levels is not None:
            return codes_of(self.levels, out, f"the function of node '{self.node}' gives").reshape(shape)
        return np.asarray(out, dtype=np.float64).reshape(shape)

    def law(self, parents: Values) -> np.ndarray:
        """(..., levels) float64: one at the function's value."""
        assert self.levels is not None
        return np.asarray(np.eye(len(self.levels))[self.value(parents)])


@dataclass(frozen=True)
class Deterministic:
    """A function of the parents, without noise.

    Attributes:
        function: takes parent -> (rows,) values (levels by name, quantities as numbers), gives (rows,) values.
        parents: which nodes.
        levels: of the node; None = a quantity.
    """

    function: Callable[[dict[str, np.ndarray]], Any]
    parents: tuple[str, ...]
    levels: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parents", tuple(self.parents))
        if self.levels is not None:
            object.__setattr__(self, "levels", plain_levels(self.levels))

    def bound(self, node: str, domains: Domains) -> Function | CategoricalTable:
        """A table of zeros and ones where node and parents have levels. Raises TableError for values that are none."""
        known = {parent: domains[parent] for parent in self.parents}
        function = Function(node, self, known)
        if self.levels is None:
            return function
        check_levels(node, self.levels)
        sizes = [len(levels) for levels in known.values() if levels is not None]
        if len(sizes) < len(known):
            return function
        grid = np.meshgrid(*map(np.arange, sizes), indexing="ij")
        table = function.law(dict(zip(known, grid, strict=True)))
        return CategoricalTable(self.levels, table, self.parents).bound(node, domains)


Mechanism = CategoricalTable | CategoricalLogit | LinearGaussian | Deterministic
BoundMechanism = CategoricalTable | CategoricalLogit | LinearGaussian | Function


def bernoulli_logit(
    intercept: float, slopes: Mapping[str, Any], *, levels: tuple[Any, Any] = (0, 1)
) -> CategoricalLogit:
    """Two levels: logit P(node = second level | parents) = intercept + Σ slope(parent).

    Args:
        slopes: parent -> (parent's levels,) log-odds of each of its levels, or for a quantity one number, per unit.
    """
    against_first = {name: np.stack([np.zeros_like(slope), slope], axis=-1) for name, slope in _arrays(slopes).items()}
    return CategoricalLogit(levels, np.array([0.0, intercept]), against_first)


def _arrays(slopes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(slope, dtype=np.float64) for name, slope in slopes.items()}


def _size(levels: tuple[Any, ...] | None) -> tuple[int, ...]:
    return () if levels is None else (len(levels),)


def _check_array(node: str, what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape or not np.isfinite(array).all():
        raise TableError(f"the {what} of node '{node}' must be finite and of shape {shape}, not of shape {array.shape}")
