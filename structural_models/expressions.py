"""Formulas in the observed law: conditional laws, products, quotients and sums over a node's values.

They are built simplified, written as text, and evaluated on a table of probabilities.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from structural_models.errors import PositivityError, TableError


@dataclass(frozen=True)
class Law:
    """P(of | given)."""

    of: tuple[str, ...]
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class Product:
    factors: tuple[Expression, ...]


@dataclass(frozen=True)
class Quotient:
    above: Expression
    below: Expression


@dataclass(frozen=True)
class Total:
    """The sum of ``inner`` over all values of the nodes in ``over``."""

    over: tuple[str, ...]
    inner: Expression


Expression: TypeAlias = Law | Product | Quotient | Total


def free(expression: Expression) -> frozenset[str]:
    """The nodes the expression is a function of."""
    match expression:
        case Law(of, given):
            return frozenset((*of, *given))
        case Product(factors):
            return frozenset().union(*map(free, factors))
        case Quotient(above, below):
            return free(above) | free(below)
        case Total(over, inner):
            return free(inner) - set(over)


def product(parts: Iterable[Expression]) -> Expression:
    """A product without products inside, its sums at the end; of one factor that factor itself."""
    factors = [factor for part in parts for factor in _factors(part)]
    factors.sort(key=lambda factor: isinstance(factor, Total))
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def _factors(expression: Expression) -> tuple[Expression, ...]:
    return expression.factors if isinstance(expression, Product) else (expression,)


def quotient(above: Expression, below: Expression) -> Expression:
    """``above`` / ``below`` without the factors they share."""
    left, right = list(_factors(above)), []
    for factor in _factors(below):
        if factor in left:
            left.remove(factor)
        else:
            right.append(factor)
    return Quotient(product(left), product(right)) if right else product(left)


def total(over: Collection[str], inner: Expression) -> Expression:
    """The sum of ``inner`` over ``over``, simplified.

    A node that one factor alone is a function of is summed within it, where a law may sum to one; factors that are no
    function of a summed node stand outside the sum.
    """
    left, factors = sorted(over), list(_factors(inner))
    while True:
        for node in left:
            holding = [factor for factor in factors if node in free(factor)]
            within = _summed_out(node, holding[0]) if len(holding) == 1 else None
            if within is not None:
                factors.remove(holding[0])
                factors.extend(_factors(within))
                left.remove(node)
                break
        else:
            break
    if not left:
        return product(factors)
    outside = [factor for factor in factors if free(factor).isdisjoint(left)]
    inside = product(factor for factor in factors if not free(factor).isdisjoint(left))
    return product([*outside, Total(tuple(left), inside)])


def _summed_out(node: str, factor: Expression) -> Expression | None:
    """The sum of one factor over a node, or None where it cannot be written more simply."""
    match factor:
        case Law(of, given) if node in of:
            return Law(tuple(other for other in of if other != node), given) if len(of) > 1 else Product(())
        case Quotient(above, below) if node not in free(below):
            return quotient(total([node], above), below)
        case Total(over, inner):
            return total({*over, node}, inner)
    return None


def text(expression: Expression, names: Mapping[str, str], values: Mapping[str, str]) -> str:
    """As it is written, e.g. "Σ_m P(m | Q) Σ_q P(A | m, q) P(q)".

    Args:
        names: how the nodes are written that the expression is a function of; conditions stand in this order, and
            after them what is summed over.
        values: node -> how it is written where it is summed over. A name already in use gets a prime.
    """
    match expression:
        case Law(of, given):
            condition = f" | {', '.join(names[node] for node in sorted(given, key=list(names).index))}" if given else ""
            return f"P({', '.join(names[node] for node in of)}{condition})"
        case Product(factors):
            return " ".join(_bracketed(factor, names, values, last=factor is factors[-1]) for factor in factors) or "1"
        case Quotient(above, below):
            return f"[{text(above, names, values)}] / [{text(below, names, values)}]"
        case Total(over, inner):
            taken = set(names.values())
            bound = {}
            for node in over:
                bound[node] = values[node]
                while bound[node] in taken:
                    bound[node] += "′"
                taken.add(bound[node])
            others = {node: name for node, name in names.items() if node not in bound}
            letters = ",".join(bound.values())
            sign = f"Σ_{letters}" if len(over) == 1 else f"Σ_{{{letters}}}"
            return f"{sign} {text(inner, {**others, **bound}, values)}"


def _bracketed(factor: Expression, names: Mapping[str, str], values: Mapping[str, str], *, last: bool) -> str:
    """A sum reaches to the end of its product unless it is in brackets."""
    written = text(factor, names, values)
    inner = isinstance(factor, Quotient) or (isinstance(factor, Total) and not last)
    return f"({written})" if inner else written


def evaluate(expression: Expression, joint: NDArray[np.float64], nodes: Sequence[str]) -> NDArray[np.float64]:
    """The expression under a discrete law.

    Args:
        joint: probabilities, one axis per node.
        nodes: the axes' names, in order.

    Returns:
        One axis per node as in ``joint``; of length one where the expression does not depend on the node.

    Raises:
        TableError: the axes do not match ``nodes``, or the expression names a node that is none of them.
        PositivityError: a conditional law is asked for where its condition has probability zero.
    """
    if joint.ndim != len(nodes):
        raise TableError(f"the joint law has {joint.ndim} axes for {len(nodes)} nodes; give one axis per node")
    axis = {node: place for place, node in enumerate(nodes)}
    match expression:
        case Law(of, given):
            missing = sorted({*of, *given} - set(axis))
            if missing:
                raise TableError(f"the joint law has no axis for '{missing[0]}'; it has {', '.join(nodes)}")
            kept = {axis[node] for node in (*of, *given)}
            both = joint.sum(axis=tuple(set(range(joint.ndim)) - kept), keepdims=True)
            condition = both.sum(axis=tuple(axis[node] for node in of), keepdims=True)
            return _divided(both, condition, expression)
        case Product(factors):
            result = np.ones((1,) * joint.ndim)
            for factor in factors:
                result = result * evaluate(factor, joint, nodes)
            return result
        case Quotient(above, below):
            return _divided(evaluate(above, joint, nodes), evaluate(below, joint, nodes), expression)
        case Total(over, inner):
            found, summed = evaluate(inner, joint, nodes), tuple(axis[node] for node in over)
            # What does not depend on a summed node still counts once for each of its values.
            shape = [joint.shape[i] if i in summed else size for i, size in enumerate(found.shape)]
            return np.broadcast_to(found, shape).sum(axis=summed, keepdims=True)


def _divided(above: NDArray[np.float64], below: NDArray[np.float64], what: Law | Quotient) -> NDArray[np.float64]:
    if not (below > 0).all():
        plain = {node: node for node in sorted(free(what))}
        raise PositivityError(
            f"{text(what, plain, {})} is undefined where its condition never occurs; merge levels, or drop those "
            "that are missing from the table"
            if isinstance(what, Law)
            else "a denominator of the formula is zero somewhere; merge levels, or drop those that never occur"
        )
    return above / below
